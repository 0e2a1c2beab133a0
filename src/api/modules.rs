//! The operator API: modules of an installation, for those who keep them in files.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::extract::{Id, JsonObject, TwoIds};
use super::forge::{Submitted, reported, shape};
use super::page::Query;
use super::{ApiError, Shared, route};
use crate::domain::{InstallationId, ModuleKey};
use crate::registry::{AppKind, ConnectModule, ModuleSpec, RegistrationApi, key_problem};

pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), "/installations/{id}/modules", &get(list));
    route(router, "/installations/{id}/modules/{key}", &put(put_module).delete(remove))
}

/// All that is registered, dynamic webhooks aside: those belong to their apps and end by themselves.
async fn list(State(state): State<Shared>, Id(id): Id) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    let modules = installation.record.modules.iter();
    let items = modules.filter(|module| module.api != RegistrationApi::Webhook).map(|module| {
        let mut shown = shape(module);
        super::operator::insert(&mut shown, "door", Some(module.api));
        shown
    });
    Ok(Json(json!({"items": items.collect::<Vec<_>>()})))
}

/// Registers or replaces a module; with `?dryRun=true` only says what would be wrong.
/// What is there already is left as it is.
async fn put_module(
    State(state): State<Shared>,
    TwoIds(id, key): TwoIds,
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
    let mut spec = Submitted::read(body)?.under(&key, door)?;
    spec.data.insert("key".into(), json!(key));
    let is_dry = Query::parse(query.as_deref()).get("dryRun") == Some("true");
    match known {
        Some(known) if known.module_type == spec.module_type && known.data.read() == spec.data => {
            Ok((StatusCode::OK, Json(reported(&known.clone().into()))))
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
            Ok((status, Json(reported(&put.into()))))
        }
        _ if is_dry => {
            let warnings = state.registry.forge_modules().validate_replacement(&id, spec, &key)?;
            Ok((StatusCode::OK, Json(json!({"valid": true, "warnings": warnings}))))
        }
        Some(_) => {
            let replaced = state.registry.forge_modules().replace(&id, &key, spec, None).await?;
            Ok((StatusCode::OK, Json(reported(&replaced))))
        }
        None => {
            let registered = state.registry.forge_modules().register(&id, spec, Some(key)).await?;
            Ok((StatusCode::CREATED, Json(reported(&registered))))
        }
    }
}

async fn remove(
    State(state): State<Shared>,
    TwoIds(id, key): TwoIds,
) -> Result<StatusCode, ApiError> {
    state.registry.forge_modules().remove(&id.into(), &key.into(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}
