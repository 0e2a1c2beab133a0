//! The broker: configured or managed, with its connections and streams, and the addresses that no
//! handler may have.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::lookup_host;

use crate::bus::{Connections, ManagedServer, Subjects, streams};
use crate::config::{self, Config};

/// Storage that a managed broker gets in addition to events: parked deliveries, dead letters,
/// registry.
const MANAGED_RESERVE_BYTES: u64 = 16 << 30;

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
        let urls = server
            .as_ref()
            .map_or_else(|| config.nats.url.clone(), |server| vec![server.url().to_owned()]);
        let connections = Connections::open(&config.nats, &urls).await?;
        let subjects = Subjects::new(&config.nats.prefix);
        let (control, nats) = (&connections.control, &config.nats);
        streams::ensure(control, &subjects, nats, &config.events, &config.delivery).await?;
        Ok(Self { server, urls, connections, subjects })
    }

    /// Returns the URL of a managed broker.
    pub(super) fn managed_url(&self) -> Option<String> {
        self.server.as_ref().map(|server| server.url().to_owned())
    }

    /// Returns the addresses of our listener and of the broker, where no handler may be.
    pub(super) async fn own_addresses(&self, listener: SocketAddr) -> Vec<SocketAddr> {
        let mut own = vec![listener];
        for url in &self.urls {
            let host = url.rsplit_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
            if let Ok(found) = lookup_host(host).await {
                own.extend(found);
            }
        }
        own
    }
}

async fn start_server(config: &Config) -> anyhow::Result<ManagedServer> {
    // The configuration is rejected if it is not positive.
    let events = config.events.max_bytes.unsigned_abs();
    let file_bytes = events.saturating_add(MANAGED_RESERVE_BYTES);
    let candidates: Vec<PathBuf> = config::nats_server_candidates();
    Ok(ManagedServer::start(&config.nats.data_dir, &candidates, file_bytes).await?)
}
