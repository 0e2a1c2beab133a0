//! Operator endpoints for one installation.

use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attention::failure;
use super::status::put_status;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::json::{insert_some, rfc3339, rfc3339_unless_zero};
use crate::api::openapi::{BadGateway, Invalid, route};
use crate::api::schema::{Installation, InstallationStored, NewToken};
use crate::api::state::Shared;
use crate::delivery::ShareOwner;
use crate::domain::{InstallationId, Secret};
use crate::registry::{
    AppliedInstallation, DynamicWebhook, EffectiveStatus, InstallationPut, InstallationSpec,
    ModuleRecord, RegistrationApi, function_subject,
};

/// Webhooks of an installation that its view lists as never delivered.
const UNDELIVERED_SHOWN_MAX: usize = 20;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let one = routes!(put_installation, get_installation, delete_installation);
    let router = route(OpenApiRouter::default(), one);
    route(router, routes!(rotate_token))
}

/// Installs an app at a site, or changes an installation; its modules stay.
#[utoipa::path(
    put, path = "/installations/{id}", operation_id = "putInstallation", request_body = InstallationSpec,
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The installation was changed.", body = InstallationStored),
        (status = 201, description = "The installation is new.", body = InstallationStored), BadGateway)
)]
async fn put_installation(
    State(state): State<Shared>,
    PathId(id): PathId,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let id = InstallationId::from(id);
    let spec: InstallationSpec = body.read()?;
    let put = state.registry.installations().put(&id, spec).await?;
    let InstallationPut { created: is_new, token, warnings } = put;
    let mut answer = json!({"id": id});
    insert_some(&mut answer, "token", token.as_ref().map(Secret::reveal));
    insert_some(&mut answer, "warnings", Some(warnings).filter(|all| !all.is_empty()));
    Ok((put_status(is_new), Json(answer)))
}

/// Replaces the token of a Forge installation. The new one is shown only here.
#[utoipa::path(
    post, path = "/installations/{id}/token", operation_id = "rotateToken",
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The new token.", body = NewToken), Invalid)
)]
async fn rotate_token(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let token = state.registry.installations().rotate_token(&id).await?;
    Ok(Json(json!({"token": token})))
}

/// Shows an installation.
#[utoipa::path(
    get, path = "/installations/{id}", operation_id = "getInstallation",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The installation.", body = Installation))
)]
async fn get_installation(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(&id).ok_or(ApiError::NotFound)?;
    Ok(Json(installation_view(&state, &installation)))
}

pub(super) fn installation_view(state: &Shared, installation: &AppliedInstallation) -> Value {
    let record = &installation.record;
    let settings = state.registry.settings();
    let app = state.registry.app(record.app.as_str());
    let functions = app.iter().flat_map(|app| &app.record.functions).map(|function| {
        let subject = function_subject(&settings.prefix, &record.id, function);
        json!({"function": function, "subject": subject})
    });
    let app = app.as_ref().map(|app| &app.record);
    let dynamic_max = settings.dynamic_modules_max(app, record.product);
    let mut modules = Map::new();
    for state in EffectiveStatus::ALL {
        let found =
            installation.modules.iter().filter(|module| module.effective_status == state).count();
        // Left out if there are none, as the list of them below.
        if found > 0 || state != EffectiveStatus::Undelivered {
            modules.insert(state.as_str().into(), found.into());
        }
    }
    let is_webhook = |module: &&ModuleRecord| module.api == RegistrationApi::Webhook;
    let webhooks = record.modules.iter().filter(is_webhook).count();
    modules.insert("dynamic".into(), (record.modules.len() - webhooks).into());
    modules.insert("dynamicMax".into(), dynamic_max.into());
    modules.insert("webhooks".into(), webhooks.into());
    let mut view = json!({
        "id": record.id,
        "app": record.app,
        "cloudId": record.cloud_id,
        "product": record.product,
        "licensed": record.licensed,
        "environment": record.environment,
        "state": record.state,
        "functions": functions.collect::<Vec<_>>(),
        "modules": modules,
        "revision": installation.revision,
        "createdAt": rfc3339(record.created_ms),
        "updatedAt": rfc3339(record.updated_ms),
    });
    insert_some(&mut view, "counts", Some(counts_view(state, installation)));
    insert_some(&mut view, "lastActivity", rfc3339_unless_zero(last_activity_ms(installation)));
    insert_some(&mut view, "expiresAt", expires_ms(installation).and_then(rfc3339));
    insert_some(&mut view, "bodiesDays", Some(settings.bodies_days_of(record)));
    let retention = record.retention.as_ref();
    let retention = retention.map(|own| json!({ "bodiesDays": own.bodies_days }));
    insert_some(&mut view, "retention", retention);
    insert_some(&mut view, "clientKey", record.client_key.as_ref());
    let previous = record.previous_shared_secret.as_ref();
    let until = previous.and_then(|previous| rfc3339(previous.until_ms));
    insert_some(&mut view, "previousSecretUntil", until);
    insert_some(&mut view, "appAccountId", record.app_account_id.as_ref());
    let dropped = record.dropped.as_ref().map(|dropped| {
        let mut shown = json!({"at": rfc3339(dropped.at_ms), "keys": dropped.keys});
        insert_some(&mut shown, "version", dropped.version.as_ref());
        shown
    });
    insert_some(&mut view, "dropped", dropped);
    let undelivered = undelivered_view(installation);
    insert_some(&mut view, "undelivered", Some(undelivered).filter(|all| !all.is_empty()));
    let waiting = Some(record.notices.len()).filter(|count| *count > 0);
    insert_some(&mut view, "noticesWaiting", waiting);
    view
}

/// Counts what an installation has: of deliveries over all replicas, of subscriptions as this replica sees them.
fn counts_view(state: &Shared, installation: &AppliedInstallation) -> Value {
    let record = &installation.record;
    let shares = &state.operations.shares;
    let owner = ShareOwner::installation(&record.app, &record.id);
    let (parked, dead_letters) = shares.used_by(&owner);
    let modules = || installation.modules.iter();
    json!({
        "subscriptions": modules().filter(|module| module.subscription.is_some()).count(),
        "failing": modules().filter(|module| failure(module).is_some()).count(),
        "parked": parked,
        "parkedMax": shares.parked_max(),
        "deadLetters": dead_letters,
    })
}

/// Returns when a module last matched, failed or was delivered, milliseconds since the epoch; 0 = never.
fn last_activity_ms(installation: &AppliedInstallation) -> i64 {
    let times = installation.modules.iter().map(|module| {
        let stats = module.stats().peek();
        let times = [
            &stats.last_match_ms,
            &stats.last_delivered_ms,
            &stats.last_error_ms,
            &stats.last_failure_ms,
        ];
        times.into_iter().map(|time| time.load(Relaxed)).max().unwrap_or(0)
    });
    times.max().unwrap_or(0)
}

/// Returns when the first of its dynamic webhooks expires, milliseconds since the epoch; none if none does.
pub(super) fn expires_ms(installation: &AppliedInstallation) -> Option<i64> {
    let modules = installation.modules.iter();
    let expiring =
        modules.filter_map(|module| DynamicWebhook::expires_ms(&module.module_type, &module.data));
    expiring.min()
}

/// Returns the webhooks that are never delivered, with the reasons.
fn undelivered_view(installation: &AppliedInstallation) -> Vec<Value> {
    let modules = installation.modules.iter();
    let found = modules.filter(|found| found.effective_status == EffectiveStatus::Undelivered);
    found
        .take(UNDELIVERED_SHOWN_MAX)
        .map(|module| json!({"key": module.id.key, "reason": module.reason}))
        .collect()
}

/// Deletes an installation with its modules.
#[utoipa::path(
    delete, path = "/installations/{id}", operation_id = "deleteInstallation",
    security(("operatorToken" = ["admin"])),
    responses((status = 204, description = "It is deleted."), Invalid)
)]
async fn delete_installation(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    state.registry.installations().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
