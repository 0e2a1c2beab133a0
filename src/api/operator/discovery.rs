//! Operator endpoints for the discovery of an installation's modules.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use crate::api::discovery_view::discovery_view;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::state::{Shared, route};

pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), "/installations/{id}/discovery", &get(get_discovery));
    route(router, "/installations/{id}/discovery/refresh", &post(refresh_discovery))
}

async fn get_discovery(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    let known = installation.record.discovery.as_ref().ok_or(ApiError::NotFound)?;
    Ok(Json(discovery_view(&installation.record, known)))
}

/// Runs discovery now; while another replica runs it, returns the stored status.
async fn refresh_discovery(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let known = state.registry.discovery().refresh(&id.as_str().into()).await?;
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(discovery_view(&installation.record, &known)))
}
