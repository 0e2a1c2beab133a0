//! Headers of all pages: what they may load, and how assets are cached.

use std::convert::Infallible;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Forbids inline scripts and resources of other origins.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Returns an asset.
pub(super) async fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "max-age=300")], text)
}

/// Adds the headers to a response.
pub(super) async fn add_policy(mut response: Response) -> Result<Response, Infallible> {
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: browsers send `Origin: null` with the forms of such a page, which is refused as foreign.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    Ok(response)
}
