//! Middleware of all pages: a request that changes something must come from a form of this session.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;

use super::super::asked::Asked;
use super::super::visitor::Visitor;
use crate::api::is_token;
use crate::domain::Secret;

/// Longest form that is read, in bytes.
pub(super) const FORM_BYTES_MAX: usize = 1 << 20;
/// Header in which browsers say whose page sends a request.
const FETCH_SITE: &str = "sec-fetch-site";
/// Name of the field with the secret.
pub(super) const CSRF: &str = "csrf";

/// Reads the form of a request that changes something, and requires the secret that the page had. A page takes no such
/// request without it: all are within this middleware.
pub(in crate::console) async fn read_form(request: Request, next: Next) -> Response {
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    if !is_of_own_page(&parts.headers) {
        return foreign();
    }
    let Ok(bytes) = to_bytes(body, FORM_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "The form is too long.").into_response();
    };
    let form = Asked::of(form_urlencoded::parse(&bytes).into_owned());
    let visitor = parts.extensions.get::<Visitor>();
    if !visitor.is_some_and(|visitor| has_secret(&form, &visitor.csrf)) {
        return foreign();
    }
    parts.extensions.insert(form);
    next.run(Request::from_parts(parts, bytes.into())).await
}

/// Whether a browser says that a page of this console sends the request, or says nothing.
pub(super) fn is_of_own_page(headers: &HeaderMap) -> bool {
    headers.get(FETCH_SITE).is_none_or(|site| site == "same-origin" || site == "none")
}

/// Whether a form has the secret of its session.
pub(super) fn has_secret(form: &Asked, expected: &Secret) -> bool {
    is_token(expected, form.get(CSRF))
}

/// Returns the response to a form of another page.
pub(super) fn foreign() -> Response {
    let text = "The form is not of this session. Go back, reload the page and try again.";
    (StatusCode::FORBIDDEN, text).into_response()
}
