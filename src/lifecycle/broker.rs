//! The broker: configured or managed, and the addresses that no handler may have.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::lookup_host;

use crate::bus::ManagedServer;
use crate::config::{self, Config};

/// Storage that a managed broker gets in addition to events: parked deliveries, dead letters,
/// registry.
const MANAGED_RESERVE_BYTES: u64 = 16 << 30;

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

/// Returns the addresses of our listener and of the broker, where no handler may be.
pub(super) async fn own_addresses(listener: SocketAddr, urls: &[String]) -> Vec<SocketAddr> {
    let mut own = vec![listener];
    for url in urls {
        let host = url.rsplit_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
        if let Ok(found) = lookup_host(host).await {
            own.extend(found);
        }
    }
    own
}
