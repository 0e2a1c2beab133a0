//! A small client of our own HTTP API, for commands that talk to a running router.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// No answer takes longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Speaks JSON with one router.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
    token: String,
}

impl Client {
    /// A client of the router at `address` with a bearer token.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { pool, base: format!("http://{address}"), token: token.to_owned() }
    }

    /// The same router with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The start of every address, such as `http://127.0.0.1:8089`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends `body` and returns the answer; `headers` come on top of the usual ones
    /// or in their place.
    ///
    /// # Errors
    /// No answer in time, or a status other than 2xx: the message holds what the router said.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> anyhow::Result<Value> {
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))?;
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(HeaderName::from_str(name)?, HeaderValue::from_str(value)?);
        }
        let exchange = async {
            let answer = self.pool.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            anyhow::Ok((status, body))
        };
        let (status, body) = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .with_context(|| format!("no answer from {} within {TIMEOUT:?}", self.base))??;
        if !status.is_success() {
            bail!("{method} {path}: {}", refusal(status, &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).with_context(|| format!("{method} {path}: not JSON"))
    }
}

fn refusal(status: StatusCode, body: &Bytes) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let message = said.as_ref().and_then(|said| said.get("message")).and_then(Value::as_str);
    match message {
        Some(message) => format!("{status}: {message}"),
        None => status.to_string(),
    }
}
