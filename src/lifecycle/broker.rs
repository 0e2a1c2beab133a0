//! The broker: configured or managed, and the addresses that no handler may have.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::lookup_host;
use url::Url;

use crate::bus::ManagedServer;
use crate::config::{self, Config};

/// Storage that a managed broker gets in addition to events: parked deliveries, dead letters,
/// registry.
const MANAGED_RESERVE_BYTES: u64 = 16 << 30;

/// Port of a broker whose URL has none.
const NATS_PORT: u16 = 4222;

/// Returns the URLs of the configured broker, or starts a managed one.
pub(super) async fn open(config: &Config) -> anyhow::Result<(Option<ManagedServer>, Vec<String>)> {
    if !config.nats.url.is_empty() {
        return Ok((None, config.nats.url.clone()));
    }
    let events = u64::try_from(config.events.max_bytes).unwrap_or(0);
    let file_bytes = events.saturating_add(MANAGED_RESERVE_BYTES);
    let candidates: Vec<PathBuf> = config::nats_server_candidates();
    let server = ManagedServer::start(&config.nats.data_dir, &candidates, file_bytes).await?;
    let urls = vec![server.url().to_owned()];
    Ok((Some(server), urls))
}

/// Returns the addresses of our listener, of our public URL and of the broker, where no handler may
/// be.
pub(super) async fn own_addresses(
    listener: SocketAddr,
    public_url: &str,
    broker_urls: &[String],
) -> Vec<SocketAddr> {
    let mut own = vec![listener];
    let public = Url::parse(public_url).ok().and_then(|url| host_and_port(&url));
    for (host, port) in public.into_iter().chain(broker_urls.iter().filter_map(|url| broker(url))) {
        match lookup_host((host.as_str(), port)).await {
            Ok(found) => own.extend(found),
            Err(error) => {
                tracing::warn!(host, %error, "address not known, so not closed to handlers");
            }
        }
    }
    own
}

/// Returns host and port of a broker URL, which may have neither scheme nor port.
fn broker(text: &str) -> Option<(String, u16)> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
    let url = Url::parse(&with_scheme).ok()?;
    let port = url.port_or_known_default().unwrap_or(NATS_PORT);
    Some((host_of(&url)?, port))
}

fn host_and_port(url: &Url) -> Option<(String, u16)> {
    Some((host_of(url)?, url.port_or_known_default()?))
}

/// Returns the host of a URL, an IPv6 address without brackets.
fn host_of(url: &Url) -> Option<String> {
    Some(url.host_str()?.trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn own_addresses_have_the_default_ports() {
        let listener = "127.0.0.1:8089".parse().unwrap();
        let urls = ["nats://127.0.0.2", "127.0.0.3:4333", "tls://u:p@[::1]", "ws://127.0.0.4"];
        let urls = urls.map(String::from);
        let own = own_addresses(listener, "https://127.0.0.9/x", &urls).await;
        let expected = [
            "127.0.0.1:8089",
            "127.0.0.9:443",
            "127.0.0.2:4222",
            "127.0.0.3:4333",
            "[::1]:4222",
            "127.0.0.4:80",
        ];
        assert_eq!(own, expected.map(|text| text.parse().unwrap()));
    }
}
