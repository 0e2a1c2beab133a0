//! What operators see of subscriptions: each module record with its state, its filter and figures.

use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::extract::Id;
use super::operator::{LIMIT_DEFAULT, LIMIT_MAX, insert, list, time};
use super::page::{self, Query};
use super::{ApiError, Shared, route};
use crate::domain::{Handler, SubscriptionId};
use crate::matcher::Subscription;
use crate::registry::{
    AppliedInstallation, AppliedModule, HandlerRef, ModuleStatus, Problem, TRIGGER, Trigger,
    TriggerEvent, code,
};

pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), "/subscriptions", &get(list_subscriptions));
    let mut router = route(router, "/subscriptions/{id}", &get(get_subscription));
    for (action, switch) in [
        ("pause", ModuleStatus::Paused),
        ("resume", ModuleStatus::On),
        ("disable", ModuleStatus::Off),
    ] {
        let act = move |state: State<Shared>, id: Id| async move { set(state, id, switch).await };
        router = route(router, &format!("/subscriptions/{{id}}/{action}"), &post(act));
    }
    router
}

/// Modules of the app itself cannot be switched: a new version of the app changes them.
async fn set(
    State(state): State<Shared>,
    Id(id): Id,
    status: ModuleStatus,
) -> Result<Json<Value>, ApiError> {
    let id = SubscriptionId::parse(&id).ok_or(ApiError::NotFound)?;
    state.registry.module_status().set(&id.installation, &id.key, status).await?;
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    let module = installation.module(id.key.as_str()).ok_or(ApiError::NotFound)?;
    Ok(Json(view(&state, &installation, module)))
}

async fn get_subscription(
    State(state): State<Shared>,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    let id = SubscriptionId::parse(&id).ok_or(ApiError::NotFound)?;
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    let module = installation.module(id.key.as_str()).ok_or(ApiError::NotFound)?;
    Ok(Json(view(&state, &installation, module)))
}

async fn list_subscriptions(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let query = Query::parse(query.as_deref());
    let limit = query.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let wanted = Wanted::read(&query)?;
    let after = query.cursor("cursor")?.map(|place| Place::read(&place)).transpose()?;
    let mut items = Vec::new();
    let mut last: Option<Place> = None;
    for id in state.registry.installation_ids(None, usize::MAX) {
        let before = |place: &Place| id.as_str() < place.installation.as_str();
        if after.as_ref().is_some_and(before) || !wanted.installation(id.as_str()) {
            continue;
        }
        let Some(installation) = state.registry.installation(id.as_str()) else { continue };
        let mut modules: Vec<_> = installation.modules.iter().map(|m| (Place::of(m), m)).collect();
        modules.sort_by(|left, right| left.0.cmp(&right.0));
        for (place, module) in modules {
            if after.as_ref().is_some_and(|after| place <= *after)
                || !wanted.module(&installation, module)
            {
                continue;
            }
            if items.len() == limit {
                let next = last.map(|last| page::cursor(&last.write()));
                return Ok(Json(list(items, next)));
            }
            items.push(view(&state, &installation, module));
            last = Some(place);
        }
    }
    Ok(Json(list(items, None)))
}

/// A place in the list. A registered module and one of the app itself may share an id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    installation: String,
    key: String,
    registered: bool,
}

impl Place {
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
            serde_json::from_str(text).map_err(|_| page::unreadable("cursor"))?;
        Ok(Self { installation, key, registered })
    }
}

/// Which subscriptions are asked for.
struct Wanted<'q> {
    installation: Option<&'q str>,
    app: Option<&'q str>,
    event: Option<&'q str>,
    state: Option<&'q str>,
    text: Option<&'q str>,
}

impl<'q> Wanted<'q> {
    fn read(query: &'q Query) -> Result<Self, ApiError> {
        let state = query.get("state");
        let known = crate::registry::EffectiveStatus::ALL.map(|state| state.as_str());
        if state.is_some_and(|state| !known.contains(&state)) {
            let message = format!("a state is one of {}", known.join(", "));
            return Err(Problem::new(code::FORM, "state", message).into());
        }
        Ok(Self {
            installation: query.get("installation"),
            app: query.get("app"),
            event: query.get("event"),
            state,
            text: query.get("q"),
        })
    }

    fn installation(&self, id: &str) -> bool {
        self.installation.is_none_or(|wanted| wanted == id)
    }

    fn module(&self, installation: &AppliedInstallation, module: &AppliedModule) -> bool {
        self.app.is_none_or(|app| installation.record.app.as_str() == app)
            && self.state.is_none_or(|state| module.effective_status.as_str() == state)
            && self.event.is_none_or(|event| hears(module, event))
            && self.text.is_none_or(|text| mentions(module, text))
    }
}

fn hears(module: &AppliedModule, event: &str) -> bool {
    let live = module.subscription.iter().flat_map(|subscription| &subscription.listens);
    if live.into_iter().any(|listen| listen.interest.event_type.as_str() == event) {
        return true;
    }
    let data = module.data.read();
    let names = data.get("events").and_then(Value::as_array).into_iter().flatten();
    let mut names =
        names.filter_map(|item| item.as_str().or_else(|| item.get("eventType")?.as_str()));
    names.any(|name| name == event)
}

fn mentions(module: &AppliedModule, text: &str) -> bool {
    module.id.to_string().contains(text)
        || module.data.read().values().any(|value| value_mentions(value, text))
}

/// Module data nests as deep as a request may, which is bounded.
fn value_mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found.contains(text),
        Value::Array(items) => items.iter().any(|item| value_mentions(item, text)),
        Value::Object(members) => members.values().any(|item| value_mentions(item, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn view(state: &Shared, installation: &AppliedInstallation, module: &AppliedModule) -> Value {
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
        let events =
            live.listens.iter().map(|listen| json!({"eventType": listen.interest.event_type}));
        insert(&mut view, "events", Some(events.collect::<Vec<_>>()));
        let handler = handler_of(live);
        insert(&mut view, "handler", Some(handler));
    }
    insert(&mut view, "title", title(state, installation, &data));
    insert(&mut view, "reason", module.reason.as_ref());
    insert(&mut view, "handler", trigger.as_ref().map(|trigger| handler_view(trigger, module)));
    if let Some(stored) = record.module(module.id.key.as_str()).filter(|_| !module.is_static) {
        insert(&mut view, "door", Some(stored.api));
        insert(&mut view, "revision", Some(stored.revision));
        insert(&mut view, "createdAt", time(stored.created_ms));
        insert(&mut view, "updatedAt", time(stored.updated_ms));
    }
    view
}

fn event_view(event: &TriggerEvent) -> Value {
    let mut view = json!({"eventType": event.event_type.value});
    if let Some(filter) = &event.filter {
        let on_error = filter.on_error.unwrap_or_default();
        insert(&mut view, "expression", filter.expression.as_ref().map(|text| &*text.value));
        insert(&mut view, "onError", filter.expression.as_ref().map(|_| on_error));
        insert(&mut view, "ignoreSelf", filter.ignore_self.then_some(true));
        insert(&mut view, "appIsLicensed", filter.requires_licence.then_some(true));
    }
    view
}

fn handler_view(trigger: &Trigger, module: &AppliedModule) -> Value {
    let mut view = module.subscription.as_deref().map_or_else(|| json!({}), handler_of);
    match &trigger.handler {
        HandlerRef::Function(name) => insert(&mut view, "function", Some(&name.value)),
        HandlerRef::Endpoint(key) => insert(&mut view, "endpoint", Some(&key.value)),
    }
    view
}

fn handler_of(subscription: &Subscription) -> Value {
    match &*subscription.owner.terms.handler {
        Handler::Http { url, .. } => json!({"url": url.as_str()}),
        Handler::Remote(remote) => json!({"url": remote.url.as_str(), "style": "forge_remote"}),
        Handler::Webhook(webhook) => json!({"base": webhook.base.as_str(), "url": webhook.address}),
        Handler::Function { subject } => json!({"subject": **subject}),
    }
}

/// The name of a module for people, in the words of the app's translations.
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
    let moment = |ms: i64| Some(ms).filter(|ms| *ms != 0).and_then(time);
    let live = module.subscription.as_ref();
    insert(&mut view, "notMatched", live.and_then(|_| state.matcher.not_matched(&module.id)));
    insert(&mut view, "lastError", stats.last_error());
    insert(&mut view, "lastFailure", stats.last_failure());
    insert(&mut view, "lastMatch", moment(stats.last_match_ms.load(Relaxed)));
    insert(&mut view, "lastDelivered", moment(stats.last_delivered_ms.load(Relaxed)));
    view
}
