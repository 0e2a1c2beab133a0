//! Why a door did not take events, as an HTTP answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::event::PublishError;

/// Seconds after which an event that the broker did not confirm may be sent again.
const UNCONFIRMED_RETRY_S: u64 = 5;

/// A refused request: `{"message", "errors": [{"code", "message"}]}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_s: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SY-1004", message)
    }

    /// The event stream is so full that events nobody has read yet would be evicted soon.
    pub(super) fn backlog(retry_after_s: u64) -> Self {
        let message = "the event stream is nearly full of events not yet handled; send it again";
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, BACKLOG, message)
        }
    }

    pub(super) fn unpublished(error: &PublishError) -> Self {
        let (status, message) = (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        Self {
            retry_after_s: Some(UNCONFIRMED_RETRY_S),
            ..Self::new(status, publish_code(error), message)
        }
    }
}

/// Code of a refusal because the backlog is near its limit.
pub(super) const BACKLOG: &str = "SY-5013";

pub(super) fn publish_code(error: &PublishError) -> &'static str {
    match error {
        PublishError::Unconfirmed { .. } => "SY-5011",
        PublishError::Refused { .. } => "SY-5012",
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code, "message": self.message});
        let body = json!({"message": self.message, "errors": [error]});
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
