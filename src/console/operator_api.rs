//! Asks the operator API in this process, in the name of a visitor: what a visitor may see and do is decided there.

use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::answer::Members as _;
use super::visitor::Visitor;

/// Longest answer that a page is made of, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// After which a page says that the answer takes too long.
const DEADLINE: Duration = Duration::from_secs(20);
/// Start of the paths of the operator API.
const PREFIX: &str = "/admin/v1/";
/// What stays as it is in a part of a path and in a value of a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The operator API, as pages ask it.
#[derive(Clone)]
pub struct OperatorApi {
    router: Router,
}

/// A path of the operator API below its prefix, with its query.
#[derive(Clone, Debug)]
pub(super) struct ApiPath {
    text: String,
    has_query: bool,
}

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct ApiRefusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// The members `errors` of the answer: code, message, help.
    pub(super) errors: Vec<Value>,
}

impl ApiPath {
    /// Returns the path of a list, such as `deliveries`.
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), has_query: false }
    }

    /// Adds an id, percent-encoded.
    pub(super) fn id(mut self, id: &str) -> Self {
        self.text.push('/');
        self.text.push_str(&encoded(id));
        self
    }

    /// Adds a part as it is.
    pub(super) fn part(mut self, part: &str) -> Self {
        self.text.push('/');
        self.text.push_str(part);
        self
    }

    /// Adds a parameter of the query, unless it is empty.
    pub(super) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        if !value.is_empty() {
            let separator = if self.has_query { '&' } else { '?' };
            self.has_query = true;
            let _infallible = write!(self.text, "{separator}{name}={}", encoded(value));
        }
        self
    }

    /// Returns where a browser finds this answer.
    pub(super) fn json_link(&self) -> String {
        format!("/json/{}", self.text)
    }

    fn uri(&self) -> String {
        format!("{PREFIX}{}", self.text)
    }
}

/// Returns a text percent-encoded, for a part of a path or a value of a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl OperatorApi {
    /// Creates it of the routes of the operator API.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    /// Returns an answer.
    ///
    /// # Errors
    /// The API refuses, or the answer takes too long.
    pub(super) async fn get(&self, visitor: &Visitor, path: &ApiPath) -> Result<Value, ApiRefusal> {
        self.send(visitor, Method::GET, path, None).await
    }

    /// Sends a `POST` with a body, or without one.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn post(
        &self,
        visitor: &Visitor,
        path: &ApiPath,
        body: Option<&Value>,
    ) -> Result<Value, ApiRefusal> {
        self.send(visitor, Method::POST, path, body).await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn send(
        &self,
        visitor: &Visitor,
        method: Method,
        path: &ApiPath,
        body: Option<&Value>,
    ) -> Result<Value, ApiRefusal> {
        let answer = async {
            let response = self.response(visitor, method, &path.uri(), body).await?;
            let status = response.status();
            let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
            let bytes =
                bytes.map_err(|error| unavailable(format!("the answer broke off: {error}")))?;
            let value = match serde_json::from_slice(&bytes) {
                Ok(value) => value,
                // A change may have no answer; a page must not take a broken one for an empty one.
                Err(_) if bytes.is_empty() || !status.is_success() => Value::Null,
                Err(error) => return Err(unavailable(format!("the answer is no JSON: {error}"))),
            };
            if status.is_success() { Ok(value) } else { Err(refusal(status, &value)) }
        };
        let late =
            || unavailable(format!("the router has no answer after {} s", DEADLINE.as_secs()));
        tokio::time::timeout(DEADLINE, answer).await.map_err(|_elapsed| late())?
    }

    /// Returns the response to a request as it is, such as a feed; `uri` has the prefix of the API.
    ///
    /// # Errors
    /// The URI is not one.
    pub(super) async fn response(
        &self,
        visitor: &Visitor,
        method: Method,
        uri: &str,
        body: Option<&Value>,
    ) -> Result<Response<Body>, ApiRefusal> {
        let mut request = Request::builder().method(method).uri(uri);
        request = request.extension(visitor.caller.clone()).extension(visitor.client);
        if let Some(token) = &visitor.token {
            request = request.extension(token.clone());
        }
        request = request.header(header::ACCEPT, "application/json");
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| unavailable(error.to_string()))?;
        match self.router.clone().oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}

fn refusal(status: StatusCode, answer: &Value) -> ApiRefusal {
    let message = match answer.text("message") {
        "" => format!("the router answered {status}"),
        message => message.to_owned(),
    };
    ApiRefusal { status, message, errors: answer.list("errors").to_vec() }
}

fn unavailable(message: String) -> ApiRefusal {
    ApiRefusal { status: StatusCode::GATEWAY_TIMEOUT, message, errors: Vec::new() }
}
