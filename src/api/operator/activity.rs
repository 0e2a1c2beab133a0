//! Operator endpoint for what became of the deliveries of one subscription over time, from the delivery log.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::{read_time, wrong};
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::{Activity, ActivityParams};
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::{LogPage, LogQuery, StoredDelivery};
use crate::domain::SubscriptionId;

/// Length of a bucket.
const BUCKET_MS: i64 = 5 * 60_000;
/// How far back the answer goes without a time.
const SINCE_MS: i64 = 3_600_000;
/// How far it goes at most.
const SINCE_MS_MAX: i64 = 24 * 3_600_000;
/// Most records of deliveries that are read, the newest ones.
const RECORDS_MAX: usize = 5_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(show))
}

/// Shows what became of the deliveries of a subscription in buckets of five minutes, for a day at most. The newest 5,000
/// records are read, for three seconds at most; `complete` says whether there are no more.
#[utoipa::path(
    get, path = "/subscriptions/{id}/activity", operation_id = "getSubscriptionActivity", params(ActivityParams),
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The buckets, oldest first.", body = Activity), Conflict, Unavailable)
)]
async fn show(
    State(state): State<Shared>,
    viewer: Viewer,
    PathId(text): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let id = SubscriptionId::parse(&text).ok_or(ApiError::NotFound)?;
    let installation = state.registry.installation(id.installation.as_str());
    let installation = installation.ok_or(ApiError::NotFound)?;
    installation.module(id.key.as_str()).ok_or(ApiError::NotFound)?;
    let params = QueryParams::parse(query.as_deref());
    let now_ms = clock::broker_now_ms();
    let since_ms = read_since(&params, now_ms)?;
    let query = LogQuery {
        // The subjects of the log name sites.
        site: Some(installation.record.cloud_id.clone()),
        subscription: Some(id),
        since_ms: Some(since_ms),
        ..LogQuery::default()
    };
    let page = state.delivery_log.list(&query, None, RECORDS_MAX).await?;
    Ok(Json(viewer.trimmed(view(&page, &text, (since_ms, now_ms)))))
}

fn read_since(params: &QueryParams, now_ms: i64) -> Result<i64, ApiError> {
    let Some(text) = params.get("since") else { return Ok(now_ms.saturating_sub(SINCE_MS)) };
    let since_ms = read_time("since", text)?;
    // A day ago, as a client with another clock says it.
    if since_ms < now_ms.saturating_sub(SINCE_MS_MAX + BUCKET_MS) {
        let message = "at most 24 h: `GET /admin/v1/deliveries` has earlier records".to_owned();
        return Err(wrong("since", message));
    }
    Ok(since_ms.min(now_ms))
}

fn view(page: &LogPage, id: &str, (since_ms, now_ms): (i64, i64)) -> Value {
    let first = since_ms.div_euclid(BUCKET_MS);
    let count = usize::try_from(now_ms.div_euclid(BUCKET_MS) - first + 1).unwrap_or(1);
    let mut buckets: Vec<Bucket> = (0..count).map(|_| Bucket::default()).collect();
    let mut all = Bucket::default();
    for item in &page.items {
        let Some(delivery) = item.delivery() else { continue };
        // Clocks of brokers differ by some milliseconds.
        let at = usize::try_from(item.recorded_ms.div_euclid(BUCKET_MS) - first).unwrap_or(0);
        if let Some(bucket) = buckets.get_mut(at.min(count - 1)) {
            bucket.add(delivery);
        }
        all.add(delivery);
    }
    let starts = (first..).map(|number| number.saturating_mul(BUCKET_MS));
    let items = buckets.into_iter().zip(starts).map(|(bucket, start_ms)| {
        let mut view = bucket.view();
        insert_some(&mut view, "time", rfc3339(start_ms));
        view
    });
    let is_complete = page.next.is_none();
    let own = json!({
        "id": id,
        "bucketSeconds": BUCKET_MS / 1_000,
        "buckets": items.collect::<Vec<_>>(),
        "complete": is_complete,
        "scanned": page.scanned,
    });
    // The sums of all buckets are members of the answer itself.
    let mut answer = all.view();
    if let (Value::Object(answer), Value::Object(own)) = (&mut answer, own) {
        answer.extend(own);
    }
    insert_some(&mut answer, "since", rfc3339(since_ms));
    let oldest_ms = page.items.last().map(|item| item.recorded_ms);
    let read_to_ms = page.examined_until_ms.or(oldest_ms).filter(|_| !is_complete);
    insert_some(&mut answer, "examinedUntil", read_to_ms.and_then(rfc3339));
    answer
}

/// What became of the deliveries of some time.
#[derive(Default)]
struct Bucket {
    delivered: u64,
    /// Attempts that failed and are made again.
    failed: u64,
    parked: u64,
    dead: u64,
    other: u64,
    /// How long attempts took, in milliseconds.
    took_ms: Vec<f64>,
}

impl Bucket {
    fn add(&mut self, delivery: &StoredDelivery) {
        let count = match delivery.outcome.as_str() {
            "delivered" => &mut self.delivered,
            "parked" => &mut self.parked,
            "dead" => &mut self.dead,
            _ => &mut self.other,
        };
        *count += 1;
        // A class is that of an attempt which was made.
        self.failed += u64::from(delivery.class.is_some() && delivery.outcome == "parked");
        self.took_ms.extend(delivery.took_ms);
    }

    fn view(mut self) -> Value {
        self.took_ms.sort_by(f64::total_cmp);
        let mut view = json!({
            "delivered": self.delivered,
            "failed": self.failed,
            "parked": self.parked,
            "dead": self.dead,
            "other": self.other,
        });
        insert_some(&mut view, "medianMs", quantile(&self.took_ms, 50));
        insert_some(&mut view, "p95Ms", quantile(&self.took_ms, 95));
        view
    }
}

/// Returns the value that `percent` of the sorted values do not exceed; none without values.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::{LogPosition, LoggedDelivery, StoredRecord};

    fn logged(at_ms: i64, outcome: &str, took_ms: Option<f64>) -> LoggedDelivery {
        let mut delivery = json!({"installation": "i", "key": "k", "from": "new", "outcome": outcome,
            "attempt": 1});
        if let Some(took_ms) = took_ms {
            insert_some(&mut delivery, "took_ms", Some(took_ms));
            insert_some(
                &mut delivery,
                "class",
                Some(if outcome == "delivered" { "2xx" } else { "5xx" }),
            );
        }
        let record = json!({"v": 1, "router": "r", "started_ms": 0, "source": "event",
            "event": {"id": "e", "site": "s", "type": "t", "sequence": 1}, "deliveries": [delivery]});
        let record: StoredRecord = serde_json::from_value(record).unwrap();
        let position = LogPosition { sequence: 1, entry: 0 };
        LoggedDelivery { position, recorded_ms: at_ms, record: Arc::new(record) }
    }

    #[test]
    fn deliveries_are_counted_in_the_bucket_of_their_time() {
        let (start_ms, now_ms) = (10 * BUCKET_MS, 12 * BUCKET_MS + 1);
        let items = vec![
            logged(now_ms, "delivered", Some(30.0)),
            logged(now_ms - 1, "delivered", Some(10.0)),
            logged(11 * BUCKET_MS, "parked", Some(500.0)),
            logged(11 * BUCKET_MS - 1, "parked", None),
            logged(start_ms, "dead", Some(7.0)),
        ];
        let page = LogPage { items, scanned: 9, ..LogPage::default() };
        let found = view(&page, "i/k", (start_ms, now_ms));
        let items = found["buckets"].as_array().unwrap();
        assert_eq!(items.len(), 3, "{found}");
        let of = |at: usize, name: &str| items[at][name].clone();
        let counts = ["delivered", "parked", "dead", "failed"];
        assert_eq!(counts.map(|name| of(0, name)), [0, 1, 1, 0].map(Value::from));
        assert_eq!(counts.map(|name| of(1, name)), [0, 1, 0, 1].map(Value::from));
        assert_eq!(counts.map(|name| of(2, name)), [2, 0, 0, 0].map(Value::from));
        assert_eq!((of(2, "medianMs"), of(2, "p95Ms")), (json!(10.0), json!(30.0)));
        assert_eq!(found["parked"], 2);
        assert_eq!((&found["complete"], &found["scanned"]), (&json!(true), &json!(9)));
        let next = Some(LogPosition { sequence: 1, entry: 0 });
        let cut = view(&LogPage { next, ..page }, "i/k", (start_ms, now_ms));
        assert_eq!(cut["complete"], false);
        assert!(cut["examinedUntil"].is_string(), "{cut}");
    }

    #[test]
    fn quantile_is_a_value_that_was_measured() {
        let sorted: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!((quantile(&sorted, 50), quantile(&sorted, 95)), (Some(10.0), Some(19.0)));
        assert_eq!((quantile(&[4.0], 95), quantile(&[], 50)), (Some(4.0), None));
    }
}
