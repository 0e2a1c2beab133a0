//! Operator endpoint for problems of the registry: the documents that this replica cannot read.

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::list::{next_cursor, page_params, page_view};
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::state::{Shared, route};
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
    let later = documents.iter().filter(|one| after.as_deref().is_none_or(|key| *one.key > *key));
    let keys: Vec<&str> = later.clone().take(limit + 1).map(|one| one.key.as_str()).collect();
    let items = later.take(limit).map(|document| view(document)).collect();
    Ok(Json(page_view(items, next_cursor(&keys, limit, |key| key))))
}

fn view(document: &UnreadableDocument) -> Value {
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
