//! What callers see of an error: the only place that maps errors to HTTP.
//!
//! The message for the caller is apart from the detail for the log: an internal failure shows as
//! such and no more.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tracing::error;

use super::metrics;
use crate::event::{DecodeError, PublishError};
use crate::registry::{Problem, RegisterError, StoreError, code, summary};

/// **Source:** Forge dynamic modules API, the documented texts of 401 and 500.
const AUTHORIZATION_FAILED: &str = "Authorization failed";
/// **Source:** Jira Cloud platform, dynamic modules, the answer 401.
const NOT_CONNECT: &str = "The request is not from a Connect app.";
/// **Source:** Jira Cloud platform, webhooks, the answer 403.
const NOT_AN_APP: &str = "Only Connect and OAuth 2.0 apps can use this operation";
const INTERNAL: &str = "An internal error occurred";
/// When to try again after storage did not answer.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// When to send an event again that the broker did not confirm.
const PUBLISH_RETRY: Duration = Duration::from_secs(5);
/// Code of a refusal because the backlog is near its limit.
pub(super) const BACKLOG: &str = "SY-5013";

/// The code of an event that was not stored.
pub(super) fn publish_code(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unconfirmed { .. } => "SY-5011",
        PublishError::Refused { .. } => "SY-5012",
    }
}

/// Why a request was not served.
#[derive(Debug)]
pub enum ApiError {
    /// The caller may not do this; the reason is for metrics only.
    Unauthorized(&'static str),
    /// The caller's token was one of ours, and is too old.
    TokenExpired {
        /// For how long, in seconds.
        ago_s: i64,
    },
    /// The operator's token is absent or wrong.
    NotAnOperator,
    /// The request is not signed by a Connect app.
    NotConnect,
    /// The caller is no app that may have webhooks.
    NotAnApp,
    /// The body cannot be read.
    Malformed(String),
    /// The body is too large.
    BodyTooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// The request can be read but not accepted.
    Invalid(Vec<Problem>),
    /// There is no such record.
    NotFound,
    /// There is no such path.
    NoSuchPath,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// A request that brings events cannot be read.
    BadEvents {
        /// Of the problem.
        code: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The signature of a webhook is absent or wrong.
    BadSignature,
    /// What was sent is no event.
    NoEvent(DecodeError),
    /// The event stream is so full that events nobody has read yet would be evicted soon.
    Backlog {
        /// When to try again.
        retry_after_s: u64,
    },
    /// The broker did not confirm an event, or refused it.
    Unpublished(PublishError),
    /// What is asked for cannot be had now; the detail is for the log.
    Unavailable(String),
    /// The registry refused, or failed.
    Register(RegisterError),
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

/// An error as callers get it: `{message, errors}`.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(skip)]
    status: StatusCode,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Problem>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Answer {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: Vec::new(), retry_after: None }
    }

    /// The message and a code for it.
    fn coded(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let errors = vec![Problem::new(code, "", message.clone())];
        Self { errors, ..Self::new(status, message) }
    }

    /// Only who holds a token that we signed learns that it is too old.
    fn expired(ago_s: i64) -> Self {
        let ago = if ago_s < 120 { format!("{ago_s} s") } else { format!("{} min", ago_s / 60) };
        let problem = Problem::new("SY-1109", "", format!("token refused: it expired {ago} ago"))
            .with_help("take the token that came with the latest event");
        let errors = vec![problem];
        Self { errors, ..Self::new(StatusCode::UNAUTHORIZED, AUTHORIZATION_FAILED) }
    }

    fn invalid(problems: Vec<Problem>) -> Self {
        let message = summary(&problems);
        Self { errors: problems, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, message) }
    }

    fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unauthorized(_) => Self::new(StatusCode::UNAUTHORIZED, AUTHORIZATION_FAILED),
            ApiError::TokenExpired { ago_s } => Self::expired(ago_s),
            ApiError::NotAnOperator => Self::coded(
                StatusCode::UNAUTHORIZED,
                "SY-1105",
                "the operator API needs the header `Authorization: Bearer <admin token>`",
            ),
            ApiError::NotConnect => Self::new(StatusCode::UNAUTHORIZED, NOT_CONNECT),
            ApiError::NotAnApp => Self::new(StatusCode::FORBIDDEN, NOT_AN_APP),
            ApiError::Malformed(reason) => Self::coded(StatusCode::BAD_REQUEST, "SY-1101", reason),
            ApiError::BodyTooLarge { max } => Self::coded(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SY-1102",
                format!("the request body is larger than {max} bytes"),
            ),
            ApiError::Invalid(problems) => Self::invalid(problems),
            ApiError::NotFound => {
                Self::coded(StatusCode::NOT_FOUND, "SY-1103", "there is no such record")
            }
            ApiError::NoSuchPath => {
                Self::coded(StatusCode::NOT_FOUND, "SY-1106", "there is no such path")
            }
            ApiError::MethodNotAllowed => Self::coded(
                StatusCode::METHOD_NOT_ALLOWED,
                "SY-1104",
                "this path does not take this method",
            ),
            ApiError::BadEvents { code, message } => {
                Self::coded(StatusCode::BAD_REQUEST, code, message)
            }
            ApiError::BadSignature => Self::coded(
                StatusCode::UNAUTHORIZED,
                "SY-1022",
                "X-Hub-Signature is missing or does not match the body and the secret",
            ),
            ApiError::NoEvent(error) => {
                let status = match error {
                    DecodeError::Size { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                Self::coded(status, error.code(), error.to_string())
            }
            ApiError::Backlog { retry_after_s } => Self::coded(
                StatusCode::SERVICE_UNAVAILABLE,
                BACKLOG,
                "the event stream is nearly full of events not yet handled; send it again",
            )
            .after(Duration::from_secs(retry_after_s)),
            ApiError::Unpublished(error) => {
                let (code, message) = (publish_code(&error), error.to_string());
                Self::coded(StatusCode::SERVICE_UNAVAILABLE, code, message).after(PUBLISH_RETRY)
            }
            ApiError::Unavailable(reason) => {
                error!(reason, "the broker does not answer");
                let message = "the broker does not answer in time";
                Self::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5022", message).after(STORE_RETRY)
            }
            ApiError::Register(error) => of_registry(error),
        }
    }
}

fn of_registry(error: RegisterError) -> Answer {
    match error {
        RegisterError::Invalid(problems) => Answer::invalid(problems),
        RegisterError::NotFound => ApiError::NotFound.into(),
        RegisterError::KeyChanged => Answer::new(StatusCode::BAD_REQUEST, error.to_string()),
        RegisterError::StaleRevision => Answer::coded(
            StatusCode::PRECONDITION_FAILED,
            "SY-1108",
            "the record has another revision than If-Match names",
        ),
        RegisterError::Replayed(_) => {
            metrics::auth_failed("replay");
            ApiError::NotConnect.into()
        }
        RegisterError::RateLimited { retry_after } => {
            let message = "too many registrations of this installation";
            Answer::coded(StatusCode::TOO_MANY_REQUESTS, "SY-1107", message).after(retry_after)
        }
        RegisterError::Store(StoreError::TooLarge { bytes, max }) => {
            let message = format!("all modules together have {bytes} bytes, the limit is {max}");
            Answer::invalid(vec![Problem::new(code::TOO_LARGE, "", message)])
        }
        RegisterError::Contended { .. }
        | RegisterError::Store(_)
        | RegisterError::NotApplied { .. } => {
            error!(%error, in_doubt = error.is_in_doubt(), "registration not confirmed");
            let message = "the registry did not confirm the change in time";
            Answer::coded(StatusCode::SERVICE_UNAVAILABLE, "SY-5021", message).after(STORE_RETRY)
        }
        RegisterError::AppRefused(_) => {
            Answer::coded(StatusCode::BAD_GATEWAY, "SY-2023", error.to_string())
        }
        RegisterError::Randomness(_) | RegisterError::NoKey | RegisterError::Document { .. } => {
            error!(%error, "registration failed");
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL)
        }
    }
}

impl Answer {
    /// The answer with `body` in its place.
    fn respond(&self, status: StatusCode, scheme: &'static str, body: impl Serialize) -> Response {
        let mut response = (status, Json(body)).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static(scheme);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }

    /// What the products of old know as a bad request is 422 at the younger doors.
    fn old_status(&self) -> StatusCode {
        match self.status {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        }
    }

    /// Every sentence of it, for doors whose answers have no list of problems.
    fn sentences(&self) -> Vec<String> {
        match self.errors.as_slice() {
            [] => vec![self.message.clone()],
            errors => errors.iter().map(Problem::sentence).collect(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let answer = Answer::from(self);
        answer.respond(answer.status, "Bearer", &answer)
    }
}

/// An error in the form of the Connect door: `{message}`, whatever is wrong with a request as 400.
#[derive(Debug)]
pub(super) struct ConnectError(ApiError);

impl<E: Into<ApiError>> From<E> for ConnectError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ConnectError {
    fn into_response(self) -> Response {
        let answer = Answer::from(self.0);
        let message = answer.sentences().join("; ");
        answer.respond(answer.old_status(), "JWT", json!({"message": message}))
    }
}

/// An error in the form of Jira's REST API: `{errorMessages, errors}`.
#[derive(Debug)]
pub(super) struct WebhookError(ApiError);

impl<E: Into<ApiError>> From<E> for WebhookError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for WebhookError {
    fn into_response(self) -> Response {
        let answer = Answer::from(match self.0 {
            ApiError::Register(RegisterError::Replayed(_)) => {
                metrics::auth_failed("replay");
                ApiError::NotAnApp
            }
            error => error,
        });
        let body = json!({"errorMessages": answer.sentences(), "errors": {}});
        answer.respond(answer.old_status(), "JWT", body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_detail_stays_in_the_log() {
        let reason = "disk on fire".to_owned();
        let answer =
            Answer::from(ApiError::from(RegisterError::Document { key: "inst.x".into(), reason }));
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.message, INTERNAL);
        assert!(answer.errors.is_empty());
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        let limited = RegisterError::RateLimited { retry_after: Duration::from_millis(1200) };
        let response = ApiError::from(limited).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
