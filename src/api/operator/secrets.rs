//! Operator endpoints that replace and retire secrets.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId, PathIds};
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Invalid, route};
use crate::api::schema::NewEndpointSecret;
use crate::api::state::Shared;
use crate::domain::Secret;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(replace));
    let router = route(router, routes!(retire));
    route(router, routes!(retire_shared))
}

/// The secret that replaces the current one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplaceRequest {
    /// The new secret; without it one is generated.
    #[schema(value_type = Option<String>)]
    secret: Option<Secret>,
}

/// Replaces the secret of an endpoint. The new one is shown here, and only here.
#[utoipa::path(
    post, path = "/apps/{id}/endpoints/{key}/secret", operation_id = "replaceEndpointSecret",
    security(("operatorToken" = ["admin"])),
    request_body = ReplaceRequest,
    responses((status = 200, description = "The new secret.", body = NewEndpointSecret))
)]
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

/// Stops to sign with the secret of an endpoint of before.
#[utoipa::path(
    delete, path = "/apps/{id}/endpoints/{key}/previous-secret", operation_id = "retireEndpointSecret",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is retired."), Invalid)
)]
async fn retire(
    State(state): State<Shared>,
    PathIds(app, key): PathIds,
) -> Result<StatusCode, ApiError> {
    state.registry.secret_rotation().retire_endpoint_secret(&app, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops to accept the shared secret of a Connect installation of before.
#[utoipa::path(
    delete, path = "/installations/{id}/previous-secret", operation_id = "retireSharedSecret",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is retired."), Invalid)
)]
async fn retire_shared(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.secret_rotation().retire_shared_secret(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
