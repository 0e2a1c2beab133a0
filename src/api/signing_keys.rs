//! Public signing keys, for the verification of our tokens, and their rotation by an operator.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{JsonObject, PathId};
use super::{ApiError, Shared, route};
use crate::jwt::Rotation;

/// How long verifiers may cache keys: less than the time a new key is published before it signs.
const CACHE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=900");

/// Returns the unauthenticated routes: a key set (RFC 7517), and single keys as PEM for Connect
/// apps.
pub(super) fn public_routes() -> Router<Shared> {
    let router = route(Router::new(), "/.well-known/jwks.json", &get(jwks));
    route(router, "/.well-known/connect-keys/{kid}", &get(pem))
}

/// Returns the operator's routes.
pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/signing-keys", &get(list).post(rotate))
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

async fn list(State(state): State<Shared>) -> Json<Value> {
    let names = state.registry.keys().key_ids().into_iter();
    let shown = names.map(|(kid, signs_from_ms)| {
        let since = Timestamp::from_millisecond(signs_from_ms).ok();
        json!({"kid": kid, "signsFrom": since.map(|since| since.to_string())})
    });
    Json(json!({"items": shown.collect::<Vec<_>>()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateRequest {
    /// Revokes the current keys at once, because one of them is compromised.
    #[serde(default)]
    revoke: bool,
}

async fn rotate(State(state): State<Shared>, body: JsonObject) -> Result<Json<Value>, ApiError> {
    let request: RotateRequest = body.read()?;
    let how = if request.revoke { Rotation::Revoking } else { Rotation::Gentle };
    state.registry.signing_keys().rotate(how).await?;
    Ok(list(State(state)).await)
}
