//! Operator endpoint for the encryption of stored secrets: its state, and rewriting.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use crate::api::json::insert_some;
use crate::api::state::{Shared, route};
use crate::registry::{EncryptionStatus, KeyId};

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/encryption", &get(show).post(rewrite))
}

async fn show(State(state): State<Shared>) -> Json<Value> {
    Json(view(&state.registry.encryption().status()))
}

/// Starts to rewrite what is not encrypted with the current key.
async fn rewrite(State(state): State<Shared>) -> (StatusCode, Json<Value>) {
    let registry = Arc::clone(&state.registry);
    tokio::spawn(async move { registry.encryption().rewrite().await });
    (StatusCode::ACCEPTED, show(State(state)).await)
}

fn view(status: &EncryptionStatus) -> Value {
    let with_key = status.with_key.iter().map(|(id, count)| (id.to_string(), json!(count)));
    let rewriting = &status.rewriting;
    let mut progress = json!({"running": rewriting.is_running, "total": rewriting.total,
        "done": rewriting.done, "failed": rewriting.failed});
    insert_some(&mut progress, "error", rewriting.error.as_ref());
    json!({
        "keys": status.keys.iter().map(KeyId::as_str).collect::<Vec<_>>(),
        "writesWith": status.writes_with.as_ref().map(KeyId::as_str),
        "documents": {"inClear": status.in_clear, "withKey": with_key.collect::<Map<_, _>>(),
            "outdated": status.outdated, "unreadable": status.unreadable},
        "rewriting": progress,
    })
}
