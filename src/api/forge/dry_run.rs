//! Dry run of a module on an event, before or after its registration.

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::ForgeCaller;
use crate::api::dry_run::{dry_run, registered_trigger, take_event};
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::module_json::ModuleBody;
use crate::api::openapi::{NotFound, route};
use crate::api::schema::{DryRun, ModuleTest};
use crate::api::state::Shared;
use crate::registry::Trigger;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(test))
}

/// Says whether a module would receive an event, and why.
///
/// The module is given as it would be registered, or by the `key` of a registered one.
#[utoipa::path(
    post, path = "/forge/installation/v2/dynamic/module:test", operation_id = "testModule",
    request_body = ModuleTest,
    responses((status = 200, description = "The decision.", body = DryRun), NotFound)
)]
async fn test(
    State(state): State<Shared>,
    caller: ForgeCaller,
    JsonObject(mut body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let installation = &caller.installation;
    let id = &installation.record.id;
    state.registry.check_rate_limit(id)?;
    let event = take_event(&mut body)?;
    let trigger = match body.get("key").and_then(Value::as_str) {
        Some(key) if body.len() == 1 => registered_trigger(installation, key)?,
        _ => {
            let spec = ModuleBody::read(body)?.without_key()?;
            // A module that cannot be registered is rejected with the same problems.
            state.registry.forge_modules().validate(id, spec.clone(), None)?;
            Trigger::parse(&spec.data, "data").map_err(ApiError::Invalid)?
        }
    };
    dry_run(&state, &trigger, &installation.record, event).map(Json)
}
