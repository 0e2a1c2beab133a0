//! Errors in the format of the Connect API.

use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::error_response::ErrorResponse;

/// An error in the format of the Connect API: `{message}`, with 400 for any invalid request.
#[derive(Debug)]
pub(in crate::api) struct ConnectError(ApiError);

impl<E: Into<ApiError>> From<E> for ConnectError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ConnectError {
    fn into_response(self) -> Response {
        let response = ErrorResponse::from(self.0);
        let message = response.sentences().join("; ");
        response.respond(response.legacy_status(), "JWT", json!({"message": message}))
    }
}
