//! Operator endpoint for the dry run of a subscription on an event.

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::dry_run::{dry_run, registered_trigger, take_event};
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::openapi::route;
use crate::api::schema::{DryRun, EventBody};
use crate::api::state::Shared;
use crate::domain::SubscriptionId;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(test))
}

/// Says whether a subscription would receive an event, and why.
#[utoipa::path(
    post, path = "/subscriptions/{id}/test", operation_id = "testSubscription", request_body = EventBody,
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The decision.", body = DryRun))
)]
async fn test(
    State(state): State<Shared>,
    PathId(id): PathId,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let id = SubscriptionId::parse(&id).ok_or(ApiError::NotFound)?;
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    let event = take_event(&mut body)?;
    let trigger = registered_trigger(&installation, id.key.as_str())?;
    dry_run(&state, &trigger, &installation.record, event).map(Json)
}
