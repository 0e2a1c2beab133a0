//! Public signing keys, for the verification of our tokens. Not authenticated.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use super::error::ApiError;
use super::extract::PathId;
use super::state::{Shared, route};

/// How long verifiers may cache keys: less than the time a new key is published before it signs.
const CACHE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=900");

/// Returns the routes: a key set (RFC 7517), and single keys as PEM for Connect
/// apps.
pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), "/.well-known/jwks.json", &get(jwks));
    route(router, "/.well-known/connect-keys/{kid}", &get(pem))
}

async fn jwks(State(state): State<Shared>) -> impl IntoResponse {
    ([CACHE], Json(state.registry.keys().jwks()))
}

async fn pem(
    State(state): State<Shared>,
    PathId(kid): PathId,
) -> Result<impl IntoResponse, ApiError> {
    let pem = state.registry.keys().pem(&kid).ok_or(ApiError::NotFound)?;
    Ok(([CACHE, (header::CONTENT_TYPE, "application/x-pem-file")], pem))
}
