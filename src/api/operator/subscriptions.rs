//! Operator endpoints for one subscription: its module record with status, filters and counters.

use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attention::{Failure, failure};
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339, rfc3339_unless_zero};
use crate::api::openapi::{Invalid, route};
use crate::api::schema::Subscription as SubscriptionSchema;
use crate::api::state::Shared;
use crate::delivery::{self, Dispatcher};
use crate::domain::SubscriptionId;
use crate::matcher::Subscription;
use crate::registry::{
    AppliedInstallation, AppliedModule, ModuleStatus, TRIGGER, Trigger, TriggerEvent,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(get_subscription));
    let router = route(router, routes!(pause));
    let router = route(router, routes!(resume));
    route(router, routes!(disable))
}

/// Parks the events of a subscription until it is resumed.
#[utoipa::path(
    post, path = "/subscriptions/{id}/pause", operation_id = "pauseSubscription",
    security(("operatorToken" = ["operate", "installation"])),
    responses((status = 200, description = "The subscription.", body = SubscriptionSchema), Invalid)
)]
async fn pause(state: State<Shared>, id: PathId) -> Result<Json<Value>, ApiError> {
    set_status(state, id, ModuleStatus::Paused).await
}

/// Lets a subscription receive events again.
#[utoipa::path(
    post, path = "/subscriptions/{id}/resume", operation_id = "resumeSubscription",
    security(("operatorToken" = ["operate", "installation"])),
    responses((status = 200, description = "The subscription.", body = SubscriptionSchema), Invalid)
)]
async fn resume(state: State<Shared>, id: PathId) -> Result<Json<Value>, ApiError> {
    set_status(state, id, ModuleStatus::On).await
}

/// Stops the events of a subscription.
#[utoipa::path(
    post, path = "/subscriptions/{id}/disable", operation_id = "disableSubscription",
    security(("operatorToken" = ["operate", "installation"])),
    responses((status = 200, description = "The subscription.", body = SubscriptionSchema), Invalid)
)]
async fn disable(state: State<Shared>, id: PathId) -> Result<Json<Value>, ApiError> {
    set_status(state, id, ModuleStatus::Off).await
}

/// Sets the status of a dynamic module. Static modules change only with a new version of the app.
async fn set_status(
    State(state): State<Shared>,
    PathId(id): PathId,
    status: ModuleStatus,
) -> Result<Json<Value>, ApiError> {
    let id = SubscriptionId::parse(&id).ok_or(ApiError::NotFound)?;
    state.registry.module_status().set(&id.installation, &id.key, status).await?;
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    let module = installation.module(id.key.as_str()).ok_or(ApiError::NotFound)?;
    Ok(Json(subscription_view(&state, &installation, module)))
}

/// Shows a subscription.
#[utoipa::path(
    get, path = "/subscriptions/{id}", operation_id = "getSubscription",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The subscription.", body = SubscriptionSchema))
)]
async fn get_subscription(
    State(state): State<Shared>,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let id = SubscriptionId::parse(&id).ok_or(ApiError::NotFound)?;
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    let module = installation.module(id.key.as_str()).ok_or(ApiError::NotFound)?;
    Ok(Json(subscription_view(&state, &installation, module)))
}

pub(super) fn subscription_view(
    state: &Shared,
    installation: &AppliedInstallation,
    module: &AppliedModule,
) -> Value {
    let record = &installation.record;
    let data = module.data.read();
    let trigger =
        (module.module_type == TRIGGER).then(|| Trigger::parse(&data, "data").ok()).flatten();
    let mut view = json!({
        "id": module.id.to_string(),
        "installation": record.id,
        "key": module.id.key,
        "app": record.app,
        "cloudId": record.cloud_id,
        "type": module.module_type,
        "static": module.is_static,
        "state": module.effective_status.as_str(),
        "events": trigger.iter().flat_map(|t| &t.events).map(event_view).collect::<Vec<_>>(),
        "data": module.data,
        "stats": stats_view(state, module),
    });
    if let (None, Some(live)) = (&trigger, &module.subscription) {
        let events = live
            .event_subscriptions
            .iter()
            .map(|entry| json!({"eventType": entry.conditions.event_type}));
        insert_some(&mut view, "events", Some(events.collect::<Vec<_>>()));
        let handler = handler_target(live);
        insert_some(&mut view, "handler", Some(handler));
    }
    insert_some(&mut view, "title", title(state, installation, &data));
    insert_some(&mut view, "reason", module.reason.as_ref());
    insert_some(&mut view, "failing", failure(module).map(Failure::as_str));
    insert_some(&mut view, "lastProblem", last_problem(module));
    insert_some(
        &mut view,
        "handler",
        trigger.as_ref().map(|trigger| handler_view(trigger, module)),
    );
    let warnings = state.registry.warnings(installation, module);
    insert_some(&mut view, "warnings", Some(warnings).filter(|found| !found.is_empty()));
    if let Some(stored) = record.module(module.id.key.as_str()).filter(|_| !module.is_static) {
        insert_some(&mut view, "door", Some(stored.api));
        insert_some(&mut view, "revision", Some(stored.revision));
        insert_some(&mut view, "createdAt", rfc3339(stored.created_ms));
        insert_some(&mut view, "updatedAt", rfc3339(stored.updated_ms));
        let shadow = stored.shadow.as_ref();
        let shadow =
            shadow.map(|one| json!({"members": one.members, "since": rfc3339(one.set_ms)}));
        insert_some(&mut view, "shadow", shadow);
        let promotion = stored.promotion.as_ref().filter(|one| one.before.is_some());
        insert_some(&mut view, "promotedAt", promotion.and_then(|one| rfc3339(one.at_ms)));
    }
    view
}

/// Says what failed last, the filter or an attempt, and when; none if nothing did.
fn last_problem(module: &AppliedModule) -> Option<Value> {
    let stats = module.stats().peek();
    let (error_ms, failure_ms) =
        (stats.last_error_ms.load(Relaxed), stats.last_failure_ms.load(Relaxed));
    let (what, cause, at_ms) = match error_ms > failure_ms {
        true => ("its filter failed", stats.last_error(), error_ms),
        false => ("an attempt failed", stats.last_failure(), failure_ms),
    };
    let text = format!("{what}: {}", cause?);
    Some(json!({"text": text, "at": rfc3339_unless_zero(at_ms)}))
}

fn event_view(event: &TriggerEvent) -> Value {
    let mut view = json!({"eventType": event.event_type.value});
    if let Some(filter) = &event.filter {
        let on_error = filter.on_error.unwrap_or_default();
        insert_some(&mut view, "expression", filter.expression.as_ref().map(|text| &*text.value));
        insert_some(&mut view, "onError", filter.expression.as_ref().map(|_| on_error));
        insert_some(&mut view, "ignoreSelf", filter.ignore_self.then_some(true));
        insert_some(&mut view, "appIsLicensed", filter.requires_licence.then_some(true));
    }
    view
}

fn handler_view(trigger: &Trigger, module: &AppliedModule) -> Value {
    let mut view = module.subscription.as_deref().map_or_else(|| json!({}), handler_target);
    let (member, name) = trigger.handler.member();
    insert_some(&mut view, member, Some(&name.value));
    view
}

fn handler_target(subscription: &Subscription) -> Value {
    let members = delivery::describe(&subscription.owner.settings.handler).members;
    members.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// Returns the display name of a module, from the app's translations.
fn title(
    state: &Shared,
    installation: &AppliedInstallation,
    data: &Map<String, Value>,
) -> Option<String> {
    let app = state.registry.app(installation.record.app.as_str())?;
    app.record.localized_text(data.get("name")?).map(str::to_owned)
}

fn stats_view(state: &Shared, module: &AppliedModule) -> Value {
    let stats = module.stats().peek();
    let mut view = json!({
        "matched": stats.matched.load(Relaxed),
        "ignored": stats.ignored.load(Relaxed),
        "errors": stats.errors.load(Relaxed),
        "delivered": stats.delivered.load(Relaxed),
        "failedAttempts": stats.failed_attempts.load(Relaxed),
        "dead": stats.dead.load(Relaxed),
        "steps": stats.steps.load(Relaxed),
    });
    let live = module.subscription.as_ref();
    insert_some(&mut view, "notMatched", live.and_then(|_| state.matcher.not_matched(&module.id)));
    insert_some(&mut view, "lastError", stats.last_error());
    insert_some(&mut view, "lastFailure", stats.last_failure());
    if let Some(live) = live {
        let owner = Dispatcher::owner_of(live);
        insert_some(&mut view, "parked", Some(state.operations.shares.parked_at(&owner)));
    }
    insert_some(&mut view, "lastErrorAt", rfc3339_unless_zero(stats.last_error_ms.load(Relaxed)));
    insert_some(
        &mut view,
        "lastFailureAt",
        rfc3339_unless_zero(stats.last_failure_ms.load(Relaxed)),
    );
    insert_some(&mut view, "lastMatch", rfc3339_unless_zero(stats.last_match_ms.load(Relaxed)));
    insert_some(
        &mut view,
        "lastDelivered",
        rfc3339_unless_zero(stats.last_delivered_ms.load(Relaxed)),
    );
    view
}
