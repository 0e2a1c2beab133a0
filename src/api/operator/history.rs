//! Operator endpoint for what this replica did in the last hour, and does now.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::read_time;
use super::replica_view::replica_view;
use crate::api::error::ApiError;
use crate::api::health::Health;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::route;
use crate::api::query_params::QueryParams;
use crate::api::schema::{History as HistorySchema, HistoryParams};
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::Shares;
use crate::event::Publisher;
use crate::telemetry::history::{HISTORY_INTERVAL, Interval, Sample, Waiting};
use crate::telemetry::totals::{TOTALS, TotalCounts};

/// How far back the answer goes without a time, in milliseconds.
const SINCE_MS: i64 = 3_600_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(show))
}

/// Shows what this replica did in each interval of ten seconds, for an hour at most, and its rates now.
#[utoipa::path(
    get, path = "/history", operation_id = "getHistory", params(HistoryParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The intervals, oldest first.", body = HistorySchema))
)]
async fn show(
    State(state): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let operations = &state.operations;
    let now = sample(&*operations.publisher, &operations.health, &operations.shares);
    let since_ms = match params.get("since") {
        Some(text) => read_time("since", text)?,
        None => now.at_ms.saturating_sub(SINCE_MS),
    };
    let intervals = operations.history.intervals(since_ms);
    let answer = json!({
        "samples": intervals.iter().map(interval_view).collect::<Vec<_>>(),
        "intervalSeconds": HISTORY_INTERVAL.as_secs(),
        "now": now_view(&now, operations.history.latest(now), operations.health.failing()),
        "totals": counts_view(now.totals),
        "replica": replica_view(&state),
    });
    Ok(Json(answer))
}

/// Returns the state of this replica now.
pub(crate) fn sample(publisher: &dyn Publisher, health: &Health, shares: &Shares) -> Sample {
    let backlog = publisher.backlog();
    let (parked, dead_letters) = shares.stored();
    Sample {
        uptime_ms: clock::uptime_ms(),
        at_ms: clock::now_ms(),
        totals: TOTALS.read(),
        waiting: Waiting {
            events: backlog.map(|backlog| backlog.pending.saturating_add(backlog.unacknowledged)),
            lag_s: backlog.map(|backlog| backlog.lag_s),
            parked,
            dead_letters,
        },
        broker: health.broker_state(),
    }
}

/// Renders an interval: rates, what they are of, and the state at its end.
fn interval_view(interval: &Interval) -> Value {
    let mut view = rates_view(interval);
    insert_some(&mut view, "counts", Some(counts_view(interval.counts)));
    insert_some(&mut view, "time", rfc3339(interval.end.at_ms));
    insert_some(&mut view, "broker", Some(interval.end.broker.as_str()));
    insert_waiting(&mut view, interval.end.waiting);
    view
}

/// Renders the state now, with the rates of the last seconds.
fn now_view(now: &Sample, latest: Option<Interval>, failing: Vec<String>) -> Value {
    let mut view = latest.as_ref().map_or_else(|| json!({}), rates_view);
    insert_some(&mut view, "time", rfc3339(now.at_ms));
    insert_some(&mut view, "broker", Some(now.broker.as_str()));
    insert_some(&mut view, "ready", Some(failing.is_empty()));
    insert_some(&mut view, "failing", Some(failing));
    insert_waiting(&mut view, now.waiting);
    view
}

fn insert_waiting(view: &mut Value, waiting: Waiting) {
    insert_some(view, "lag", waiting.events);
    insert_some(view, "lagSeconds", waiting.lag_s);
    insert_some(view, "parkedNow", Some(waiting.parked));
    insert_some(view, "deadLetters", Some(waiting.dead_letters));
}

fn counts_view(counts: TotalCounts) -> Value {
    json!({
        "events": counts.events,
        "matches": counts.matched,
        "delivered": counts.delivered,
        "failedAttempts": counts.failed_attempts,
        "parked": counts.parked,
        "dead": counts.dead,
    })
}

/// Returns counts per second, with the time that they are over.
fn rates_view(interval: &Interval) -> Value {
    let TotalCounts { events, matched, delivered, failed_attempts, parked, dead } = interval.counts;
    let seconds = seconds(interval.took_ms);
    let rate = |count: u64| per_second(count, seconds);
    json!({
        "events": rate(events),
        "matches": rate(matched),
        "delivered": rate(delivered),
        "failedAttempts": rate(failed_attempts),
        "parked": rate(parked),
        "dead": rate(dead),
        "seconds": seconds,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, seconds: f64) -> f64 {
    // At once after the start.
    if seconds <= 0.0 {
        return 0.0;
    }
    (count as f64 / seconds * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
