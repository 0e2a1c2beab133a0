//! Reads request bodies with events.

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::api::error::ApiError;
use crate::event::DecodeError;

/// Reads the whole body; fails if it is longer than `bytes_max`.
pub(super) async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let size = format!("more than {bytes_max} bytes");
            Err(ApiError::NoEvent(DecodeError::Size { size, max: bytes_max }))
        }
        Err(error) => Err(bad_request("SY-1024", &format!("the body ended early: {error}"))),
    }
}

/// Returns the error of a malformed request.
pub(super) fn bad_request(code: &'static str, message: &str) -> ApiError {
    ApiError::BadEvents { code, message: message.to_owned() }
}
