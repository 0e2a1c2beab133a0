//! Lists failed webhooks.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};

use super::auth::WebhookCaller;
use super::error::WebhookError;
use super::paths::{RESULTS_MAX, V3};
use crate::api::error::ApiError;
use crate::api::json::insert_some;
use crate::api::openapi::Unavailable;
use crate::api::query_params::QueryParams;
use crate::api::schema::FailedWebhooks;
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::FailedWebhook;

/// How long failed webhooks are listed, in milliseconds; the vendor's 72 hours.
const FAILED_KEPT_MS: i64 = 72 * 3600 * 1000;

/// Lists webhooks that were dead-lettered within the last three days, oldest first.
#[utoipa::path(
    get, path = "/failed", operation_id = "listFailedWebhooks",
    params(("after" = Option<i64>, Query, description = "Failures after this time, milliseconds since the epoch."),
        ("maxResults" = Option<u64>, Query, description = "Most webhooks of the page, at most 100.")),
    responses((status = 200, description = "A page of webhooks.", body = FailedWebhooks), Unavailable)
)]
pub(super) async fn list_failed(
    State(state): State<Shared>,
    caller: WebhookCaller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, WebhookError> {
    if caller.owner.client.is_some() {
        return Err(ApiError::NotAnApp.into());
    }
    let query = QueryParams::parse(query.as_deref());
    let after_ms = query.number("after")?.and_then(|after| i64::try_from(after).ok());
    let max = query.number("maxResults")?.unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
    let oldest_ms = clock::broker_now_ms().saturating_sub(FAILED_KEPT_MS);
    let after_ms = after_ms.unwrap_or(oldest_ms).max(oldest_ms);
    let record = &caller.installation.record;
    let rows = state.failed_webhooks.list(&record.app, &record.id, after_ms, max).await;
    let rows = rows.map_err(ApiError::Unavailable)?;
    let next = rows.last().map(|last| next_page_url(&state, last.failed_ms, max));
    let mut answer =
        json!({"maxResults": max, "values": Vec::from_iter(rows.iter().map(failed_view))});
    insert_some(&mut answer, "next", next);
    Ok(Json(answer))
}

fn failed_view(failed: &FailedWebhook) -> Value {
    let mut shown = json!({"id": failed.id, "url": failed.url, "failureTime": failed.failed_ms});
    insert_some(&mut shown, "body", failed.body.as_ref());
    shown
}

/// Returns the URL of the next page, which may be empty.
fn next_page_url(state: &Shared, after_ms: i64, max: usize) -> String {
    let base = &state.registry.settings().public_url;
    format!("{base}{V3}/failed?maxResults={max}&after={after_ms}")
}
