//! Operator endpoint for OAuth clients.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::put;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::status::put_status;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::state::{Shared, route};
use crate::registry::ClientSpec;

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/oauth-clients/{id}", &put(put_client))
}

async fn put_client(
    State(state): State<Shared>,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let spec: ClientSpec = body.read()?;
    let is_new = state.registry.clients().put(&id, spec).await?;
    Ok((put_status(is_new), Json(json!({"id": id}))))
}
