//! Errors in the format of Jira's REST API.

use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::error_response::ErrorResponse;
use crate::api::metrics;
use crate::registry::RegisterError;

/// An error in the format of Jira's REST API: `{errorMessages, errors}`.
#[derive(Debug)]
pub(super) struct WebhookError(ApiError);

impl<E: Into<ApiError>> From<E> for WebhookError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for WebhookError {
    fn into_response(self) -> Response {
        let response = ErrorResponse::from(match self.0 {
            ApiError::Register(RegisterError::Replayed(_)) => {
                metrics::auth_failed("webhook", "replay");
                ApiError::NotAnApp
            }
            error => error,
        });
        let body = json!({"errorMessages": response.sentences(), "errors": {}});
        response.respond(response.legacy_status(), "JWT", body)
    }
}
