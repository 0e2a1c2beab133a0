//! Metrics of the APIs.

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use metrics::counter;

use super::error::AccessRefusal;

const REGISTRATIONS: &str = "switchyard_registrations_total";
const AUTH_FAILURES: &str = "switchyard_auth_failures_total";
const ACCESS_REFUSED: &str = "switchyard_access_refused_total";

/// Why a request with the token of a Connect app fails.
const CONNECT: &[&str] = &[
    "no_token",
    "scheme",
    "two_tokens",
    "own",
    "signature",
    "malformed",
    "algorithm",
    "header_parameter",
    "claims",
    "expired",
    "early",
    "long_lived",
    "qsh",
    "no_installation",
    "ambiguous_tenant",
    "replay",
];
/// Why a visitor of the console cannot log in.
const CONSOLE: &[&str] = &[
    "unknown_token",
    "installation_token",
    "client_token",
    "system_token",
    "expired_token",
    "ended_token",
    "single_sign_on",
];
/// Why a request without the token of a caller of the operator API fails.
const OPERATOR: &[&str] = &[
    "no_token",
    "scheme",
    "unknown_token",
    "installation_token",
    "client_token",
    "system_token",
    "expired_token",
    "ended_token",
];
/// The reasons of each API, as metric labels.
const FAILURES: &[(&str, &[&str])] = &[
    ("operator", OPERATOR),
    ("health", OPERATOR),
    ("console", CONSOLE),
    ("metrics", &["no_token", "unknown_token", "not_local"]),
    (
        "forge",
        &[
            "no_token",
            "unknown_token",
            "admin_token",
            "client_token",
            "access_token",
            "system_token",
            "expired_token",
            "not_enabled",
            "bad_proxy_header",
            "no_proxy_header",
            "as_user",
        ],
    ),
    ("connect", CONNECT),
    ("webhook", CONNECT),
    (
        "webhook",
        &[
            "unknown_token",
            "admin_token",
            "installation_token",
            "access_token",
            "system_token",
            "site",
            "not_enabled",
        ],
    ),
];

/// Begins the series of failed authentications at 0.
pub fn begin_auth_failures() {
    for (api, reasons) in FAILURES {
        for reason in *reasons {
            counter!(AUTH_FAILURES, "api" => *api, "reason" => *reason).increment(0);
        }
    }
}

/// Counts a failed authentication at an API.
pub(super) fn auth_failed(api: &'static str, reason: &'static str) {
    counter!(AUTH_FAILURES, "api" => api, "reason" => reason).increment(1);
}

/// Counts a request that its caller may not send.
pub(super) fn access_refused(refusal: &AccessRefusal) {
    let reason = match refusal {
        AccessRefusal::Scope { .. } => "scope",
        AccessRefusal::NotOfInstallation { .. } => "installation",
        AccessRefusal::Undeclared => "undeclared",
        AccessRefusal::TooManyRequests { .. } => "rate",
    };
    counter!(ACCESS_REFUSED, "reason" => reason).increment(1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names::values_of;

    #[test]
    fn reasons_of_failed_authentications_are_those_of_the_table() {
        for (api, reasons) in FAILURES {
            assert!(values_of(AUTH_FAILURES, "api").contains(api), "{api}");
            for reason in *reasons {
                assert!(values_of(AUTH_FAILURES, "reason").contains(reason), "{reason}");
            }
        }
        for reason in values_of(AUTH_FAILURES, "reason") {
            assert!(FAILURES.iter().any(|(_, reasons)| reasons.contains(reason)), "{reason}");
        }
    }
}
