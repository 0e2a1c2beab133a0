//! Operator endpoints for the discovery of an installation's modules.

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::discovery_view::discovery_view;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::openapi::{BadGateway, Invalid, route};
use crate::api::schema::Discovery;
use crate::api::state::Shared;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(get_discovery));
    route(router, routes!(refresh_discovery))
}

/// Shows the discovery of the modules of an installation.
#[utoipa::path(
    get, path = "/installations/{id}/discovery", operation_id = "getDiscovery",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The status of the discovery.", body = Discovery))
)]
async fn get_discovery(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    let known = installation.record.discovery.as_ref().ok_or(ApiError::NotFound)?;
    Ok(Json(discovery_view(&installation.record, known)))
}

/// Asks the app for its modules now.
///
/// While another replica asks, returns the stored status.
#[utoipa::path(
    post, path = "/installations/{id}/discovery/refresh", operation_id = "refreshDiscovery",
    security(("operatorToken" = ["operate"])),
    responses((status = 200, description = "The status of the discovery.", body = Discovery), BadGateway, Invalid)
)]
async fn refresh_discovery(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let known = state.registry.discovery().refresh(&id.as_str().into()).await?;
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(discovery_view(&installation.record, &known)))
}
