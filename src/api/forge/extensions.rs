//! Forge endpoints beyond the vendor's API: validate a module, register a batch, refresh discovery,
//! and pause, resume or disable a module.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::auth::ForgeCaller;
use super::paths::V2;
use super::response::module_response;
use crate::api::discovery_view::discovery_view;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::module_json::{ModuleBody, registered_view};
use crate::api::state::{Shared, route};
use crate::domain::ModuleKey;
use crate::registry::{ModuleSpec, ModuleStatus, Problem, ValidatedTrigger, code, listed};

/// Maximum number of modules in one batch.
const ITEMS_MAX: usize = 1000;

pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), &format!("{V2}:validate"), &post(validate));
    let mut router = route(router, &format!("{V2}:refresh"), &post(refresh));
    router = route(router, &format!("{V2}:batch"), &post(batch));
    for (action, switch) in [
        ("pause", ModuleStatus::Paused),
        ("resume", ModuleStatus::On),
        ("disable", ModuleStatus::Off),
    ] {
        let act = move |state: State<Shared>, caller: ForgeCaller, key: PathId| async move {
            set(state, caller, key, switch).await
        };
        router = route(router, &format!("{V2}/{{key}}/{action}"), &post(act));
    }
    router
}

/// Parses the module of a body, with the key that version 1 lets the app choose.
fn module(body: Map<String, Value>) -> Result<(ModuleSpec, Option<ModuleKey>), ApiError> {
    let submitted = ModuleBody::read(body)?;
    match submitted.key.is_some() {
        true => submitted.keyed().map(|(spec, key)| (spec, Some(key))),
        false => submitted.without_key().map(|spec| (spec, None)),
    }
}

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

/// Runs discovery now, if the app declares it.
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

/// `{"items": [{type, data}], "atomic": true}`.
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
