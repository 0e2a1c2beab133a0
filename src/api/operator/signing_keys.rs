//! Operator endpoint for the signing keys: list and rotation.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::state::{Shared, route};
use crate::jwt::Rotation;

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/signing-keys", &get(list).post(rotate))
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
