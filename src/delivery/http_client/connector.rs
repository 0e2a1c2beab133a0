//! Connector: resolves, checks and dials, so that the dialled address is exactly the checked one.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use rustix::io::Errno;
use thiserror::Error;
use tokio::net::TcpStream;

use super::sockets::{ClientSockets, ConnectionTimes, Socket};
use crate::clock;
use crate::delivery::guard::{EgressGuard, EgressRefusal};
use crate::delivery::metrics;

/// Timeout of name resolution.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of a TCP connection, all addresses of a name together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of a name that are dialled, one after the other.
const ADDRESSES_MAX: usize = 8;
/// Reason of a local failure: no descriptor.
const DESCRIPTORS: &str = "descriptors";

/// Why no connection was established.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("the host name does not resolve: {0}")]
    Dns(String),
    #[error("{0}")]
    Blocked(EgressRefusal),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no means on this machine ({reason}): {detail}")]
    Local { reason: &'static str, detail: String },
}

impl DialError {
    /// Counts and returns a failure of this machine.
    fn local(reason: &'static str, detail: String) -> Self {
        metrics::local_failure(reason);
        Self::Local { reason, detail }
    }
}

/// Connects to addresses that the guard allows.
#[derive(Clone, Debug)]
pub(super) struct GuardedConnector {
    guard: Arc<EgressGuard>,
    sockets: Arc<ClientSockets>,
}

impl GuardedConnector {
    /// Creates a connector that checks each address with `guard` and takes its sockets from the
    /// budget.
    pub(super) fn new(guard: Arc<EgressGuard>, sockets: Arc<ClientSockets>) -> Self {
        Self { guard, sockets }
    }
}

impl tower::Service<Uri> for GuardedConnector {
    type Response = Socket;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (guard, sockets) = (Arc::clone(&self.guard), Arc::clone(&self.sockets));
        Box::pin(async move {
            // Taken before the name is resolved, which needs a descriptor as well.
            let Some(place) = sockets.place().await else {
                let detail = "the budget of sockets is used up".to_owned();
                return Err(DialError::local(DESCRIPTORS, detail));
            };
            let (stream, times) = dial(&guard, &uri).await?;
            Ok(Socket::new(stream, times, place))
        })
    }
}

/// Resolves, checks and connects; returns the times of both.
async fn dial(guard: &EgressGuard, uri: &Uri) -> Result<(TcpStream, ConnectionTimes), DialError> {
    let host = uri.host().ok_or_else(|| DialError::Dns("the URL has no host".into()))?;
    let host = host.trim_matches(['[', ']']);
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let port = uri.port_u16().unwrap_or(default);
    let started = clock::tick();
    let lookup = tokio::net::lookup_host((host, port));
    let addresses: Vec<SocketAddr> = match tokio::time::timeout(DNS_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            let lacking = local_reason(&error, false).or_else(lacking_descriptors);
            return Err(match lacking {
                Some(reason) => DialError::local(reason, error.to_string()),
                None => DialError::Dns(error.to_string()),
            });
        }
        Err(_) => return Err(DialError::Dns("no response in time".into())),
    };
    let resolved = clock::tick();
    for address in &addresses {
        guard.check_address(*address).map_err(blocked)?;
    }
    let connect = connect_any(&addresses);
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(connected) => connected?,
        Err(_) => return Err(DialError::Connect("no response in time".into())),
    };
    let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
    let (local, remote) = ends.map_err(|error| DialError::Connect(error.to_string()))?;
    guard.check_connection(local, remote).map_err(blocked)?;
    let dns = resolved.saturating_duration_since(started);
    Ok((stream, ConnectionTimes::new(dns, clock::since(resolved))))
}

/// Counts and returns a refusal of the guard.
fn blocked(refusal: EgressRefusal) -> DialError {
    metrics::blocked(refusal);
    DialError::Blocked(refusal)
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
                return Ok(stream);
            }
            Err(error) => {
                last = match local_reason(&error, address.is_ipv4()) {
                    // The other addresses would need the same.
                    Some(reason) => return Err(DialError::local(reason, error.to_string())),
                    None => DialError::Connect(error.to_string()),
                }
            }
        }
    }
    Err(last)
}

/// Returns whether this process can open no descriptor at this moment. The resolver of the system
/// does not say so: without one, it reports that the name cannot be resolved.
fn lacking_descriptors() -> Option<&'static str> {
    local_reason(&std::net::UdpSocket::bind(("127.0.0.1", 0)).err()?, false)
}

/// Returns which means of this machine an error lacks, a metric label; none if the error is not
/// ours. Without IPv6 each of its addresses is "not available"; `has_ports` excludes that case.
pub(super) fn local_reason(error: &io::Error, has_ports: bool) -> Option<&'static str> {
    match Errno::from_raw_os_error(error.raw_os_error()?) {
        Errno::MFILE | Errno::NFILE => Some(DESCRIPTORS),
        Errno::NOBUFS | Errno::NOMEM => Some("buffers"),
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN if has_ports => Some("ports"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_means_of_this_machine_are_no_fault_of_the_network() {
        let reason = |errno: Errno, has_ports| {
            local_reason(&io::Error::from_raw_os_error(errno.raw_os_error()), has_ports)
        };
        for (errno, expected) in [
            (Errno::MFILE, Some("descriptors")),
            (Errno::NFILE, Some("descriptors")),
            (Errno::NOBUFS, Some("buffers")),
            (Errno::NOMEM, Some("buffers")),
            (Errno::ADDRNOTAVAIL, Some("ports")),
            (Errno::CONNREFUSED, None),
            (Errno::NETUNREACH, None),
            (Errno::CONNRESET, None),
        ] {
            assert_eq!(reason(errno, true), expected, "{errno:?}");
        }
        assert_eq!(reason(Errno::ADDRNOTAVAIL, false), None, "a machine without IPv6");
        assert_eq!(local_reason(&io::Error::other("x"), true), None);
    }
}
