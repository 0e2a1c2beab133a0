//! Metrics of the APIs.

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use metrics::counter;

const REGISTRATIONS: &str = "switchyard_registrations_total";
const AUTH_FAILURES: &str = "switchyard_auth_failures_total";

/// Counts a failed authentication at an API.
pub(super) fn auth_failed(api: &'static str, reason: &'static str) {
    counter!(AUTH_FAILURES, "api" => api, "reason" => reason).increment(1);
}

/// Middleware that counts registration requests by operation and result.
pub(super) async fn count(api: &'static str, request: Request, next: Next) -> Response {
    let one = request.extensions().get::<MatchedPath>().is_some_and(|p| p.as_str().contains('{'));
    let op = match *request.method() {
        Method::POST => "register",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ if one => "read",
        _ => "list",
    };
    let response = next.run(request).await;
    let result = result(response.status());
    counter!(REGISTRATIONS, "door" => api, "op" => op, "result" => result).increment(1);
    response
}

fn result(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::TOO_MANY_REQUESTS => "limited",
        status if status.is_success() => "ok",
        status if status.is_client_error() => "rejected",
        _ => "error",
    }
}
