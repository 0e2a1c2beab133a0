//! Status codes of the operator's `PUT`.

use axum::http::StatusCode;

/// Returns 201 for a new record and 200 for an existing one.
pub(super) fn put_status(is_new: bool) -> StatusCode {
    if is_new { StatusCode::CREATED } else { StatusCode::OK }
}
