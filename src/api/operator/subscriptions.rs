//! Operator endpoints for subscriptions: module records with status, filters and counters.

use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attention::{Failure, failure};
use super::list::{LIMIT_DEFAULT, LIMIT_MAX, page_view};
use super::replica_view::replica_view;
use super::unknown_names::with_hints;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339, rfc3339_unless_zero};
use crate::api::openapi::{Invalid, route};
use crate::api::query_params::{self, QueryParams};
use crate::api::schema::{
    PageParams, Subscription as SubscriptionSchema, SubscriptionPage, SubscriptionParams,
};
use crate::api::state::Shared;
use crate::delivery::{self, Dispatcher};
use crate::domain::SubscriptionId;
use crate::matcher::Subscription;
use crate::registry::{
    AppliedInstallation, AppliedModule, EffectiveStatus, ModuleStatus, Problem, TRIGGER, Trigger,
    TriggerEvent, code,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list_subscriptions));
    let router = route(router, routes!(get_subscription));
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

/// Lists the subscriptions in the order of their ids.
#[utoipa::path(
    get, path = "/subscriptions", operation_id = "listSubscriptions", params(PageParams, SubscriptionParams),
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "A page of subscriptions.", body = SubscriptionPage))
)]
async fn list_subscriptions(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let query = SubscriptionQuery::read(&params)?;
    let after =
        params.cursor("cursor")?.map(|position| ListPosition::read(&position)).transpose()?;
    let mut items = Vec::new();
    let mut last: Option<ListPosition> = None;
    for id in state.registry.installation_ids(None, usize::MAX) {
        let before = |position: &ListPosition| id.as_str() < position.installation.as_str();
        let is_wanted = query.installation(id.as_str()) && viewer.sees(&id);
        if after.as_ref().is_some_and(before) || !is_wanted {
            continue;
        }
        let Some(installation) = state.registry.installation(id.as_str()) else { continue };
        let mut modules: Vec<_> =
            installation.modules.iter().map(|m| (ListPosition::of(m), m)).collect();
        modules.sort_by(|left, right| left.0.cmp(&right.0));
        for (position, module) in modules {
            if after.as_ref().is_some_and(|after| position <= *after)
                || !query.module(&installation, module)
            {
                continue;
            }
            if items.len() == limit {
                let next = last.map(|last| query_params::encode_cursor(&last.write()));
                return Ok(Json(viewer.trimmed(page(&state, items, next))));
            }
            items.push(subscription_view(&state, &installation, module));
            last = Some(position);
            // Warnings are found when they are first read: a filter may take milliseconds, a page
            // has hundreds.
            tokio::task::yield_now().await;
        }
    }
    let page = with_hints(&state, &viewer, &params, page(&state, items, None));
    Ok(Json(viewer.trimmed(page)))
}

fn page(state: &Shared, items: Vec<Value>, next: Option<String>) -> Value {
    let mut page = page_view(items, next);
    insert_some(&mut page, "replica", Some(replica_view(state)));
    page
}

/// A position in the list. A dynamic and a static module may share an id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ListPosition {
    installation: String,
    key: String,
    registered: bool,
}

impl ListPosition {
    fn of(module: &AppliedModule) -> Self {
        Self {
            installation: module.id.installation.to_string(),
            key: module.id.key.to_string(),
            registered: !module.is_static,
        }
    }

    fn write(&self) -> String {
        json!([self.installation, self.key, self.registered]).to_string()
    }

    fn read(text: &str) -> Result<Self, ApiError> {
        let (installation, key, registered) =
            serde_json::from_str(text).map_err(|_| query_params::invalid_cursor("cursor"))?;
        Ok(Self { installation, key, registered })
    }
}

/// The query parameters that select subscriptions.
struct SubscriptionQuery<'q> {
    site: Option<&'q str>,
    installation: Option<&'q str>,
    app: Option<&'q str>,
    event: Option<&'q str>,
    state: Option<&'q str>,
    text: Option<&'q str>,
    is_failing: bool,
}

impl<'q> SubscriptionQuery<'q> {
    fn read(params: &'q QueryParams) -> Result<Self, ApiError> {
        let state = params.get("state");
        let known = EffectiveStatus::ALL.map(|state| state.as_str());
        if state.is_some_and(|state| !known.contains(&state)) {
            let message = format!("a state is one of {}", known.join(", "));
            return Err(Problem::new(code::FORM, "state", message).into());
        }
        Ok(Self {
            site: params.get("site"),
            installation: params.get("installation"),
            app: params.get("app"),
            event: params.get("event"),
            state,
            text: params.get("q"),
            is_failing: params.flag("failing")?,
        })
    }

    fn installation(&self, id: &str) -> bool {
        self.installation.is_none_or(|wanted| wanted == id)
    }

    fn module(&self, installation: &AppliedInstallation, module: &AppliedModule) -> bool {
        self.app.is_none_or(|app| installation.record.app.as_str() == app)
            && self.site.is_none_or(|site| installation.record.cloud_id.as_str() == site)
            && (!self.is_failing || failure(module).is_some())
            && self.state.is_none_or(|state| module.effective_status.as_str() == state)
            && self.event.is_none_or(|event| subscribes_to(module, event))
            && self.text.is_none_or(|text| contains_text(module, text))
    }
}

fn subscribes_to(module: &AppliedModule, event: &str) -> bool {
    let live =
        module.subscription.iter().flat_map(|subscription| &subscription.event_subscriptions);
    if live.into_iter().any(|entry| entry.conditions.event_type.as_str() == event) {
        return true;
    }
    let data = module.data.read();
    let names = data.get("events").and_then(Value::as_array).into_iter().flatten();
    let mut names =
        names.filter_map(|item| item.as_str().or_else(|| item.get("eventType")?.as_str()));
    names.any(|name| name == event)
}

fn contains_text(module: &AppliedModule, text: &str) -> bool {
    module.id.to_string().contains(text)
        || module.data.read().values().any(|value| value_contains(value, text))
}

/// Recursion is bounded, since the nesting of a request body is.
fn value_contains(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found.contains(text),
        Value::Array(items) => items.iter().any(|item| value_contains(item, text)),
        Value::Object(members) => members.values().any(|item| value_contains(item, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
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
