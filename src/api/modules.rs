//! Operator endpoints for the modules of an installation, as used by `switchyard apply`.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::extract::{JsonObject, PathId, PathIds};
use super::forge::{ModuleBody, module_view, registered_view};
use super::query_params::QueryParams;
use super::{ApiError, Shared, route};
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::{AppKind, ConnectModule, ModuleSpec, RegistrationApi, key_problem};

pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), "/installations/{id}/modules", &get(list));
    route(router, "/installations/{id}/modules/{key}", &put(put_module).delete(remove))
}

/// Lists the registered modules without dynamic webhooks, which apps register themselves and which
/// expire.
async fn list(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    let modules = installation.record.modules.iter();
    let items = modules.filter(|module| module.api != RegistrationApi::Webhook).map(|module| {
        let mut shown = module_view(module);
        super::operator::insert_some(&mut shown, "door", Some(module.api));
        shown
    });
    Ok(Json(json!({"items": items.collect::<Vec<_>>()})))
}

/// Registers or replaces a module; with `?dryRun=true` only validates it. An equal module is not
/// written again.
async fn put_module(
    State(state): State<Shared>,
    PathIds(id, key): PathIds,
    RawQuery(query): RawQuery,
    JsonObject(body): JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (id, key) = (InstallationId::from(id), ModuleKey::from(key));
    if let Some(problem) = key_problem(key.as_str(), "key") {
        return Err(problem.into());
    }
    let installation = state.registry.installation(id.as_str()).ok_or(ApiError::NotFound)?;
    let app = state.registry.app(installation.record.app.as_str()).ok_or(ApiError::NotFound)?;
    let known = installation.record.module(key.as_str());
    let door = match app.record.kind {
        AppKind::Connect => RegistrationApi::Connect,
        AppKind::Forge => known.map_or(RegistrationApi::ForgeV1, |module| module.api),
    };
    let mut spec = ModuleBody::read(body)?.under(&key, door)?;
    spec.data.insert("key".into(), json!(key));
    let is_dry = QueryParams::parse(query.as_deref()).get("dryRun") == Some("true");
    match known {
        Some(known) if known.module_type == spec.module_type && known.data.read() == spec.data => {
            Ok((StatusCode::OK, Json(registered_view(&known.clone().into()))))
        }
        _ if door == RegistrationApi::Connect => {
            let ModuleSpec { module_type, data, .. } = spec;
            let module = ConnectModule { module_type, data, path: "data".into() };
            if is_dry {
                state.registry.connect_modules().validate(&id, &module)?;
                return Ok((StatusCode::OK, Json(json!({"valid": true, "warnings": []}))));
            }
            let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
            let put = state.registry.connect_modules().put(&id, &module).await?;
            Ok((status, Json(registered_view(&put.into()))))
        }
        _ if is_dry => {
            let warnings = state.registry.forge_modules().validate_replacement(&id, spec, &key)?;
            Ok((StatusCode::OK, Json(json!({"valid": true, "warnings": warnings}))))
        }
        Some(_) => {
            let replaced = state.registry.forge_modules().replace(&id, &key, spec, None).await?;
            Ok((StatusCode::OK, Json(registered_view(&replaced))))
        }
        None => {
            let registered = state.registry.forge_modules().register(&id, spec, Some(key)).await?;
            Ok((StatusCode::CREATED, Json(registered_view(&registered))))
        }
    }
}

async fn remove(
    State(state): State<Shared>,
    PathIds(id, key): PathIds,
) -> Result<StatusCode, ApiError> {
    state.registry.forge_modules().remove(&id.into(), &key.into(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}
