//! Operator endpoint for problems of this replica: what fails now, documents that it cannot read, installations whose
//! events are postponed because their filters cost too much, sites whose webhooks are refused, and modules
//! that are never delivered, have no owner or have warnings. The broker is not asked.

mod incidents;
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
use crate::api::query_params::{QueryParams, encode_cursor};
use crate::api::schema::{Page, PageParams, RouterProblem};
use crate::api::state::Shared;
use crate::domain::InstallationId;
use crate::matcher::ExceededShare;
use crate::recovery::doctor::{Subject, SubjectKind};
use crate::registry::UnreadableDocument;

/// How keys of documents of installations and apps begin.
const INSTALLATION: &str = "inst.";
const APP: &str = "app.";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(list))
}

/// Lists the problems of this replica.
///
/// First what fails now, the worst first; then other problems that are few, sorted by key, and those of installations in
/// the order of their ids. A page may have fewer problems than it was asked for. The broker is not asked.
#[utoipa::path(
    get, path = "/problems", operation_id = "listProblems",
    params(PageParams, ("installation" = Option<String>, Query, description = "Only those of an installation.")),
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "A page of problems.", body = Page<RouterProblem>))
)]
async fn list(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let (after, limit) = page_params(query.as_deref())?;
    let only = viewer.own().map(InstallationId::as_str).or(params.get("installation"));
    let after = after.as_deref();
    let after_installation = after.and_then(modules::installation_of_key);
    let mut items = Vec::new();
    if after_installation.is_none() {
        let mut few = incidents::list(&state, only).await;
        few.extend(few_problems(&state, only));
        few.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let is_last = few.len() <= limit;
        few.truncate(limit);
        let last = few.last().map(|(key, _)| key.clone());
        items.extend(few.into_iter().map(|(_, view)| view));
        if !is_last {
            return Ok(Json(page_view(items, last.map(|key| encode_cursor(&key)))));
        }
    }
    if let Some(only) = only {
        items.extend(after_installation.is_none().then(|| modules::of_one(&state, only)).flatten());
        return Ok(Json(page_view(items, None)));
    }
    let (found, next) = modules::of_installations(&state, after_installation, limit - items.len());
    items.extend(found);
    Ok(Json(page_view(items, next.map(|key| encode_cursor(&key)))))
}

/// Returns the problems of documents, sites and apps with their keys, sorted; or the ones among them of one
/// installation. There are as many as unreadable documents, apps, and sites that are counted one by one.
fn few_problems(state: &Shared, only: Option<&str>) -> Vec<(String, Value)> {
    let documents = state.registry.unreadable_documents();
    let documents = documents
        .iter()
        .filter(|one| only.is_none_or(|only| installation_of(one) == Some(only)))
        .map(|one| (one.key.clone(), unreadable(one)));
    let exceeded = state.matcher.shares().exceeded();
    let exceeded = exceeded
        .iter()
        .filter(|one| only.is_none_or(|only| one.installation.as_str() == only))
        .map(|one| (exceeded_key(one), share_exceeded(one)));
    let mut problems: Vec<(String, Value)> = documents.chain(exceeded).collect();
    if only.is_none() {
        let refused = state.refusals.refused_sites();
        problems.extend(refused.iter().map(|one| (refused_key(one), webhooks_refused(one))));
        problems.extend(modules::of_apps(state));
    }
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
        "subjects": [
            Subject::new(SubjectKind::Installation, exceeded.installation.as_str()),
            Subject::new(SubjectKind::Site, exceeded.site.as_str()),
        ],
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
        "subjects": [Subject::new(SubjectKind::Site, refused.site.as_str())],
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
        "subjects": subjects_of(document),
    });
    insert_some(&mut view, "id", document.id.as_ref());
    insert_some(&mut view, "app", document.app.as_ref());
    insert_some(&mut view, "cloudId", document.site.as_ref());
    view
}

/// Returns the installation that a document is of.
fn installation_of(document: &UnreadableDocument) -> Option<&str> {
    document.key.starts_with(INSTALLATION).then_some(document.id.as_deref()).flatten()
}

fn subjects_of(document: &UnreadableDocument) -> Vec<Subject> {
    let UnreadableDocument { key, id, app, site, .. } = document;
    let own = match id {
        Some(id) if key.starts_with(INSTALLATION) => {
            Some(Subject::new(SubjectKind::Installation, id))
        }
        Some(id) if key.starts_with(APP) => Some(Subject::new(SubjectKind::App, id)),
        _ => None,
    };
    let app = app.as_ref().map(|app| Subject::new(SubjectKind::App, app.as_str()));
    let site = site.as_ref().map(|site| Subject::new(SubjectKind::Site, site.as_str()));
    own.into_iter().chain(app).chain(site).collect()
}
