//! Operator endpoints for the revisions of subscriptions: what filter, events and state were.

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::extract::{PathId, PathIds};
use crate::api::json::{insert_some, rfc3339};
use crate::api::query_params::QueryParams;
use crate::api::state::{Shared, route};
use crate::domain::SubscriptionId;
use crate::registry::{
    ModuleRevision, Problem, RevisedState, RevisionDiff, RevisionHistory, RevisionId,
    RevisionMoment, code,
};

pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), "/subscriptions/{id}/revisions", &get(list));
    let router = route(router, "/subscriptions/{id}/revisions/{n}", &get(show));
    route(router, "/subscriptions/{id}/revisions/{n}/diff", &get(diff))
}

/// Lists the revisions of a subscription, newest first; with `?at=TIME` the one in force then.
async fn list(
    State(state): State<Shared>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let history = history(&state, &id).await?;
    let wanted = match QueryParams::parse(query.as_deref()).get("at") {
        Some(text) => {
            let time: Timestamp = text.parse().map_err(|_| {
                Problem::new(code::FORM, "at", "a time in RFC 3339, such as 2026-11-30T12:00:00Z")
            })?;
            let found = history.as_of(RevisionMoment::Time(time.as_millisecond()))?;
            Some(found.map(ModuleRevision::id))
        }
        None => None,
    };
    let is_wanted = |one: &&ModuleRevision| wanted.is_none_or(|wanted| Some(one.id()) == wanted);
    let items = history.revisions.iter().filter(is_wanted);
    let items: Vec<Value> = items.map(|one| revision_view(&history, one)).collect();
    let mut answer = json!({"items": items, "complete": history.is_complete});
    let unreadable = Some(history.unreadable).filter(|count| *count > 0);
    insert_some(&mut answer, "unreadable", unreadable);
    Ok(Json(answer))
}

/// Shows one revision with the data of the module. A revision of the registry, such as that of a delivery, names
/// the one in force.
async fn show(
    State(state): State<Shared>,
    PathIds(id, number): PathIds,
) -> Result<Json<Value>, ApiError> {
    let history = history(&state, &id).await?;
    let (found, _) = find(&history, &number)?;
    let mut view = revision_view(&history, found);
    insert_some(&mut view, "data", found.data.as_ref());
    Ok(Json(view))
}

/// Compares a revision with the one before it.
async fn diff(
    State(state): State<Shared>,
    PathIds(id, number): PathIds,
) -> Result<Json<Value>, ApiError> {
    let history = history(&state, &id).await?;
    let (found, before) = find(&history, &number)?;
    let diff = RevisionDiff::between(before, found);
    let changed: Vec<Value> = diff
        .changed
        .iter()
        .map(|(before, after)| json!({"before": before, "after": after}))
        .collect();
    let mut view = json!({
        "id": found.id().to_string(),
        "state": {"after": diff.state},
        "added": diff.added,
        "removed": diff.removed,
        "changed": changed,
    });
    insert_some(&mut view, "comparedWith", before.map(|before| before.id().to_string()));
    if let (Some(before), Some(states)) = (diff.state_before, view.get_mut("state")) {
        insert_some(states, "before", Some(before));
    }
    Ok(Json(view))
}

async fn history(state: &Shared, id: &str) -> Result<RevisionHistory, ApiError> {
    let id = SubscriptionId::parse(id).ok_or(ApiError::NotFound)?;
    let history = state.registry.revisions().history(&id).await?;
    if history.revisions.is_empty() { Err(ApiError::NotFound) } else { Ok(history) }
}

/// Returns the revision with an id, else the one in force at a revision of the registry, and the one before it.
fn find<'h>(
    history: &'h RevisionHistory,
    number: &str,
) -> Result<(&'h ModuleRevision, Option<&'h ModuleRevision>), ApiError> {
    let id: RevisionId = number.parse().map_err(|_| ApiError::NotFound)?;
    let found = history.with_id(id).or_else(|| {
        let as_of = history.as_of(RevisionMoment::Document(id.document)).ok()??;
        history.with_id(as_of.id()).filter(|_| !id.is_expiry)
    });
    found.ok_or(ApiError::NotFound)
}

fn revision_view(history: &RevisionHistory, revision: &ModuleRevision) -> Value {
    let before = history.with_id(revision.id()).and_then(|(_, before)| before);
    let mut view = json!({
        "id": revision.id().to_string(),
        "key": revision.key,
        "app": revision.app,
        "type": revision.module_type,
        "static": revision.installation.is_none(),
        "registryRevision": revision.document,
        "state": revision.state,
        "events": revision.events(),
    });
    insert_some(&mut view, "since", rfc3339(revision.at_ms));
    insert_some(&mut view, "installation", revision.installation.as_ref());
    insert_some(&mut view, "door", revision.api);
    insert_some(&mut view, "revision", revision.revision);
    insert_some(&mut view, "reason", revision.state.reason());
    insert_some(&mut view, "repaired", revision.repaired.then_some(true));
    let is_known = before.is_some() || history.is_complete;
    insert_some(&mut view, "change", is_known.then(|| change_name(before, revision)));
    view
}

/// Says in a word what a revision changed.
fn change_name(before: Option<&ModuleRevision>, revision: &ModuleRevision) -> &'static str {
    let before = before.filter(|before| before.state != RevisedState::Deleted);
    match (before, revision.state) {
        (_, RevisedState::Deleted) => "removed",
        (None, _) => "registered",
        (Some(before), state) if before.state == state => "changed",
        (Some(_), RevisedState::On) => "resumed",
        (Some(_), state) => state.as_str(),
    }
}
