//! Bearer tokens, and authentication of callers of the operator API: by an admin token or an access token.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::access::{TokenDigest, TokenFault, caller_of_record};
use super::admit::{ApiCallers, AuthFailure, client_of, discard, refused};
use super::error::ApiError;
use super::state::{ApiState, Shared};
use super::token_kind::{OperatorFault, TokenKind};
use crate::domain::{Caller, Secret};

/// Callers of the operator API.
pub(super) const OPERATORS: ApiCallers =
    ApiCallers { api: "operator", check: check_operator, render: ApiError::into_response };

/// Callers of the probe for operators.
pub(super) const HEALTH: ApiCallers = ApiCallers { api: "health", ..OPERATORS };

/// Middleware that rejects requests without the token of a caller, and does not read their bodies.
pub(super) async fn require_operator(
    State((state, callers)): State<(Shared, ApiCallers)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let Err(failure) = (callers.check)(&mut parts, &state) else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    discard(&parts.headers, body).await;
    Err(refused(&state, callers.api, client_of(&parts.extensions), failure))
}

/// Adds the [`Caller`] and the [`TokenDigest`] to the request, unless the console did, which calls the API in the
/// same process.
fn check_operator(parts: &mut Parts, state: &ApiState) -> Result<(), AuthFailure> {
    if parts.extensions.get::<Caller>().is_none() {
        let (caller, token) = operator(&parts.headers, state)?;
        parts.extensions.insert(caller);
        parts.extensions.insert(token);
    }
    Ok(())
}

/// Returns the caller whose token headers have, with the digest of the token.
fn operator(headers: &HeaderMap, state: &ApiState) -> Result<(Caller, TokenDigest), AuthFailure> {
    match bearer(headers) {
        Some(presented) => Ok((caller_of_token(state, presented)?, TokenDigest::of(presented))),
        None if headers.contains_key(header::AUTHORIZATION) => {
            Err(not_an_operator("scheme", OperatorFault::Scheme))
        }
        None => Err(not_an_operator("no_token", OperatorFault::Missing)),
    }
}

/// Returns the caller of the operator API whose token this is.
///
/// # Errors
/// It is no token of the operator API; the failure says which kind of token it is, if that is known.
pub fn caller_of_token(state: &ApiState, presented: &str) -> Result<Caller, AuthFailure> {
    if state.admin_tokens.accepts(presented) {
        return Ok(Caller::admin("admin"));
    }
    let digest = TokenDigest::of(presented);
    if let Some(record) = state.registry.access_token_by_digest(digest.as_str()) {
        return caller_of_record(state, &record).map_err(|fault| match fault {
            TokenFault::Expired { ago_s } => {
                let detail = Some(format!("the access token `{}`", record.id));
                let error = ApiError::NotAnOperator(OperatorFault::Expired { ago_s });
                AuthFailure { reason: "expired_token", detail, error }
            }
            TokenFault::NoInstallation => not_an_operator("ended_token", OperatorFault::Ended),
        });
    }
    let kind = TokenKind::of(presented, &state.registry, &state.admin_tokens);
    Err(not_an_operator(kind.label(), OperatorFault::Wrong(kind)))
}

fn not_an_operator(reason: &'static str, fault: OperatorFault) -> AuthFailure {
    let detail = match &fault {
        OperatorFault::Wrong(kind) => kind.description(),
        _ => None,
    };
    AuthFailure { reason, detail, error: ApiError::NotAnOperator(fault) }
}

/// Whether `presented` is the token `expected`, in constant time; an empty one matches nothing.
#[must_use]
pub fn is_token(expected: &Secret, presented: &str) -> bool {
    let expected = expected.reveal();
    // Digests have equal length, so the comparison does not leak the length of the token.
    !expected.is_empty() && bool::from(Sha256::digest(presented).ct_eq(&Sha256::digest(expected)))
}

/// Returns the token of `Authorization: Bearer <token>`; the scheme is case-insensitive.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn bearer_scheme_is_case_insensitive_and_other_schemes_are_ignored() {
        assert_eq!(bearer(&headers("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&headers("bearer  abc ")), Some("abc"));
        for other in ["Bearer", "Bearer ", "JWT abc", "abc", ""] {
            assert_eq!(bearer(&headers(other)), None, "{other}");
        }
    }
}
