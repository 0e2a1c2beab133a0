//! Operator endpoints that replace and retire secrets.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId, PathIds};
use crate::api::json::{insert_some, rfc3339};
use crate::api::state::{Shared, route};
use crate::domain::Secret;

pub(super) fn routes() -> Router<Shared> {
    let endpoint = "/apps/{id}/endpoints/{key}";
    let mut router = route(Router::new(), &format!("{endpoint}/secret"), &post(replace));
    router = route(router, &format!("{endpoint}/previous-secret"), &delete(retire));
    route(router, "/installations/{id}/previous-secret", &delete(retire_shared))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceRequest {
    /// The new secret; without it one is generated.
    secret: Option<Secret>,
}

/// Replaces the secret of an endpoint. The new one is shown here, and only here.
async fn replace(
    State(state): State<Shared>,
    PathIds(app, key): PathIds,
    body: JsonObject,
) -> Result<Json<Value>, ApiError> {
    let request: ReplaceRequest = body.read()?;
    let rotation = state.registry.secret_rotation();
    let endpoint = rotation.replace_endpoint_secret(&app, &key, request.secret).await?;
    let mut answer = json!({"key": endpoint.key, "secret": endpoint.secret.reveal()});
    let until = endpoint.previous.as_ref().and_then(|previous| rfc3339(previous.until_ms));
    insert_some(&mut answer, "previousSecretUntil", until);
    Ok(Json(answer))
}

async fn retire(
    State(state): State<Shared>,
    PathIds(app, key): PathIds,
) -> Result<StatusCode, ApiError> {
    state.registry.secret_rotation().retire_endpoint_secret(&app, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn retire_shared(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.secret_rotation().retire_shared_secret(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
