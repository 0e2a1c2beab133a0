//! Operator endpoint for the dry run of a subscription on an event.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use crate::api::dry_run::{dry_run, registered_trigger, take_event};
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::state::{Shared, route};
use crate::domain::SubscriptionId;

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/subscriptions/{id}/test", &post(test))
}

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
