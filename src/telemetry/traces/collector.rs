//! Client of a collector: posts encoded spans.
//!
//! An operator chose the address, so the rules for addresses of handlers do not apply: most collectors are
//! at private ones. There is no proxy and no redirect.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

/// Deadline of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection is closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Path of traces, which is appended to the endpoint.
const PATH: &str = "/v1/traces";

/// Posts spans to a collector.
pub struct Collector {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
}

/// Why a collector did not take spans.
pub(super) struct Refused {
    /// One sentence, without what the collector said.
    pub(super) cause: String,
    /// Whether it may take them later.
    pub(super) is_temporary: bool,
}

impl Collector {
    /// Creates a client of the collector at `endpoint`, a URL to which the path of traces is appended.
    /// Each request has `headers`.
    ///
    /// # Errors
    /// The endpoint is no URL, or the TLS library rejects its own defaults.
    pub fn new(endpoint: &str, mut headers: HeaderMap) -> anyhow::Result<Self> {
        let base = endpoint.trim_end_matches('/');
        let base = base.strip_suffix(PATH).unwrap_or(base);
        let uri: Uri = format!("{base}{PATH}").parse().context("the endpoint is no URL")?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let agent = HeaderValue::from_static(concat!("switchyard/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        Ok(Self { client, uri, headers })
    }

    /// Posts encoded spans and returns the answer; completes within the deadline.
    pub(super) async fn post(&self, body: Bytes) -> Result<Bytes, Refused> {
        match tokio::time::timeout(TIMEOUT, self.exchange(body)).await {
            Ok(Ok((status, body))) if status.is_success() => Ok(body),
            Ok(Ok((status, _))) => Err(Refused {
                cause: format!("status {}", status.as_u16()),
                is_temporary: matches!(status.as_u16(), 429 | 502 | 503 | 504),
            }),
            Ok(Err(error)) => Err(Refused { cause: format!("{error:#}"), is_temporary: true }),
            Err(_) => Err(Refused {
                cause: "no complete response before the deadline".to_owned(),
                is_temporary: true,
            }),
        }
    }

    async fn exchange(&self, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::post(self.uri.clone()).body(Full::new(body))?;
        *request.headers_mut() = self.headers.clone();
        let response = self.client.request(request).await.context("no connection")?;
        let (parts, body) = response.into_parts();
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(answer) => Ok((parts.status, answer.to_bytes())),
            Err(error) => bail!("the answer cannot be read: {error}"),
        }
    }
}

/// Returns TLS with the root certificates of the system.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no root certificates: a collector with https gets no traces");
            builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_traces_is_appended_once() {
        let uri = |endpoint| Collector::new(endpoint, HeaderMap::new()).unwrap().uri;
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(uri(endpoint).to_string(), "http://c:4318/v1/traces");
        }
        assert_eq!(uri("https://c/otlp/").to_string(), "https://c/otlp/v1/traces");
    }
}
