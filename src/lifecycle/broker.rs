//! The broker: configured or managed, with its connections and streams, and the addresses that no
//! handler may have.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::ensure;
use tokio::net::lookup_host;
use url::Url;

use super::running::ManagedAccess;
use crate::bus::{Connections, ManagedServer, Subjects, shown_urls, streams};
use crate::config::{self, Config};

/// Storage that a managed broker gets in addition to events: parked deliveries, dead letters,
/// registry.
const MANAGED_RESERVE_BYTES: u64 = 16 << 30;

/// Port of a broker whose URL has none.
const NATS_PORT: u16 = 4222;

/// A broker that can be used.
pub(super) struct Broker {
    /// The server, if it is a managed one.
    pub(super) server: Option<ManagedServer>,
    urls: Vec<String>,
    pub(super) connections: Connections,
    pub(super) subjects: Subjects,
}

impl Broker {
    /// Connects to the configured broker, or starts a managed one, and creates or updates the
    /// streams.
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let server = match config.nats.url.is_empty() {
            true => Some(start_server(config).await?),
            false => None,
        };
        let nats = match &server {
            Some(server) => server.client_config(&config.nats),
            None => config.nats.clone(),
        };
        let connections = Connections::open(&nats, &nats.url).await?;
        let subjects = Subjects::new(&nats.prefix);
        let control = &connections.control;
        streams::ensure(control, &subjects, &nats, &config.events, &config.delivery).await?;
        Ok(Self { server, urls: nats.url, connections, subjects })
    }

    /// Returns its addresses, without passwords.
    pub(super) fn address(&self) -> String {
        shown_urls(&self.urls)
    }

    /// Returns how clients reach a managed broker.
    pub(super) fn managed_access(&self) -> Option<ManagedAccess> {
        self.server.as_ref().map(|server| ManagedAccess {
            url: server.url().to_owned(),
            credentials_file: server.credentials_file().to_owned(),
        })
    }

    /// Returns the addresses of our listener, of our public URL and of the broker, where no handler
    /// may be.
    pub(super) async fn own_addresses(
        &self,
        listener: SocketAddr,
        public_url: &str,
    ) -> Vec<SocketAddr> {
        own_addresses(listener, public_url, &self.urls).await
    }
}

async fn own_addresses(
    listener: SocketAddr,
    public_url: &str,
    broker_urls: &[String],
) -> Vec<SocketAddr> {
    let mut own = vec![listener];
    let public = Url::parse(public_url).ok().and_then(|url| host_and_port(&url));
    let brokers = broker_urls.iter().filter_map(|url| broker_address(url));
    for (host, port) in public.into_iter().chain(brokers) {
        match lookup_host((host.as_str(), port)).await {
            Ok(found) => own.extend(found),
            Err(error) => {
                tracing::warn!(host, %error, "address not known, so not closed to handlers");
            }
        }
    }
    own
}

async fn start_server(config: &Config) -> anyhow::Result<ManagedServer> {
    for (key, file) in
        [("credentials_file", &config.nats.credentials_file), ("ca_file", &config.nats.ca_file)]
    {
        ensure!(
            file.is_empty(),
            "`nats.{key}` is set without `nats.url`: the managed nats-server has credentials of its own; set `nats.url`, or remove `nats.{key}`"
        );
    }
    // The configuration is rejected if it is not positive.
    let events = config.events.max_bytes.unsigned_abs();
    let log = if config.delivery.log { config.delivery.log_bytes_max } else { 0 };
    let file_bytes = events.saturating_add(log).saturating_add(MANAGED_RESERVE_BYTES);
    let candidates: Vec<PathBuf> = config::nats_server_candidates();
    Ok(ManagedServer::start(&config.nats.data_dir, &candidates, file_bytes).await?)
}

/// Returns host and port of a broker URL, which may have neither scheme nor port.
fn broker_address(text: &str) -> Option<(String, u16)> {
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
