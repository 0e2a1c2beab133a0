//! Operator endpoint for problems of this replica: documents that it cannot read, installations whose
//! events are postponed because their filters cost too much, sites whose webhooks are refused, and modules
//! that are never delivered, have no owner or have warnings.

mod modules;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list::{page_params, page_view};
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::ingest::RefusedSite;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::route;
use crate::api::query_params::encode_cursor;
use crate::api::schema::{Page, PageParams, RouterProblem};
use crate::api::state::Shared;
use crate::domain::InstallationId;
use crate::matcher::ExceededShare;
use crate::registry::UnreadableDocument;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(list))
}

/// Lists the problems of this replica.
///
/// First those that are few, sorted by key, then those of installations in the order of their ids. A page may
/// have fewer problems than it was asked for.
#[utoipa::path(
    get, path = "/problems", operation_id = "listProblems", params(PageParams),
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "A page of problems.", body = Page<RouterProblem>))
)]
async fn list(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = page_params(query.as_deref())?;
    if let Some(own) = viewer.own() {
        return Ok(Json(page_view(of_installation(&state, own), None)));
    }
    let after = after.as_deref();
    let after_installation = after.and_then(modules::installation_of_key);
    let mut items = Vec::new();
    if after_installation.is_none() {
        let mut few = few_problems(&state);
        few.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let is_last = few.len() <= limit;
        few.truncate(limit);
        let last = few.last().map(|(key, _)| key.clone());
        items.extend(few.into_iter().map(|(_, view)| view));
        if !is_last {
            return Ok(Json(page_view(items, last.map(|key| encode_cursor(&key)))));
        }
    }
    let (found, next) = modules::of_installations(&state, after_installation, limit - items.len());
    items.extend(found);
    Ok(Json(page_view(items, next.map(|key| encode_cursor(&key)))))
}

/// Returns the problems of one installation: its modules, and its share of evaluation.
fn of_installation(state: &Shared, own: &InstallationId) -> Vec<Value> {
    let exceeded = state.matcher.shares().exceeded();
    let exceeded = exceeded.iter().filter(|one| one.installation == *own).map(share_exceeded);
    exceeded.chain(modules::of_one(state, own)).collect()
}

/// Returns the problems of documents, sites and apps with their keys, sorted. There are as many as
/// unreadable documents, apps, and sites that are counted one by one.
fn few_problems(state: &Shared) -> Vec<(String, Value)> {
    let documents = state.registry.unreadable_documents();
    let documents = documents.iter().map(|one| (one.key.clone(), unreadable(one)));
    let exceeded = state.matcher.shares().exceeded();
    let exceeded = exceeded.iter().map(|one| (exceeded_key(one), share_exceeded(one)));
    let refused = state.refusals.refused_sites();
    let refused = refused.iter().map(|one| (refused_key(one), webhooks_refused(one)));
    let mut problems: Vec<(String, Value)> = documents.chain(exceeded).chain(refused).collect();
    problems.extend(modules::of_apps(state));
    problems.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    problems
}

/// The key of the problem in the list.
fn exceeded_key(exceeded: &ExceededShare) -> String {
    format!("evaluation.{}", exceeded.installation.token())
}

fn share_exceeded(exceeded: &ExceededShare) -> Value {
    json!({
        "kind": "evaluation_share_exceeded",
        "key": exceeded_key(exceeded),
        "id": exceeded.installation,
        "app": exceeded.app,
        "cloudId": exceeded.site,
        "since": rfc3339(exceeded.since_ms),
        "postponedEvents": exceeded.events,
        "stepsPerEvent": exceeded.steps_per_event,
        "stepsPerSecondMax": exceeded.steps_per_second,
        "reason": "the filters of the installation cost more than limits.evaluation_share allows; \
            its events are evaluated later",
    })
}

fn refused_key(refused: &RefusedSite) -> String {
    format!("ingest.{}", refused.site)
}

fn webhooks_refused(refused: &RefusedSite) -> Value {
    let counted = |(reason, count): &(&str, u64)| ((*reason).to_owned(), Value::from(*count));
    let reasons: Map<String, Value> = refused.reasons.iter().map(counted).collect();
    json!({
        "kind": "webhooks_refused",
        "key": refused_key(refused),
        "cloudId": refused.site,
        "since": rfc3339(refused.since_ms),
        "lastRefused": rfc3339(refused.last_ms),
        "refused": reasons,
        "reason": "webhooks of the site are refused and its events are lost, unless it sends them again",
    })
}

fn unreadable(document: &UnreadableDocument) -> Value {
    let UnreadableDocument { key, revision, reason, since_ms, .. } = document;
    let mut view = json!({
        "kind": "unreadable_document",
        "key": key,
        "revision": revision,
        "reason": reason,
        "since": rfc3339(*since_ms),
    });
    insert_some(&mut view, "id", document.id.as_ref());
    insert_some(&mut view, "app", document.app.as_ref());
    insert_some(&mut view, "cloudId", document.site.as_ref());
    view
}
