//! HTTP client of the two expression endpoints of Jira Cloud.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};
use thiserror::Error;
use url::{Host, Url};

use super::evaluation::Evaluation;
use crate::cli::exit::{EXIT_REFUSED, EXIT_UNREACHABLE, UsageError};

const EVALUATE: &str = "/rest/api/3/expression/evaluate";
const ANALYSE: &str = "/rest/api/3/expression/analyse?check=syntax";
/// Timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of bytes read of a response.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Maximum number of retries after 429.
const RETRIES_MAX: u32 = 5;
/// Maximum pause before a retry.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why the comparison failed.
#[derive(Debug, Error)]
pub(super) enum JiraError {
    #[error("no answer from the site: {0}")]
    Unreachable(String),
    #[error("the site rejects the account ({0}): check the e-mail address and the API token")]
    Refused(StatusCode),
    #[error("the site answered {status}, which is not a result: {body}")]
    Unexpected { status: StatusCode, body: String },
}

impl JiraError {
    /// Returns the exit code: 3 for a server that does not answer, 4 for a rejected account.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable(_) | Self::Unexpected { .. } => EXIT_UNREACHABLE,
            Self::Refused(_) => EXIT_REFUSED,
        }
    }
}

/// A client of one site with one account.
pub(super) struct Jira {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    site: String,
    authorization: HeaderValue,
}

impl Jira {
    /// Returns a client of `site`, which must use https unless it is on loopback.
    pub(super) fn new(site: &str, email: &str, token: &str) -> anyhow::Result<Self> {
        let wrong = |why: &dyn std::fmt::Display| UsageError(format!("--site {site}: {why}"));
        let url = Url::parse(site).map_err(|error| wrong(&error))?;
        let is_loopback = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            _ => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
            anyhow::bail!(wrong(&"the token goes over https only"));
        }
        let basic = format!("Basic {}", BASE64.encode(format!("{email}:{token}").as_bytes()));
        let mut authorization = HeaderValue::from_str(&basic)?;
        authorization.set_sensitive(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .build();
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        let site = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { pool, site, authorization })
    }

    /// Evaluates an expression with `context` as custom variables.
    pub(super) async fn evaluate(
        &self,
        expression: &str,
        context: &Map<String, Value>,
    ) -> Result<Evaluation, JiraError> {
        let variable = |(name, value): (&String, &Value)| {
            (name.clone(), json!({ "type": "json", "value": value }))
        };
        let custom: Map<String, Value> = context.iter().map(variable).collect();
        let request = json!({ "expression": expression, "context": { "custom": custom } });
        let (status, answer) = self.post(EVALUATE, &request).await?;
        match status {
            StatusCode::OK => {
                Ok(Evaluation::Value(answer.get("value").cloned().unwrap_or_default()))
            }
            _ => Ok(Evaluation::Error(messages(&answer))),
        }
    }

    /// Analyses the syntax of expressions, in order.
    pub(super) async fn analyse(&self, expressions: &[&str]) -> Result<Vec<Evaluation>, JiraError> {
        let request = json!({ "expressions": expressions });
        let (status, answer) = self.post(ANALYSE, &request).await?;
        let results = answer.get("results").and_then(Value::as_array);
        match results.filter(|results| results.len() == expressions.len()) {
            Some(results) => Ok(results.iter().map(analysed).collect()),
            None => Err(JiraError::Unexpected { status, body: answer.to_string() }),
        }
    }

    /// Sends a request and returns a response of 200, or of 400 with the errors of the expression.
    async fn post(&self, path: &str, body: &Value) -> Result<(StatusCode, Value), JiraError> {
        let mut tries = 0;
        loop {
            let (status, pause, text) = self.send(path, body).await?;
            tries += 1;
            let read = || String::from_utf8_lossy(&text).chars().take(200).collect();
            match status {
                StatusCode::OK | StatusCode::BAD_REQUEST => {
                    return match serde_json::from_slice(&text) {
                        Ok(answer) => Ok((status, answer)),
                        Err(_) => Err(JiraError::Unexpected { status, body: read() }),
                    };
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(JiraError::Refused(status));
                }
                StatusCode::TOO_MANY_REQUESTS if tries <= RETRIES_MAX => {
                    tokio::time::sleep(pause).await;
                }
                _ => return Err(JiraError::Unexpected { status, body: read() }),
            }
        }
    }

    async fn send(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Duration, Bytes), JiraError> {
        let failed = |error: &dyn std::fmt::Display| JiraError::Unreachable(error.to_string());
        let request = Request::post(format!("{}{path}", self.site))
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))
            .map_err(|error| failed(&error))?;
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                failed(&cause.unwrap_or_else(|| error.to_string()))
            })?;
            let (status, pause) = (answer.status(), retry_after(&answer));
            let text = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, pause, text.map_err(|error| failed(&error))?.to_bytes()))
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await;
        answer.unwrap_or_else(|_| Err(failed(&format_args!("nothing within {TIMEOUT:?}"))))
    }
}

/// Trusts the root certificates of the system; without any, only http works.
fn tls() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
    };
    Ok(match builder()?.with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(_) => builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    })
}

/// Returns the `Retry-After` of a response, one second by default.
fn retry_after<B>(answer: &Response<B>) -> Duration {
    let value = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = value.and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).min(PAUSE_MAX)
}

fn analysed(result: &Value) -> Evaluation {
    if result.get("valid").and_then(Value::as_bool) == Some(true) {
        return Evaluation::Value("valid".into());
    }
    let errors = result.get("errors").and_then(Value::as_array).into_iter().flatten();
    let messages = errors.filter_map(|error| error.get("message")?.as_str());
    Evaluation::Error(messages.collect::<Vec<_>>().join("; "))
}

/// Joins the messages of `{"errorMessages": [..], "errors": {..}}`.
fn messages(answer: &Value) -> String {
    let listed = answer.get("errorMessages").and_then(Value::as_array).into_iter().flatten();
    let named = answer.get("errors").and_then(Value::as_object).into_iter().flatten();
    let texts = listed.chain(named.map(|(_, text)| text)).filter_map(Value::as_str);
    texts.collect::<Vec<_>>().join("; ")
}
