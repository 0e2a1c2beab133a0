//! Connector: resolves, checks and dials, so that the dialled address is exactly the checked one.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::delivery::guard::{EgressGuard, EgressRefusal};
use crate::delivery::metrics;

/// Timeout of name resolution.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of a TCP connection, all addresses of a name together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of a name that are dialled, one after the other.
const ADDRESSES_MAX: usize = 8;
/// Why no connection was established.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("the host name does not resolve: {0}")]
    Dns(String),
    #[error("{0}")]
    Blocked(EgressRefusal),
    #[error("no connection: {0}")]
    Connect(String),
}

/// Connects to addresses that the guard allows.
#[derive(Clone, Debug)]
pub(super) struct GuardedConnector {
    guard: Arc<EgressGuard>,
}

impl GuardedConnector {
    /// Creates a connector that checks each address with `guard`.
    pub(super) fn new(guard: Arc<EgressGuard>) -> Self {
        Self { guard }
    }
}

impl tower::Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let guard = Arc::clone(&self.guard);
        Box::pin(async move { dial(&guard, &uri).await.map(TokioIo::new) })
    }
}

async fn dial(guard: &EgressGuard, uri: &Uri) -> Result<TcpStream, DialError> {
    let host = uri.host().ok_or_else(|| DialError::Dns("the URL has no host".into()))?;
    let host = host.trim_matches(['[', ']']);
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let port = uri.port_u16().unwrap_or(default);
    let lookup = tokio::net::lookup_host((host, port));
    let addresses: Vec<SocketAddr> = match tokio::time::timeout(DNS_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(DialError::Dns(error.to_string())),
        Err(_) => return Err(DialError::Dns("no response in time".into())),
    };
    for address in &addresses {
        if let Err(refusal) = guard.check_address(*address) {
            metrics::blocked(refusal);
            return Err(DialError::Blocked(refusal));
        }
    }
    let connect = connect_any(&addresses);
    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(connected) => connected,
        Err(_) => Err(DialError::Connect("no response in time".into())),
    }
}

async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut last = DialError::Dns("the name has no address".into());
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it a small request waits for the acknowledgement of the previous one.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                metrics::dialled();
                return Ok(stream);
            }
            Err(error) => last = DialError::Connect(error.to_string()),
        }
    }
    Err(last)
}
