//! Operator endpoint that lists the webhooks of a site that map to no event.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::openapi::{Unavailable, route};
use crate::api::schema::UnmappedNames;
use crate::api::state::Shared;
use crate::domain::CloudId;
use crate::event::unmapped;

/// Maximum number of names in a response.
const NAMES_MAX: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(unmapped_names))
}

/// Lists the names of webhooks of a site that map to no event.
#[utoipa::path(
    get, path = "/sites/{id}/unmapped", operation_id = "listUnmappedNames",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The names.", body = UnmappedNames), Unavailable)
)]
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
