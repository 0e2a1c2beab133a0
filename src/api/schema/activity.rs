//! What became of the deliveries of a subscription over time.

use utoipa::{IntoParams, ToSchema};

use super::common::Time;

/// The deliveries of a subscription, in buckets of five minutes.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Activity {
    /// `<installation>/<key>`.
    id: String,
    since: Option<Time>,
    bucket_seconds: u64,
    /// The buckets, oldest first; also those without deliveries.
    buckets: Vec<ActivityBucket>,
    /// Of all buckets, as the other counts here.
    delivered: u64,
    failed: u64,
    parked: u64,
    dead: u64,
    other: u64,
    median_ms: Option<f64>,
    p95_ms: Option<f64>,
    /// Whether all records were read, and not only the newest ones.
    complete: bool,
    /// Records of the log that were read.
    scanned: u64,
    /// How far back records were read, if not all were.
    examined_until: Option<Time>,
}

/// Deliveries that were recorded in five minutes.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct ActivityBucket {
    /// When it begins.
    time: Option<Time>,
    delivered: u64,
    /// Attempts that failed and are made again.
    failed: u64,
    /// Parked, after an attempt or without one.
    parked: u64,
    /// Dead-lettered.
    dead: u64,
    /// Dropped or removed.
    other: u64,
    /// Median of how long attempts took; absent without attempts.
    median_ms: Option<f64>,
    p95_ms: Option<f64>,
}

/// Parameters of the activity of a subscription.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ActivityParams {
    /// Recorded from then on: RFC 3339, an age such as `2h`, or milliseconds since the epoch; an hour by default, a day
    /// at most.
    since: Option<String>,
}
