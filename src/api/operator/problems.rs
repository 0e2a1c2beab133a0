//! Operator endpoint for problems of this replica: documents that it cannot read, and installations
//! whose events are postponed because their filters cost too much.

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::list::{next_cursor, page_params, page_view};
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::state::{Shared, route};
use crate::matcher::ExceededShare;
use crate::registry::UnreadableDocument;

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/problems", &get(list))
}

async fn list(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = page_params(query.as_deref())?;
    let documents = state.registry.unreadable_documents();
    let documents = documents.iter().map(|one| (one.key.clone(), unreadable(one)));
    let exceeded = state.matcher.shares().exceeded();
    let exceeded = exceeded.iter().map(|one| (exceeded_key(one), share_exceeded(one)));
    let mut problems: Vec<(String, Value)> = documents.chain(exceeded).collect();
    problems.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    problems.retain(|(key, _)| after.as_deref().is_none_or(|after| key.as_str() > after));
    let keys: Vec<String> = problems.iter().take(limit + 1).map(|(key, _)| key.clone()).collect();
    let items = problems.into_iter().take(limit).map(|(_, view)| view).collect();
    Ok(Json(page_view(items, next_cursor(&keys, limit, |key| key))))
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
