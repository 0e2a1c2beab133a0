//! Operator endpoint for the encryption of stored secrets: its state, and rewriting.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::json::insert_some;
use crate::api::openapi::route;
use crate::api::schema::Encryption;
use crate::api::state::Shared;
use crate::registry::{EncryptionStatus, KeyId};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(show, rewrite))
}

/// Shows how stored secrets are encrypted.
#[utoipa::path(
    get, path = "/encryption", operation_id = "getEncryption",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The state.", body = Encryption))
)]
async fn show(State(state): State<Shared>) -> Json<Value> {
    Json(view(&state.registry.encryption().status()))
}

/// Starts to rewrite what is not encrypted with the current key.
#[utoipa::path(
    post, path = "/encryption", operation_id = "rewriteSecrets",
    security(("operatorToken" = ["admin"])),
    responses((status = 202, description = "It is started.", body = Encryption))
)]
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
