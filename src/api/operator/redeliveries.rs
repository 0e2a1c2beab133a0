//! Operator endpoint that sends one delivery again: a replay of its event for its subscription.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::{Lookup, attempts_of, look_up};
use super::replays::replay_one;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{CursorParams, DeliveryParams, Redelivery};
use crate::api::state::Shared;
use crate::domain::DeliveryId;

/// Members of the job that are shown to callers of one installation: others are about all events.
const SHOWN_OF_JOB: [&str; 4] = ["id", "kind", "state", "createdAt"];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(redeliver))
}

/// Sends a delivery again under its id, by a replay job of one event. The subscription is matched again, as the
/// filter is now. A delivery that waits for its next attempt is left (`skipped_pending`).
///
/// Without `event`, `site` or `installation` the whole log is searched, and the answer may have a cursor to
/// continue at instead of a job.
#[utoipa::path(
    post, path = "/deliveries/{id}/redeliver", operation_id = "redeliver",
    security(("operatorToken" = ["operate", "installation"])),
    params(CursorParams, DeliveryParams,
        ("event" = Option<String>, Query, description = "Its event, which makes it found at once.")),
    responses((status = 200, description = "The search continues at the cursor.", body = Redelivery),
        (status = 202, description = "It is sent again.", body = Redelivery), Conflict, Unavailable)
)]
async fn redeliver(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let id = DeliveryId::from_record(&id);
    let history = match look_up(&state, &viewer, &params, &id).await? {
        Lookup::Found(history) => history,
        Lookup::Later(answer) => return Ok((StatusCode::OK, Json(answer))),
    };
    let attempts = attempts_of(&history, &viewer, &id);
    let last = attempts.last().ok_or(ApiError::NotFound)?;
    let delivery = last.delivery().ok_or(ApiError::NotFound)?;
    let subscription = delivery.subscription();
    if let Some(own) = viewer.own() {
        // Jobs are few, and operators need them.
        state.registry.check_rate_limit(own)?;
    }
    let mut job = replay_one(&state, &subscription, last.record.event.sequence).await?;
    if let (false, Value::Object(members)) = (viewer.is_operator(), &mut job) {
        members.retain(|name, _| SHOWN_OF_JOB.contains(&name.as_str()));
    }
    let answer = json!({
        "id": id.as_str(),
        "subscription": subscription.to_string(),
        "outcome": delivery.outcome,
        "job": job,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}
