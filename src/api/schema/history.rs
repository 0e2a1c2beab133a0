//! What a replica did in the last hour.

use utoipa::{IntoParams, ToSchema};

use super::common::Time;
use super::inspection::ReplicaName;

/// What a replica did, in intervals of ten seconds.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct History {
    /// The intervals, oldest first; at most an hour of them.
    samples: Vec<HistorySample>,
    /// Length of an interval.
    interval_seconds: u64,
    now: HistoryNow,
    totals: HistoryCounts,
    replica: ReplicaName,
}

/// An interval: its rates, each a second, and the state at its end.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct HistorySample {
    /// Its end.
    time: Option<Time>,
    /// Its length, which is longer than usual if the machine was busy.
    seconds: f64,
    /// Events that the broker delivered to this replica for the first time.
    events: f64,
    /// Matches of them.
    matches: f64,
    /// Deliveries that ended in success.
    delivered: f64,
    failed_attempts: f64,
    /// Times that deliveries were parked.
    parked: f64,
    /// Dead letters that this replica wrote.
    dead: f64,
    /// What the rates are of.
    counts: HistoryCounts,
    broker: HistoryBroker,
    /// Events that are not acknowledged, over all replicas.
    lag: Option<u64>,
    /// Age of the oldest of them.
    lag_seconds: Option<u64>,
    /// Parked deliveries, over all replicas.
    parked_now: u64,
    /// Stored dead letters.
    dead_letters: u64,
}

/// The state of a replica, and its rates over the last ten seconds or so; just after the start without rates.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct HistoryNow {
    time: Option<Time>,
    /// The time that the rates are over.
    seconds: Option<f64>,
    events: Option<f64>,
    matches: Option<f64>,
    delivered: Option<f64>,
    failed_attempts: Option<f64>,
    parked: Option<f64>,
    dead: Option<f64>,
    broker: HistoryBroker,
    /// Whether the router is ready.
    ready: bool,
    /// Checks of readiness that fail.
    failing: Vec<String>,
    /// Events that are not acknowledged, over all replicas.
    lag: Option<u64>,
    /// Age of the oldest of them.
    lag_seconds: Option<u64>,
    /// Parked deliveries, over all replicas.
    parked_now: u64,
    /// Stored dead letters.
    dead_letters: u64,
}

/// The broker, as the checks of readiness see it.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum HistoryBroker {
    Ok,
    Unreachable,
    /// It answers, and confirms no writes.
    NotWriting,
    /// Another check fails.
    Failing,
}

/// Counts of an interval, or since the start of the replica.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct HistoryCounts {
    events: u64,
    matches: u64,
    delivered: u64,
    failed_attempts: u64,
    parked: u64,
    dead: u64,
}

/// Parameters of a history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct HistoryParams {
    /// Intervals that end after then: RFC 3339, or an age such as `15m`; an hour by default, which is the most.
    since: Option<String>,
}
