//! Operator endpoints for the modules of an installation, as used by `switchyard apply`.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::status::put_status;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId, PathIds};
use crate::api::json::insert_some;
use crate::api::module_json::{ModuleBody, module_view, registered_view};
use crate::api::openapi::{Invalid, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{Items, ManagedModule, NewModule, StoredModule};
use crate::api::state::Shared;
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::RegistrationApi;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list));
    route(router, routes!(put_module, remove))
}

/// Lists the registered modules of an installation.
///
/// Without dynamic webhooks, which apps register themselves and which expire.
#[utoipa::path(
    get, path = "/installations/{id}/modules", operation_id = "listModules",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The modules.", body = Items<ManagedModule>))
)]
async fn list(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    let modules = installation.record.modules.iter();
    let items = modules.filter(|module| module.api != RegistrationApi::Webhook).map(|module| {
        let mut shown = module_view(module);
        insert_some(&mut shown, "door", Some(module.api));
        shown
    });
    Ok(Json(json!({"items": items.collect::<Vec<_>>()})))
}

/// Registers or replaces a module; with `dryRun` only validates it.
///
/// An equal module is not written again.
#[utoipa::path(
    put, path = "/installations/{id}/modules/{key}", operation_id = "putModule",
    security(("operatorToken" = ["admin"])),
    params(("dryRun" = Option<bool>, Query, description = "Whether the module is only validated.")),
    request_body = NewModule,
    responses((status = 200, description = "The module was replaced, is as it was, or is valid.", body = StoredModule),
        (status = 201, description = "The module is new.", body = StoredModule))
)]
async fn put_module(
    State(state): State<Shared>,
    PathIds(id, key): PathIds,
    RawQuery(query): RawQuery,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let is_dry_run = QueryParams::parse(query.as_deref()).flag("dryRun")?;
    let (id, key) = (InstallationId::from(id), ModuleKey::from(key));
    let modules = state.registry.managed_modules();
    let api = modules.api(&id, &key)?;
    let mut spec = ModuleBody::read(body)?.under(&key, api)?;
    spec.data.insert("key".into(), json!(key));
    if let Some(module) = modules.unchanged(&id, &key, &spec)? {
        return Ok((StatusCode::OK, Json(registered_view(&module.into()))));
    }
    if is_dry_run {
        let warnings = modules.validate(&id, &key, spec)?;
        return Ok((StatusCode::OK, Json(json!({"valid": true, "warnings": warnings}))));
    }
    let (registered, is_new) = modules.put(&id, &key, spec).await?;
    Ok((put_status(is_new), Json(registered_view(&registered))))
}

/// Removes a module.
#[utoipa::path(
    delete, path = "/installations/{id}/modules/{key}", operation_id = "deleteModule",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is removed."), Invalid)
)]
async fn remove(
    State(state): State<Shared>,
    PathIds(id, key): PathIds,
) -> Result<StatusCode, ApiError> {
    state.registry.forge_modules().remove(&id.into(), &key.into(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}
