//! Operator endpoints for the shadows of subscriptions: filters that are compared with those in force,
//! promoted and rolled back.
//!
//! Design: `docs/design/shadow.md`.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::subscriptions::subscription_view;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId, expected_revision};
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Invalid, Stale, Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{Shadow, ShadowMembers, Subscription};
use crate::api::state::Shared;
use crate::domain::{EventId, SubscriptionId};
use crate::event::ArchivedEvent;
use crate::recovery::shadow::{CountError, Counted, Difference, Tally};
use crate::registry::{ModuleRecord, RegisteredModule};

/// How long events are counted for a request.
const COUNT_MAX: Duration = Duration::from_secs(5);
/// How long the ids of listed events are looked up.
const IDS_MAX: Duration = Duration::from_secs(2);
/// Ids that are looked up at once.
const IDS_AT_ONCE: usize = 8;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(show, set, remove));
    let router = route(router, routes!(promote));
    route(router, routes!(roll_back))
}

/// Shows the shadow of a subscription with its count.
///
/// As of now if that takes no longer than 5 s.
#[utoipa::path(
    get, path = "/subscriptions/{id}/shadow", operation_id = "getShadow",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The shadow.", body = Shadow), Unavailable)
)]
async fn show(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(id): PathId,
) -> Result<Json<Value>, ApiError> {
    let id = parse(&id)?;
    let module = state.registry.forge_modules().module(&id.installation, &id.key)?;
    let mut view = shadow_view(&id, &module)?;
    match state.recovery.shadows.count(&id, COUNT_MAX).await {
        Err(CountError::Unavailable(reason)) => return Err(ApiError::Unavailable(reason)),
        counted => insert_counted(&state, &mut view, counted).await,
    }
    Ok(Json(viewer.trimmed(view)))
}

/// Sets the shadow of a subscription; events that are stored from now on are compared.
#[utoipa::path(
    put, path = "/subscriptions/{id}/shadow", operation_id = "putShadow",
    security(("operatorToken" = ["operate", "installation"])),
    params(("If-Match" = Option<String>, Header, description = "Revision that the module must have.")),
    request_body = ShadowMembers,
    responses((status = 200, description = "The shadow.", body = Shadow), Stale)
)]
async fn set(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(id): PathId,
    headers: HeaderMap,
    JsonObject(members): JsonObject,
) -> Result<Json<Value>, ApiError> {
    let (id, expected) = (parse(&id)?, expected_revision(&headers)?);
    let after = state.recovery.shadows.last_event().await?;
    let shadows = state.registry.shadows();
    let set = shadows.set(&id.installation, &id.key, members, after, expected).await?;
    let mut view = shadow_view(&id, &set.module)?;
    // It is set, whatever keeps it from being counted now.
    let counted = state.recovery.shadows.count(&id, COUNT_MAX).await;
    insert_counted(&state, &mut view, counted).await;
    insert_warnings(&mut view, &set);
    Ok(Json(viewer.trimmed(view)))
}

/// Removes the shadow of a subscription.
#[utoipa::path(
    delete, path = "/subscriptions/{id}/shadow", operation_id = "deleteShadow",
    security(("operatorToken" = ["operate", "installation"])),
    params(("If-Match" = Option<String>, Header, description = "Revision that the module must have.")),
    responses((status = 204, description = "It is removed."), Stale, Invalid)
)]
async fn remove(
    State(state): State<Shared>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (id, expected) = (parse(&id)?, expected_revision(&headers)?);
    state.registry.shadows().remove(&id.installation, &id.key, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts the shadow of a subscription in force.
#[utoipa::path(
    post, path = "/subscriptions/{id}/promote", operation_id = "promoteShadow",
    security(("operatorToken" = ["operate", "installation"])),
    params(("If-Match" = Option<String>, Header, description = "Revision that the module must have."),
        ("shadow" = Option<String>, Query, description = "Name of the shadow; no other one is promoted.")),
    responses((status = 200, description = "The subscription.", body = Subscription), Stale, Conflict)
)]
async fn promote(
    State(state): State<Shared>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let (id, expected) = (parse(&id)?, expected_revision(&headers)?);
    let (params, shadows) = (QueryParams::parse(query.as_deref()), state.registry.shadows());
    let (name, installation) = (params.get("shadow"), &id.installation);
    let promoted = shadows.promote(installation, &id.key, name, expected).await?;
    changed_view(&state, &id, &promoted)
}

/// Puts the filter of before the promotion in force again.
#[utoipa::path(
    post, path = "/subscriptions/{id}/rollback", operation_id = "rollBackShadow",
    security(("operatorToken" = ["operate", "installation"])),
    params(("If-Match" = Option<String>, Header, description = "Revision that the module must have.")),
    responses((status = 200, description = "The subscription.", body = Subscription), Stale, Invalid)
)]
async fn roll_back(
    State(state): State<Shared>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let (id, expected) = (parse(&id)?, expected_revision(&headers)?);
    let restored = state.registry.shadows().roll_back(&id.installation, &id.key, expected).await?;
    changed_view(&state, &id, &restored)
}

fn parse(id: &str) -> Result<SubscriptionId, ApiError> {
    SubscriptionId::parse(id).ok_or(ApiError::NotFound)
}

/// The subscription after its filter was changed.
fn changed_view(
    state: &Shared,
    id: &SubscriptionId,
    changed: &RegisteredModule,
) -> Result<Json<Value>, ApiError> {
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    let module = installation.module(id.key.as_str()).ok_or(ApiError::NotFound)?;
    let mut view = subscription_view(state, &installation, module);
    insert_warnings(&mut view, changed);
    Ok(Json(view))
}

fn insert_warnings(view: &mut Value, module: &RegisteredModule) {
    insert_some(view, "warnings", Some(&module.warnings).filter(|found| !found.is_empty()));
}

fn shadow_view(id: &SubscriptionId, module: &ModuleRecord) -> Result<Value, ApiError> {
    let shadow = module.shadow.as_ref().ok_or(ApiError::NotFound)?;
    let mut view = json!({
        "subscription": id.to_string(),
        "name": shadow.name(),
        "members": shadow.members,
        "after": shadow.after,
        "revision": module.revision,
    });
    insert_some(&mut view, "since", rfc3339(shadow.set_ms));
    insert_some(&mut view, "moduleChanged", module.is_shadow_outdated().then_some(true));
    Ok(view)
}

/// Adds the count, or why there is none.
async fn insert_counted(
    state: &Shared,
    view: &mut Value,
    counted: Result<Option<Counted>, CountError>,
) {
    match counted {
        Ok(Some(counted)) => {
            let ids = ids_of(state, &counted.tally).await;
            insert_count(view, &counted, &ids);
        }
        // It was removed since.
        Ok(None) => {}
        Err(error) => insert_some(view, "problem", Some(error.to_string())),
    }
}

/// Ids of events by sequence and time.
type Ids = HashMap<(u64, i64), EventId>;

/// Looks the ids of listed events up, of those that are still stored.
async fn ids_of(state: &Shared, tally: &Tally) -> Ids {
    let listed: Vec<(u64, i64)> = tally
        .gained_events
        .iter()
        .chain(&tally.lost_events)
        .map(|one| (one.sequence, one.stored_ms))
        .collect();
    let look_up = |(sequence, stored_ms)| async move {
        let found = state.events.by_sequence(sequence).await.ok().flatten();
        // A stream that was created again has another event with this sequence.
        let found = found.and_then(ArchivedEvent::readable);
        let found = found.filter(|found| found.stored_ms == stored_ms);
        found.map(|found| ((sequence, stored_ms), found.event.envelope.event_id))
    };
    let found = futures_util::stream::iter(listed).map(look_up).buffer_unordered(IDS_AT_ONCE);
    let found = found.take_until(tokio::time::sleep(IDS_MAX));
    found.filter_map(std::future::ready).collect().await
}

fn insert_count(view: &mut Value, counted: &Counted, ids: &Ids) {
    let tally = &counted.tally;
    let counts = [
        ("countedTo", tally.counted),
        ("events", tally.events),
        ("both", tally.both),
        ("gained", tally.gained),
        ("lost", tally.lost),
        ("steps", tally.steps),
    ];
    for (name, count) in counts {
        insert_some(view, name, Some(count));
    }
    insert_some(view, "upToDate", Some(counted.is_up_to_date));
    insert_some(view, "filter", Some(tally.filter));
    insert_some(view, "shadow", Some(tally.shadow));
    for (name, count) in [("unreadable", tally.unreadable), ("uncounted", tally.uncounted)] {
        insert_some(view, name, Some(count).filter(|count| *count > 0));
    }
    insert_some(view, "streamLost", tally.is_stream_lost.then_some(true));
    let differences = json!({
        "gained": differences_view(&tally.gained_events, ids),
        "lost": differences_view(&tally.lost_events, ids),
    });
    insert_some(view, "differences", Some(differences));
}

/// Lists events, the newest first.
fn differences_view(events: &VecDeque<Difference>, ids: &Ids) -> Vec<Value> {
    let view = |one: &Difference| {
        let mut view = json!({"sequence": one.sequence, "type": one.event_type});
        insert_some(&mut view, "event", ids.get(&(one.sequence, one.stored_ms)));
        insert_some(&mut view, "time", rfc3339(one.stored_ms));
        view
    };
    events.iter().rev().map(view).collect()
}
