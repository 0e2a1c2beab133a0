//! Operator endpoints for one event: its attributes, and what became of its deliveries.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json, value::RawValue};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::delivery_view::{delivery_view, event_head_view};
use super::event_ref;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{Event, EventDeliveries};
use crate::api::state::Shared;
use crate::delivery::{EventHistory, LogReadError, LoggedDelivery};
use crate::domain::DeliveryId;
use crate::event::StoredEvent;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(get_event));
    route(router, routes!(list_deliveries))
}

/// Shows an event, and counts its deliveries by outcome.
#[utoipa::path(
    get, path = "/events/{ref}", operation_id = "getEvent",
    security(("operatorToken" = ["read", "installation"])),
    params(("body" = Option<bool>, Query, description = "Whether the body is shown.")),
    responses((status = 200, description = "The event.", body = Event), Unavailable)
)]
async fn get_event(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(text): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    // The stored body may have more than what was delivered.
    let with_body = QueryParams::parse(query.as_deref()).flag("body")? && viewer.is_operator();
    let stored = event_ref::stored(&state, &text).await?;
    let key = match event_ref::find(&state, &text, None).await {
        Ok(key) => key,
        Err(ApiError::DeliveryLogOff) => None,
        Err(error) => return Err(error),
    };
    let history = match &key {
        Some(key) => match state.delivery_log.history(key).await {
            Ok(history) => Some(shown(history, &viewer)),
            Err(LogReadError::Off) => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let newest = history.as_ref().and_then(|history| history.items.last());
    if !viewer.is_operator() && newest.is_none() {
        // It is known by own deliveries only.
        return Err(ApiError::NotFound);
    }
    // The ids of events that a bus published are remembered some seconds later.
    let stored = match (stored, newest) {
        (None, Some(newest)) => event_ref::stored_of_record(&state, &newest.record.event).await?,
        (stored, _) => stored,
    };
    let mut view = match (&stored, newest) {
        (Some(stored), _) => stored_view(stored, with_body),
        (None, Some(newest)) => event_head_view(&newest.record.event),
        (None, None) => return Err(ApiError::NotFound),
    };
    insert_some(&mut view, "stored", Some(stored.is_some()));
    match &history {
        Some(history) => {
            insert_some(&mut view, "deliveries", Some(outcome_counts(history)));
            insert_some(&mut view, "complete", Some(history.is_complete));
        }
        None => insert_some(&mut view, "deliveryLog", Some("off")),
    }
    Ok(Json(viewer.trimmed(view)))
}

/// Lists the deliveries of an event with all of their attempts.
#[utoipa::path(
    get, path = "/events/{ref}/deliveries", operation_id = "listEventDeliveries",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The deliveries.", body = EventDeliveries), Conflict, Unavailable)
)]
async fn list_deliveries(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(text): PathId,
) -> Result<Json<Value>, ApiError> {
    let key = event_ref::find(&state, &text, None).await?.ok_or(ApiError::NotFound)?;
    let history = shown(state.delivery_log.history(&key).await?, &viewer);
    if !viewer.is_operator() && history.items.is_empty() {
        return Err(ApiError::NotFound);
    }
    let mut order: Vec<DeliveryId> = Vec::new();
    let mut attempts: HashMap<DeliveryId, Vec<&LoggedDelivery>> = HashMap::new();
    for item in &history.items {
        let Some(one) = item.delivery() else { continue };
        let id = one.delivery_id(&item.record.event);
        let known = attempts.entry(id.clone()).or_default();
        if known.is_empty() {
            order.push(id);
        }
        known.push(item);
    }
    let items = order.iter().filter_map(|id| {
        let attempts = attempts.get(id)?;
        let last = attempts.last()?.delivery()?;
        Some(json!({
            "id": id.as_str(),
            "subscription": last.subscription().to_string(),
            "outcome": last.outcome,
            "attempts": attempts.iter().map(|item| delivery_view(item)).collect::<Vec<_>>(),
        }))
    });
    let items: Vec<Value> = items.collect();
    let view = json!({
        "items": items,
        "complete": history.is_complete,
        "scanned": history.scanned,
    });
    Ok(Json(viewer.trimmed(view)))
}

/// Returns the deliveries of an event that are shown.
fn shown(mut history: EventHistory, viewer: &Viewer) -> EventHistory {
    let is_shown =
        |item: &LoggedDelivery| item.delivery().is_some_and(|one| viewer.sees(&one.installation));
    if !viewer.is_operator() {
        history.items.retain(is_shown);
    }
    history
}

fn stored_view(stored: &StoredEvent, with_body: bool) -> Value {
    let envelope = &stored.event.envelope;
    let mut view = json!({
        "id": envelope.event_id,
        "site": envelope.cloud_id,
        "type": envelope.event_type,
        "sequence": stored.event.sequence,
        "storedAt": rfc3339(stored.stored_ms),
        "bytes": stored.event.body.len(),
    });
    insert_some(&mut view, "entity", envelope.entity.as_deref());
    insert_some(&mut view, "time", envelope.time.map(|time| time.to_string()));
    insert_some(&mut view, "originApp", envelope.origin_app.as_ref());
    if with_body {
        let body = serde_json::from_slice::<&RawValue>(&stored.event.body).ok();
        insert_some(&mut view, "body", body);
    }
    view
}

/// Counts the deliveries of an event by their last outcome.
fn outcome_counts(history: &EventHistory) -> Value {
    let mut last: HashMap<DeliveryId, &str> = HashMap::new();
    for item in &history.items {
        if let Some(one) = item.delivery() {
            last.insert(one.delivery_id(&item.record.event), &one.outcome);
        }
    }
    let count = |outcome: &str| last.values().filter(|found| **found == outcome).count();
    json!({
        "total": last.len(),
        "delivered": count("delivered"),
        "parked": count("parked"),
        "dead": count("dead"),
        "dropped": count("dropped"),
    })
}
