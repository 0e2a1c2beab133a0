//! Operator endpoint for the signing keys: list and rotation.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::openapi::route;
use crate::api::schema::{Items, SigningKey};
use crate::api::state::Shared;
use crate::jwt::Rotation;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(list, rotate))
}

/// Lists the keys that sign tokens.
#[utoipa::path(
    get, path = "/signing-keys", operation_id = "listSigningKeys",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The keys.", body = Items<SigningKey>))
)]
async fn list(State(state): State<Shared>) -> Json<Value> {
    let names = state.registry.keys().key_ids().into_iter();
    let shown = names.map(|(kid, signs_from_ms)| {
        let since = Timestamp::from_millisecond(signs_from_ms).ok();
        json!({"kid": kid, "signsFrom": since.map(|since| since.to_string())})
    });
    Json(json!({"items": shown.collect::<Vec<_>>()}))
}

/// How the keys are rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateRequest {
    /// Revokes the current keys at once, because one of them is compromised.
    #[serde(default)]
    revoke: bool,
}

/// Adds a key that signs tokens.
#[utoipa::path(
    post, path = "/signing-keys", operation_id = "rotateSigningKeys", request_body = RotateRequest,
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The keys.", body = Items<SigningKey>))
)]
async fn rotate(State(state): State<Shared>, body: JsonObject) -> Result<Json<Value>, ApiError> {
    let request: RotateRequest = body.read()?;
    let how = if request.revoke { Rotation::Revoking } else { Rotation::Gentle };
    state.registry.signing_keys().rotate(how).await?;
    Ok(list(State(state)).await)
}
