//! Forge endpoints beyond the vendor's API: validate a module, register a batch, refresh discovery,
//! and pause, resume or disable a module.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::ForgeCaller;
use super::response::module_response;
use crate::api::discovery_view::discovery_view;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::module_json::{ModuleBody, registered_view};
use crate::api::openapi::{BadGateway, Invalid, NotFound, route};
use crate::api::schema::{
    BatchAnswer, Discovery, ModulesOfBatch, NewModule, RegisteredModule, ValidModule,
};
use crate::api::state::Shared;
use crate::domain::ModuleKey;
use crate::registry::{ModuleSpec, ModuleStatus, Problem, ValidatedTrigger, code, listed};

/// Maximum number of modules in one batch.
const ITEMS_MAX: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let all = [
        routes!(validate),
        routes!(refresh),
        routes!(batch),
        routes!(pause),
        routes!(resume),
        routes!(disable),
    ];
    all.into_iter().fold(OpenApiRouter::default(), route)
}

/// Parses the module of a body, with the key that version 1 lets the app choose.
fn module(body: Map<String, Value>) -> Result<(ModuleSpec, Option<ModuleKey>), ApiError> {
    let submitted = ModuleBody::read(body)?;
    match submitted.key.is_some() {
        true => submitted.keyed().map(|(spec, key)| (spec, Some(key))),
        false => submitted.without_key().map(|spec| (spec, None)),
    }
}

/// Validates a module without registering it.
#[utoipa::path(
    post, path = "/forge/installation/v2/dynamic/module:validate", operation_id = "validateModule", request_body = NewModule,
    responses((status = 200, description = "It is valid.", body = ValidModule))
)]
async fn validate(
    State(state): State<Shared>,
    caller: ForgeCaller,
    JsonObject(body): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let (spec, key) = module(body)?;
    let ValidatedTrigger { warnings, complexity, .. } =
        state.registry.forge_modules().validate(id, spec, key)?;
    Ok(Json(json!({"valid": true, "warnings": warnings, "complexity": complexity})))
}

/// Asks the app for its modules now, if the app declares discovery.
#[utoipa::path(
    post, path = "/forge/installation/v2/dynamic/module:refresh", operation_id = "refreshModules",
    responses((status = 200, description = "The status of the discovery.", body = Discovery), NotFound, BadGateway, Invalid)
)]
async fn refresh(
    State(state): State<Shared>,
    caller: ForgeCaller,
) -> Result<Json<Value>, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let known = state.registry.discovery().refresh(id).await?;
    let installation = state.registry.installation(id.as_str()).ok_or(ApiError::NotFound)?;
    Ok(Json(discovery_view(&installation.record, &known)))
}

/// Registers several modules.
#[utoipa::path(
    post, path = "/forge/installation/v2/dynamic/module:batch", operation_id = "registerModules", request_body = ModulesOfBatch,
    responses((status = 201, description = "All are registered.", body = BatchAnswer),
        (status = 200, description = "Not atomic: what became of each.", body = BatchAnswer))
)]
async fn batch(
    State(state): State<Shared>,
    caller: ForgeCaller,
    JsonObject(mut body): JsonObject,
) -> Result<Response, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let items = match body.remove("items") {
        Some(Value::Array(items)) if items.len() <= ITEMS_MAX => items,
        _ => {
            let message = format!("this is a list of at most {ITEMS_MAX} modules");
            return Err(Problem::new(code::FORM, "items", message).into());
        }
    };
    let is_atomic = match body.remove("atomic") {
        None => true,
        Some(Value::Bool(is_atomic)) => is_atomic,
        Some(_) => return Err(Problem::new(code::FORM, "atomic", "this is true or false").into()),
    };
    let items = items.into_iter().map(|item| match item {
        Value::Object(item) => module(item).map_err(problems_of),
        _ => Err(vec![Problem::new(code::FORM, "", "a module is an object")]),
    });
    let results = state.registry.forge_batches().register(id, items.collect(), is_atomic).await?;
    let shown = results.iter().map(|result| match result {
        Ok(registered) => registered_view(registered),
        Err(errors) => json!({"errors": listed(errors.clone())}),
    });
    let shown: Vec<Value> = shown.collect();
    let status = if is_atomic { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({"result": shown}))).into_response())
}

fn problems_of(error: ApiError) -> Vec<Problem> {
    match error {
        ApiError::Invalid(problems) => problems,
        other => vec![Problem::new(code::FORM, "", format!("{other:?}"))],
    }
}

/// Parks the events of a module until it is resumed.
#[utoipa::path(
    post, path = "/forge/installation/v2/dynamic/module/{key}/pause", operation_id = "pauseModule",
    responses((status = 200, description = "The module.", body = RegisteredModule,
        headers(("ETag" = String, description = "Its revision."))), Invalid)
)]
async fn pause(
    state: State<Shared>,
    caller: ForgeCaller,
    key: PathId,
) -> Result<Response, ApiError> {
    set(state, caller, key, ModuleStatus::Paused).await
}

/// Lets a module receive events again.
#[utoipa::path(
    post, path = "/forge/installation/v2/dynamic/module/{key}/resume", operation_id = "resumeModule",
    responses((status = 200, description = "The module.", body = RegisteredModule,
        headers(("ETag" = String, description = "Its revision."))), Invalid)
)]
async fn resume(
    state: State<Shared>,
    caller: ForgeCaller,
    key: PathId,
) -> Result<Response, ApiError> {
    set(state, caller, key, ModuleStatus::On).await
}

/// Stops the events of a module.
#[utoipa::path(
    post, path = "/forge/installation/v2/dynamic/module/{key}/disable", operation_id = "disableModule",
    responses((status = 200, description = "The module.", body = RegisteredModule,
        headers(("ETag" = String, description = "Its revision."))), Invalid)
)]
async fn disable(
    state: State<Shared>,
    caller: ForgeCaller,
    key: PathId,
) -> Result<Response, ApiError> {
    set(state, caller, key, ModuleStatus::Off).await
}

async fn set(
    State(state): State<Shared>,
    caller: ForgeCaller,
    PathId(key): PathId,
    status: ModuleStatus,
) -> Result<Response, ApiError> {
    let id = &caller.installation.record.id;
    state.registry.check_rate_limit(id)?;
    let module = state.registry.module_status().set(id, &key.into(), status).await?;
    Ok(module_response(&module.into()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invalid_module_body_yields_a_problem() {
        for body in [
            json!({}),
            json!({"type": 1, "data": {}}),
            json!({"type": "t", "data": {}, "key": "a b"}),
        ] {
            let Value::Object(body) = body else { panic!("an object") };
            assert!(!problems_of(module(body).unwrap_err()).is_empty());
        }
    }
}
