//! Accepts connections and serves each in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::admission::Admission;
use super::client::TrustedProxies;
use super::connection::{self, Serving};
use super::metrics;
use super::progress::Deadlines;
use super::shares::ShareLevel;
use super::tls::{LoadedFiles, Tls, TlsError};
use crate::config::ServerConfig;
use crate::telemetry::LogBudget;

/// Pause after the system accepted no connection, mostly for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Answer to a connection without TLS that is not admitted; it is not read.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Length: 0\r\n\r\n";

/// A bound listener.
pub struct Listener {
    /// Its name in metrics.
    name: &'static str,
    /// Its address.
    pub address: SocketAddr,
    socket: TcpListener,
    tls: Option<(Tls, LoadedFiles)>,
}

impl Listener {
    /// Binds an address, `ADDR:PORT`, for a listener of this name, a label of metrics.
    ///
    /// # Errors
    /// The address is not of this machine, or is in use.
    pub async fn bind(name: &'static str, address: &str) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { name, address: socket.local_addr()?, socket, tls: None })
    }

    /// Adds TLS with the certificates and the key of these files.
    ///
    /// # Errors
    /// The files cannot be read or used.
    pub async fn with_tls(self, cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { tls: Some(Tls::load(cert, key).await?), ..self })
    }

    /// Returns the scheme of its URLs.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Serves `routes` on `listener` until `stop`; running requests end first. At most `connections_max`
/// connections are open.
pub async fn serve(
    listener: Listener,
    routes: Router,
    config: &ServerConfig,
    connections_max: usize,
    stop: CancellationToken,
) {
    let trusted = TrustedProxies::new(&config.trusted_proxies);
    let by_address = config.connections_per_address_max;
    let Listener { name, socket, tls, .. } = listener;
    let admission = Arc::new(Admission::new(name, connections_max, by_address, trusted.clone()));
    let deadlines = Deadlines::new(config);
    let serving = Arc::new(Serving {
        routes,
        deadlines,
        admission: Arc::clone(&admission),
        trusted,
        stop: stop.clone(),
    });
    let tasks = TaskTracker::new();
    let tls = tls.map(|(tls, loaded)| {
        let (tls, stop) = (Arc::new(tls), stop.clone());
        let reloaded = Arc::clone(&tls);
        tasks.spawn(async move {
            stop.run_until_cancelled(reloaded.reload_on_change(loaded)).await;
        });
        tls
    });
    let log = LogBudget::new(Duration::from_secs(1), 1);
    while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                refused_by_system(&error, &log).await;
                continue;
            }
        };
        match admission.admit(peer.ip()) {
            Ok(admitted) => {
                let (serving, tls) = (Arc::clone(&serving), tls.clone());
                tasks.spawn(async move {
                    handshake_and_serve(stream, peer, tls.as_deref(), serving).await;
                    drop(admitted);
                });
            }
            Err(level) => refuse(&stream, peer, level, tls.is_some(), &log),
        }
    }
    drop(socket);
    tasks.close();
    tasks.wait().await;
}

async fn handshake_and_serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&Tls>,
    serving: Arc<Serving>,
) {
    // Small responses are not delayed; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return connection::serve(stream, peer.ip(), serving).await };
    let shaken = timeout(serving.deadlines.head, tls.acceptor().accept(stream)).await;
    match shaken {
        Ok(Ok(stream)) => connection::serve(stream, peer.ip(), serving).await,
        Ok(Err(error)) => {
            metrics::refused("tls");
            debug!(%error, %peer, "TLS handshake failed");
        }
        Err(_) => metrics::closed("header_timeout"),
    }
}

/// Answers a connection that is not admitted, if it can be answered at once.
fn refuse(stream: &TcpStream, peer: SocketAddr, level: ShareLevel, is_tls: bool, log: &LogBudget) {
    let reason = match level {
        ShareLevel::Address => "address_connections",
        ShareLevel::All | ShareLevel::Site => "connections",
    };
    metrics::refused(reason);
    if let Some(suppressed) = log.take() {
        warn!(%peer, reason, suppressed, "connection refused");
    }
    if !is_tls {
        // The client may have closed it already.
        let _ = stream.try_write(BUSY);
    }
}

/// Waits after the system accepted no connection, unless the client closed a connection first.
async fn refused_by_system(error: &io::Error, log: &LogBudget) {
    let is_of_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if is_of_client {
        return;
    }
    metrics::refused("accept_failed");
    if let Some(suppressed) = log.take() {
        warn!(%error, suppressed, "no connection can be accepted");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
