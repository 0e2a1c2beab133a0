//! Requests to the handler of a listener: the delivery as it is, and what the handler answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde_json::{Map, Value, json};
use url::Url;

use crate::cli::call::innermost;
use crate::clock;

/// Most bytes that are read of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Begin of an answer that is returned to the router, in bytes.
const RETURNED_BYTES_MAX: usize = 4096;
/// Status for a delivery that is not forwarded.
const ACCEPTED: u16 = 204;

/// A delivery as the router sent it.
#[derive(Debug)]
pub(super) struct Received {
    /// Names it in the answer.
    pub(super) number: String,
    pub(super) headers: Map<String, Value>,
    pub(super) body: String,
}

impl Received {
    /// Reads a delivery.
    ///
    /// # Errors
    /// It has another form, as that of a later release.
    pub(super) fn read(mut delivery: Value) -> anyhow::Result<Self> {
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let mut take = |name| delivery.get_mut(name).map(Value::take);
        let (number, body) = (text(take("number")), text(take("body")));
        match (number, take("headers"), body) {
            (Some(number), Some(Value::Object(headers)), Some(body)) => {
                Ok(Self { number, headers, body })
            }
            _ => anyhow::bail!("a delivery cannot be read; use the release of the router"),
        }
    }

    /// Returns a header, empty if there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// What became of a delivery at the handler.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The status and the begin of the body, or why there is none.
    pub(super) result: Result<(u16, String), String>,
    pub(super) took: Duration,
}

impl Forwarded {
    /// Returns the result of a delivery that is not forwarded.
    pub(super) fn accepted() -> Self {
        Self { result: Ok((ACCEPTED, String::new())), took: Duration::ZERO }
    }

    /// Returns the answer as the router takes it.
    pub(super) fn answer(&self) -> Value {
        match &self.result {
            Ok((status, body)) => json!({ "status": status, "body": body }),
            Err(error) => json!({ "error": error }),
        }
    }
}

/// The handler that deliveries are forwarded to.
#[derive(Debug)]
pub(super) struct Handler {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Url,
    timeout: Duration,
}

impl Handler {
    /// Parses the address of a handler; without a scheme it is one of http.
    ///
    /// # Errors
    /// It is no address of http or https.
    pub(super) fn parse_url(text: &str) -> Result<Url, String> {
        let with_scheme = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let url = Url::parse(&with_scheme).map_err(|error| error.to_string())?;
        match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(_)) => Ok(url),
            _ => Err("it is an address such as localhost:9000 or https://localhost/hook".into()),
        }
    }

    /// Returns a client of the handler; an answer is awaited for `timeout`.
    ///
    /// # Errors
    /// The system has no root certificates.
    pub(super) fn new(url: Url, timeout: Duration) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = match url.scheme() {
            "https" => tls.with_native_roots().context("root certificates")?,
            _ => tls.with_root_certificates(rustls::RootCertStore::empty()),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { pool: Pool::builder(TokioExecutor::new()).build(connector), url, timeout })
    }

    /// Sends a delivery to the handler.
    pub(super) async fn forward(&self, received: &Received) -> Forwarded {
        let start = clock::tick();
        let result = match tokio::time::timeout(self.timeout, self.exchange(received)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        };
        Forwarded { result, took: since(start) }
    }

    async fn exchange(&self, received: &Received) -> Result<(u16, String), String> {
        let body = Full::from(received.body.clone());
        let mut request = Request::builder().method(Method::POST).uri(self.url.as_str());
        for (name, value) in &received.headers {
            let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
            if let (Ok(name), Some(value)) = (name.parse::<HeaderName>(), value) {
                request = request.header(name, value);
            }
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let response = self.pool.request(request).await;
        let response = response.map_err(|error| innermost(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let mut text = String::from_utf8_lossy(&body).into_owned();
        text.truncate(text.floor_char_boundary(RETURNED_BYTES_MAX));
        Ok((status, text))
    }
}

fn since(start: Instant) -> Duration {
    clock::since(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_handler_needs_no_scheme() {
        let parsed = |text| Handler::parse_url(text).map(|url| url.to_string());
        assert_eq!(parsed("localhost:9000").as_deref(), Ok("http://localhost:9000/"));
        assert_eq!(parsed("https://h/x?y=1").as_deref(), Ok("https://h/x?y=1"));
        for text in ["", "ftp://h", "http://", "a b"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
