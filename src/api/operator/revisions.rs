//! Operator endpoints for the revisions of subscriptions: what filter, events and state were.

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::extract::{PathId, PathIds};
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Gone, Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{Revision, RevisionDiff as RevisionDiffSchema, RevisionList};
use crate::api::state::Shared;
use crate::domain::SubscriptionId;
use crate::registry::{
    ModuleRevision, Problem, RevisedState, RevisionDiff, RevisionHistory, RevisionId,
    RevisionMoment, code,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list));
    let router = route(router, routes!(show));
    route(router, routes!(diff))
}

/// Lists the revisions of a subscription, newest first.
#[utoipa::path(
    get, path = "/subscriptions/{id}/revisions", operation_id = "listRevisions",
    security(("operatorToken" = ["read", "installation"])),
    params(("at" = Option<String>, Query, format = DateTime, description = "The revision in force at this time, alone.")),
    responses((status = 200, description = "The revisions.", body = RevisionList), Gone, Unavailable)
)]
async fn list(
    State(state): State<Shared>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let history = history(&state, &id).await?;
    let items: Vec<Value> = match QueryParams::parse(query.as_deref()).get("at") {
        Some(text) => {
            let time: Timestamp = text.parse().map_err(|_| {
                Problem::new(code::FORM, "at", "a time in RFC 3339, such as 2026-11-30T12:00:00Z")
            })?;
            let found = history.as_of(RevisionMoment::Time(time.as_millisecond()))?;
            found.into_iter().map(|one| view_then(&history, one)).collect()
        }
        None => history.revisions.iter().map(|one| revision_view(&history, one)).collect(),
    };
    let mut answer = json!({"items": items, "complete": history.is_complete()});
    insert_some(&mut answer, "keptSince", history.kept_since_ms().and_then(rfc3339));
    let unreadable = Some(history.unreadable).filter(|count| *count > 0);
    insert_some(&mut answer, "unreadable", unreadable);
    Ok(Json(answer))
}

/// Shows one revision with the data of the module.
///
/// A revision of the registry, such as that of a delivery, names the one in force.
#[utoipa::path(
    get, path = "/subscriptions/{id}/revisions/{n}", operation_id = "getRevision",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The revision.", body = Revision), Gone, Unavailable)
)]
async fn show(
    State(state): State<Shared>,
    PathIds(id, number): PathIds,
) -> Result<Json<Value>, ApiError> {
    let history = history(&state, &id).await?;
    let (found, is_named) = find(&history, &number)?;
    let mut view =
        if is_named { revision_view(&history, found) } else { view_then(&history, found) };
    insert_some(&mut view, "data", found.data.as_ref());
    Ok(Json(view))
}

/// Compares a revision with the one before it.
#[utoipa::path(
    get, path = "/subscriptions/{id}/revisions/{n}/diff", operation_id = "diffRevision",
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The difference.", body = RevisionDiffSchema), Gone, Unavailable)
)]
async fn diff(
    State(state): State<Shared>,
    PathIds(id, number): PathIds,
) -> Result<Json<Value>, ApiError> {
    let history = history(&state, &id).await?;
    let (found, _) = find(&history, &number)?;
    let before = history.before(found)?;
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
    if history.is_empty() { Err(ApiError::NotFound) } else { Ok(history) }
}

/// Returns the revision with an id and true, else the one in force at a revision of the registry and false.
fn find<'h>(
    history: &'h RevisionHistory,
    number: &str,
) -> Result<(&'h ModuleRevision, bool), ApiError> {
    let id: RevisionId = number.parse().map_err(|_| ApiError::NotFound)?;
    if let Some(found) = history.with_id(id) {
        return Ok((found, true));
    }
    let then = history.as_of(RevisionMoment::Document(id.document))?;
    let then = then.filter(|_| !id.is_expiry).ok_or(ApiError::NotFound)?;
    Ok((then, false))
}

/// As [`revision_view`], for the revision in force at a moment.
fn view_then(history: &RevisionHistory, revision: &ModuleRevision) -> Value {
    let mut view = revision_view(history, revision);
    let is_uncertain = history.is_end_uncertain(revision);
    insert_some(&mut view, "uncertain", is_uncertain.then_some(true));
    view
}

fn revision_view(history: &RevisionHistory, revision: &ModuleRevision) -> Value {
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
    let change = history.before(revision).ok().map(|before| change_name(before, revision));
    insert_some(&mut view, "change", change);
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
