//! HTTP client of the operator API, for commands that call a running router.

mod stream;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::call::Call;
pub use super::call::{ErrorStatus, Unreachable};
use super::exit::UsageError;
use crate::domain::Secret;

pub use stream::LineStream;

/// Characters that are percent-encoded in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');
/// By which the audit log knows commands.
const AGENT: &str = concat!("switchyard/", env!("CARGO_PKG_VERSION"));
/// Timeout of a request. Longer than the router waits for the answer of an app when one is installed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of bytes read of a response.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A JSON client of one router.
#[derive(Clone, Debug)]
pub struct ApiClient {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    token: Secret,
}

impl ApiClient {
    /// Returns a client for the router at a URL, with a bearer token.
    ///
    /// # Errors
    /// The URL is not http or https, or the system has no root certificates.
    pub fn at(base: &str, token: &str) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/');
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = match base.split_once("://") {
            Some(("http", _)) => tls.with_root_certificates(RootCertStore::empty()),
            Some(("https", _)) => tls.with_native_roots().context("root certificates")?,
            Some(_) => {
                bail!(UsageError(format!("`{base}` does not start with http:// or https://")))
            }
            None => bail!(UsageError(format!(
                "`{base}` does not start with http:// or https://: write http://{base}"
            ))),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .build();
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Ok(Self { pool, base: base.to_owned(), token: Secret::new(token) })
    }

    /// Returns a client of the same router with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Secret::new(token), ..self.clone() }
    }

    /// Returns the base URL, such as `http://127.0.0.1:8089`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends `body` and returns the response, null if it is empty; `headers` extend or override the
    /// default ones.
    ///
    /// # Errors
    /// No response in time, or a status other than 2xx; the message includes that of the router. The
    /// response is not JSON.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<Value> {
        let answer = self.fetch(method.clone(), path, headers, body).await?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).with_context(|| format!("{method} {path}: not JSON"))
    }

    /// As [`ApiClient::send`], for a response of any kind.
    ///
    /// # Errors
    /// No response in time, or a status other than 2xx; the message includes that of the router.
    pub async fn fetch(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<Bytes> {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(header::USER_AGENT, AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))?;
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(HeaderName::from_str(name)?, HeaderValue::from_str(value)?);
        }
        let call = Call::new(&self.base, &method, path);
        let exchange = async {
            let answer = self.pool.request(request).await;
            let answer = answer.map_err(|error| call.failed(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| call.broke_off(&*error))?.to_bytes();
            Ok::<_, Unreachable>((head, body))
        };
        let answered = tokio::time::timeout(TIMEOUT, exchange).await;
        let (head, body) = answered.map_err(|_| call.unanswered(TIMEOUT))??;
        if !head.status.is_success() {
            bail!(call.refused(head.status, &head.headers, &body));
        }
        Ok(body)
    }
}

impl ApiClient {
    /// Sends a request whose response has one JSON value a line, and calls `each` with each of them: a
    /// POST if there is a body.
    ///
    /// # Errors
    /// No next line in time, a status other than 2xx, or a line that is not JSON.
    pub async fn lines(
        &self,
        path: &str,
        body: Option<&Value>,
        mut each: impl FnMut(Value),
    ) -> anyhow::Result<()> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let body = body.map(ToString::to_string).unwrap_or_default();
        let call = Call::new(&self.base, &method, path);
        let silent = |_| call.unanswered(TIMEOUT);
        let request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(header::ACCEPT, "application/x-ndjson")
            .header(header::USER_AGENT, AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        let answer = tokio::time::timeout(TIMEOUT, self.pool.request(request)).await;
        let answer = answer.map_err(silent)?.map_err(|error| call.failed(&error))?;
        let (head, body) = answer.into_parts();
        let mut body = Limited::new(body, ANSWER_BYTES_MAX);
        let mut text = Vec::new();
        while let Some(frame) = tokio::time::timeout(TIMEOUT, body.frame()).await.map_err(silent)? {
            let frame = frame.map_err(|error| call.broke_off(&*error))?;
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            text.extend_from_slice(&data);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                each(serde_json::from_slice(&line).with_context(|| format!("{path}: not JSON"))?);
            }
        }
        if head.status.is_success() {
            return Ok(());
        }
        bail!(call.refused(head.status, &head.headers, &text.into()))
    }
}

/// Runs calls of a router on a current-thread runtime.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

/// Encodes an id as one segment of a path.
pub(super) fn path_segment(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_segment_has_no_reserved_character() {
        for byte in 0..=127_u8 {
            let text = char::from(byte).to_string();
            let is_kept = byte.is_ascii_alphanumeric() || b"*-._".contains(&byte);
            let expected = if is_kept { text.clone() } else { format!("%{byte:02X}") };
            assert_eq!(path_segment(&text), expected);
        }
        assert_eq!(path_segment("ari:app/1 é"), "ari%3Aapp%2F1%20%C3%A9");
    }
}
