//! A started router, and how it is drained and stopped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::managed_broker::ManagedBroker;
use crate::api::health::Health;
use crate::bus::Connections;
use crate::telemetry::LiveFeed;
use crate::telemetry::traces::TraceExport;

/// How clients reach a managed broker.
#[derive(Clone, Debug)]
pub struct ManagedAccess {
    /// Its URL.
    pub url: String,
    /// The file with the seed of the key pair of clients (`nats --nkey FILE`).
    pub credentials_file: PathBuf,
}

/// A started router.
pub struct Running {
    /// Address of the HTTP listener.
    pub address: SocketAddr,
    /// URL of the HTTP listener, without a path.
    pub url: String,
    /// How clients reach the managed broker, if there is one.
    pub managed_broker: Option<ManagedAccess>,
    /// The live feed.
    pub live: LiveFeed,
    /// Tasks that must end before the broker's connections are closed.
    pub tasks: TaskTracker,
    /// Stops the router when cancelled.
    pub stop: CancellationToken,
    pub(super) health: Arc<Health>,
    pub(super) trace_export: Option<TraceExport>,
    pub(super) connections: Connections,
    pub(super) server: Option<ManagedBroker>,
}

impl Running {
    /// Waits until `stop` is cancelled or a signal arrives, then stops in order: no new work,
    /// running attempts finished or released, the managed broker last. A second signal stops at
    /// once.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub async fn until_stopped(self) -> anyhow::Result<()> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            () = self.stop.cancelled() => {}
        }
        self.health.draining.store(true, Relaxed);
        tracing::info!("stopping: finishing running work");
        self.stop.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped by a second signal"),
            _ = terminate.recv() => anyhow::bail!("stopped by a second signal"),
        }
        if let Some(export) = self.trace_export {
            export.finish().await;
        }
        // The last acknowledgements must be sent before the connections are closed.
        self.connections.flush().await;
        drop(self.connections);
        if let Some(server) = self.server {
            server.stop().await;
        }
        Ok(())
    }
}
