//! Operator endpoint that lists the webhooks of a site that map to no event.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::state::{Shared, route};
use crate::domain::CloudId;
use crate::event::unmapped;

/// Maximum number of names in a response.
const NAMES_MAX: usize = 1_000;

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/sites/{id}/unmapped", &get(unmapped_names))
}

/// Lists the names with the number of their events in the stream, the most frequent first. `other` is
/// the number of events of names beyond those that a site may have.
async fn unmapped_names(
    State(state): State<Shared>,
    PathId(site): PathId,
) -> Result<Json<Value>, ApiError> {
    let found = state.unmapped_webhooks.list(&CloudId::from(site), NAMES_MAX).await;
    let found = found.map_err(ApiError::Unavailable)?;
    let items = found.names.iter().map(|(name, count)| {
        json!({"name": name, "count": count, "eventType": format!("{}{name}", unmapped::PREFIX)})
    });
    let items: Vec<Value> = items.collect();
    Ok(Json(json!({"items": items, "other": found.other, "truncated": found.is_cut})))
}
