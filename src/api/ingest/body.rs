//! Reads request bodies with events.

use axum::body::Body;
use axum::http::{HeaderMap, header};

use crate::api::admit::body_error;
use crate::api::error::ApiError;
use crate::event::DecodeError;
use crate::listener::{BodyError, BodyIntake, Client, ReceivedBody};

/// Reads the whole body; fails if it is longer than `bytes_max`. `site` has a share of the memory.
pub(super) async fn read_body(
    intake: &BodyIntake,
    body: Body,
    bytes_max: usize,
    client: Client,
    site: Option<&str>,
) -> Result<ReceivedBody, ApiError> {
    intake.read(body, bytes_max, client, site).await.map_err(|error| match error {
        BodyError::TooLarge => {
            let size = format!("more than {bytes_max} bytes");
            ApiError::NoEvent(DecodeError::Size { size, max: bytes_max })
        }
        BodyError::Broken(reason) => {
            bad_request("SY-1024", &format!("the body ended early: {reason}"))
        }
        other => body_error(other, bytes_max),
    })
}

/// Whether a body is compressed. **Source:** RFC 9110, section 8.4.
pub(super) fn is_packed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Returns the error of a malformed request.
pub(super) fn bad_request(code: &'static str, message: &str) -> ApiError {
    ApiError::BadEvents { code, message: message.to_owned() }
}
