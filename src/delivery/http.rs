//! HTTP client for deliveries: one deadline per request, and only addresses that the guard allows.
//!
//! The connector resolves, checks and dials itself: the dialled address is exactly the checked one.
//! There is no proxy, no redirect and no connection shared between installations.

mod post_for_body;

use std::error::Error as StdError;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use url::Url;

use super::guard::{EgressGuard, EgressRefusal};
use super::outcome::{AttemptClass, AttemptOutcome};
use super::{HeaderList, metrics};
use crate::{clock, config};

/// Timeout of name resolution.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of a TCP connection, all addresses of a name together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of a name that are dialled, one after the other.
const ADDRESSES_MAX: usize = 8;
/// An idle connection is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most headers of a response.
const RESPONSE_HEADERS_MAX: usize = 100;
/// Largest size of a response's headers, in bytes.
const RESPONSE_HEADER_BYTES_MAX: usize = 32 * 1024;

/// Settings that all clients share.
#[derive(Clone, Debug)]
pub struct HttpSender {
    tls: Arc<ClientConfig>,
    guard: Arc<EgressGuard>,
    timeout: Duration,
    response_bytes_max: usize,
}

/// HTTP client of one lane, with its connection pool.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    guard: Arc<EgressGuard>,
    timeout: Duration,
    response_bytes_max: usize,
}

impl HttpSender {
    /// Loads the system's root certificates. Without any, every `https` attempt fails with class
    /// `tls`.
    ///
    /// # Errors
    /// The TLS library rejects its own defaults.
    pub fn new(
        config: &config::DeliveryConfig,
        guard: Arc<EgressGuard>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
        };
        let tls = match builder()?.with_native_roots() {
            Ok(builder) => builder.with_no_client_auth(),
            Err(error) => {
                tracing::warn!(%error, "no root certificates: https attempts will fail");
                let none = RootCertStore::empty();
                builder()?.with_root_certificates(none).with_no_client_auth()
            }
        };
        Ok(Self {
            tls: Arc::new(tls),
            guard,
            timeout: Duration::from_millis(config.timeout_ms),
            response_bytes_max: config.response_max,
        })
    }

    /// Creates a client with its own pool of at most `idle_max` idle connections.
    #[must_use]
    pub fn client(&self, idle_max: usize) -> HttpClient {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*self.tls).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { guard: Arc::clone(&self.guard) });
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle_max)
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            .http1_max_buf_size(RESPONSE_HEADER_BYTES_MAX)
            .build(connector);
        HttpClient {
            client,
            guard: Arc::clone(&self.guard),
            timeout: self.timeout,
            response_bytes_max: self.response_bytes_max,
        }
    }

    /// Returns the deadline of one attempt.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl HttpClient {
    /// Makes one attempt; completes before its deadline whatever the handler does.
    pub async fn post(&self, url: &Url, headers: HeaderList, body: Bytes) -> AttemptOutcome {
        if let Err(refusal) = self.guard.check_url(url) {
            metrics::blocked(refusal);
            return AttemptOutcome::failed(AttemptClass::Blocked, refusal.to_string());
        }
        let Some(request) = request(url, headers, body) else {
            return AttemptOutcome::failed(AttemptClass::Other, "the request cannot be built");
        };
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => AttemptOutcome::failed(
                AttemptClass::Timeout,
                "no complete response before the deadline",
            ),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> AttemptOutcome {
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => return classify(&error),
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        match read_response(response, self.response_bytes_max).await {
            Ok(body) => {
                AttemptOutcome::of_http(status, retry_after.as_deref(), &body, clock::now())
            }
            Err(error) => classify(&error),
        }
    }
}

/// Reads at most `bytes_max`; a longer response is cut there, which closes its connection.
async fn read_response(response: Response<Incoming>, bytes_max: usize) -> hyper::Result<Vec<u8>> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = bytes_max - read.len();
        read.extend_from_slice(data.get(..room).unwrap_or(&data));
        if read.len() >= bytes_max {
            break;
        }
    }
    Ok(read)
}

fn request(url: &Url, headers: HeaderList, body: Bytes) -> Option<Request<Full<Bytes>>> {
    let uri: Uri = url.as_str().parse().ok()?;
    let mut request = Request::post(uri).body(Full::new(body)).ok()?;
    // The library adds two headers.
    request.headers_mut().reserve(headers.len() + 2);
    for (name, value) in headers {
        // Ids may contain text that a header cannot carry; such a header is omitted rather than
        // altered.
        if let Ok(value) = HeaderValue::try_from(value) {
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    Some(request)
}

/// Why no connection was established.
#[derive(Debug, Error)]
enum DialError {
    #[error("the host name does not resolve: {0}")]
    Dns(String),
    #[error("{0}")]
    Blocked(EgressRefusal),
    #[error("no connection: {0}")]
    Connect(String),
}

/// Resolves, checks and dials an address.
#[derive(Clone, Debug)]
struct Connector {
    guard: Arc<EgressGuard>,
}

impl tower::Service<Uri> for Connector {
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
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
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

/// Classifies a failed request by the cause inside its wrapped errors.
fn classify(error: &(dyn StdError + 'static)) -> AttemptOutcome {
    for cause in causes(error) {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            let class = match dial {
                DialError::Dns(_) => AttemptClass::Dns,
                DialError::Blocked(_) => AttemptClass::Blocked,
                DialError::Connect(_) => AttemptClass::Connect,
            };
            return AttemptOutcome::failed(class, dial.to_string());
        }
        if cause.is::<rustls::Error>() {
            return AttemptOutcome::failed(AttemptClass::Tls, cause.to_string());
        }
    }
    let deepest = causes(error).last().map(ToString::to_string).unwrap_or_default();
    AttemptOutcome::failed(AttemptClass::Protocol, deepest)
}

/// Iterates over an error and its causes, outermost first. `source` of an I/O error skips the error
/// that it wraps.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| inside(*error))
}

fn inside<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests;
