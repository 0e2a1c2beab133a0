//! Public signing keys, for the verification of our tokens. Not authenticated.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiError;
use super::extract::PathId;
use super::openapi::{NotFound, route};
use super::schema::JsonWebKeySet;
use super::state::Shared;

/// How long verifiers may cache keys: less than the time a new key is published before it signs.
const CACHE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=900");

/// Returns the routes: a key set (RFC 7517), and single keys as PEM for Connect
/// apps.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(jwks));
    route(router, routes!(pem))
}

/// Returns the public keys that verify our tokens, RFC 7517.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "getKeySet",
    responses((status = 200, description = "The keys.", body = JsonWebKeySet))
)]
async fn jwks(State(state): State<Shared>) -> impl IntoResponse {
    ([CACHE], Json(state.registry.keys().jwks()))
}

/// Returns a public key as PEM, for Connect apps.
#[utoipa::path(
    get, path = "/.well-known/connect-keys/{kid}", operation_id = "getConnectKey",
    responses((status = 200, description = "The key.", body = String, content_type = "application/x-pem-file"), NotFound)
)]
async fn pem(
    State(state): State<Shared>,
    PathId(kid): PathId,
) -> Result<impl IntoResponse, ApiError> {
    let pem = state.registry.keys().pem(&kid).ok_or(ApiError::NotFound)?;
    Ok(([CACHE, (header::CONTENT_TYPE, "application/x-pem-file")], pem))
}
