//! HTTP client of a lane: posts requests within one deadline.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::Extensions;
use hyper::{Request, Response, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::classify::classify;
use super::connector::GuardedConnector;
use super::sockets::{ClientSockets, ConnectionTimes, IdlePool, SocketBudget};
use crate::config::LogResponses;
use crate::delivery::guard::EgressGuard;
use crate::delivery::metrics;
use crate::delivery::model::{AttemptClass, AttemptOutcome, ResponseExcerpt};
use crate::event::codec::HeaderList;
use crate::{clock, config};

/// An idle connection is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most headers of a response.
const RESPONSE_HEADERS_MAX: usize = 100;
/// Largest size of a response's headers, in bytes.
const RESPONSE_HEADER_BYTES_MAX: usize = 32 * 1024;

type Connector = HttpsConnector<GuardedConnector>;
type Client = legacy::Client<Connector, Full<Bytes>>;

/// Settings that all clients share.
#[derive(Clone, Debug)]
pub struct HttpSender {
    tls: Arc<ClientConfig>,
    guard: Arc<EgressGuard>,
    timeout: Duration,
    response_bytes_max: usize,
    sockets: SocketBudget,
    excerpts: LogResponses,
}

/// HTTP client of one lane, with its connection pool.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pool: Arc<ConnectionPool>,
    guard: Arc<EgressGuard>,
    timeout: Duration,
    response_bytes_max: usize,
    excerpts: LogResponses,
}

/// The connections of one client.
#[derive(Debug)]
struct ConnectionPool {
    current: ArcSwap<Client>,
    connector: Connector,
    idle_max: usize,
    sockets: Arc<ClientSockets>,
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
            sockets: SocketBudget::new(usize::MAX, config.idle_sockets_max),
            excerpts: if config.log { config.log_responses } else { LogResponses::None },
        })
    }

    /// Limits the sockets of all clients that are created from now on.
    #[must_use]
    pub fn with_sockets(self, sockets: SocketBudget) -> Self {
        Self { sockets, ..self }
    }

    /// Returns the budget of sockets.
    #[must_use]
    pub fn sockets(&self) -> &SocketBudget {
        &self.sockets
    }

    /// Creates a client with its own pool of at most `idle_max` idle connections.
    #[must_use]
    pub fn client(&self, idle_max: usize) -> HttpClient {
        let sockets = self.sockets.new_client();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*self.tls).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(GuardedConnector::new(Arc::clone(&self.guard), Arc::clone(&sockets)));
        let current = ArcSwap::from_pointee(build(connector.clone(), idle_max));
        let pool = Arc::new(ConnectionPool { current, connector, idle_max, sockets });
        let weak = Arc::downgrade(&pool);
        self.sockets.add(weak);
        HttpClient {
            pool,
            guard: Arc::clone(&self.guard),
            timeout: self.timeout,
            response_bytes_max: self.response_bytes_max,
            excerpts: self.excerpts,
        }
    }

    /// Returns the deadline of one attempt.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl IdlePool for ConnectionPool {
    fn sockets(&self) -> &Arc<ClientSockets> {
        &self.sockets
    }

    /// The library closes idle connections only together with their pool.
    fn close_idle(&self) {
        self.current.store(Arc::new(build(self.connector.clone(), self.idle_max)));
    }
}

impl ConnectionPool {
    async fn request(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        self.current.load_full().request(request).await
    }
}

fn build(connector: Connector, idle_max: usize) -> Client {
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle_max)
        .http1_max_headers(RESPONSE_HEADERS_MAX)
        .http1_max_buf_size(RESPONSE_HEADER_BYTES_MAX)
        .build(connector)
}

impl HttpClient {
    /// Makes one attempt; completes before its deadline whatever the handler does.
    pub async fn post(&self, url: &Url, headers: HeaderList, body: Bytes) -> AttemptOutcome {
        if let Err(refusal) = self.guard.check_url(url) {
            metrics::blocked(refusal);
            return AttemptOutcome::failed(AttemptClass::Blocked, refusal.to_string());
        }
        let Some(mut request) = request(url, headers, body) else {
            return AttemptOutcome::failed(AttemptClass::Other, "the request cannot be built");
        };
        let connection = capture_connection(&mut request);
        let mut outcome = match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => AttemptOutcome::failed(
                AttemptClass::Timeout,
                "no complete response before the deadline",
            ),
        };
        add_connection(&mut outcome, &connection, url.scheme() == "https");
        outcome
    }

    /// Posts and returns the body of a 2xx response of at most `bytes_max`.
    ///
    /// # Errors
    /// There was no such response in time; one sentence.
    pub async fn post_for_body(
        &self,
        url: &Url,
        headers: HeaderList,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Bytes, String> {
        if let Err(refusal) = self.guard.check_url(url) {
            metrics::blocked(refusal);
            return Err(refusal.to_string());
        }
        let request = request(url, headers, body).ok_or("the request cannot be built")?;
        let exchange = async {
            let _busy = self.pool.sockets.busy();
            let response = self.pool.request(request).await.map_err(|error| detail(&error))?;
            let status = response.status();
            // One byte more than allowed, to distinguish a longer response from one of exactly that
            // size.
            let body = read_body(response.into_body(), bytes_max.saturating_add(1)).await;
            let body = body.map_err(|error| detail(&error))?;
            match () {
                () if !status.is_success() => Err(format!("status {}", status.as_u16())),
                () if body.len() > bytes_max => {
                    Err(format!("the response has more than {bytes_max} bytes"))
                }
                () => Ok(Bytes::from(body)),
            }
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(responded) => responded,
            Err(_) => Err("no complete response before the deadline".into()),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> AttemptOutcome {
        let _busy = self.pool.sockets.busy();
        let started = clock::tick();
        let response = match self.pool.request(request).await {
            Ok(response) => response,
            Err(error) => return classify(&error),
        };
        let headers_read = clock::tick();
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let mut outcome = match read_body(body, self.response_bytes_max).await {
            Ok(body) => {
                let retry_after = header(RETRY_AFTER.as_str());
                let mut outcome = AttemptOutcome::of_http(status, retry_after, &body, clock::now());
                if self.shows_response(&outcome) {
                    let excerpt = ResponseExcerpt::of(header, &body);
                    outcome.observed().response = Some(Box::new(excerpt));
                }
                outcome
            }
            Err(error) => {
                let mut outcome = classify(&error);
                outcome.observed().status = Some(status);
                outcome
            }
        };
        let phases = &mut outcome.observed().phases;
        phases.first_byte = Some(headers_read.saturating_duration_since(started));
        phases.body = Some(clock::since(headers_read));
        outcome
    }

    fn shows_response(&self, outcome: &AttemptOutcome) -> bool {
        match self.excerpts {
            LogResponses::None => false,
            LogResponses::Failures => !outcome.is_done(),
            LogResponses::All => true,
        }
    }
}

/// Adds the times of a connection that was opened for a request. They are no part of the time until its first
/// byte.
fn add_connection(outcome: &mut AttemptOutcome, connection: &CaptureConnection, is_tls: bool) {
    let mut extras = Extensions::new();
    if let Some(connected) = &*connection.connection_metadata() {
        connected.get_extras(&mut extras);
    }
    let Some(times) = extras.get::<Arc<ConnectionTimes>>() else { return };
    let handshake = times.take();
    metrics::connection_used(handshake.is_none());
    let Some(handshake) = handshake else { return };
    let phases = &mut outcome.observed().phases;
    phases.dns = Some(times.dns);
    phases.connect = Some(times.connect);
    phases.tls = is_tls.then_some(handshake);
    let opening = times.dns + times.connect + handshake;
    phases.first_byte = phases.first_byte.map(|until| until.saturating_sub(opening));
}

/// Reads at most `bytes_max`; a longer body is cut there, which closes its connection.
async fn read_body(mut body: Incoming, bytes_max: usize) -> hyper::Result<Vec<u8>> {
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

fn detail(error: &(dyn StdError + 'static)) -> String {
    classify(error).detail.into_owned()
}

#[cfg(test)]
mod tests;
