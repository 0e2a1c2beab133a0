//! An endpoint as JSON: its breaker in words, when it is attempted next, what waits for it, its latency and
//! its last failure.

use serde_json::{Value, json};

use super::known_endpoints::KnownEndpoint;
use crate::api::json::{insert_some, rfc3339};
use crate::api::state::Shared;
use crate::clock;
use crate::delivery::{BreakerScope, BreakerState, Dispatcher, LaneFailure, LaneStatus, Tripped};

/// Subscriptions of an endpoint that are named.
const NAMED_MAX: usize = 20;

/// The state of an endpoint on this replica.
pub(super) struct EndpointState {
    lane: Option<LaneStatus>,
    /// Deliveries that are parked for it, over all replicas.
    parked: u64,
    is_disabled: bool,
    is_paused: bool,
}

impl EndpointState {
    /// Every name of a state.
    pub(super) const NAMES: [&str; 6] =
        ["closed", "half_open", "open", "idle", "paused", "disabled"];

    /// Reads the state of an endpoint.
    pub(super) fn of(state: &Shared, endpoint: &KnownEndpoint) -> Self {
        let operations = &state.operations;
        let first = endpoint.live.first();
        let owner = first.map(|one| Dispatcher::owner_of(one));
        Self {
            lane: first.and_then(|one| operations.dispatcher.endpoint_status(one)),
            parked: owner.map_or(0, |owner| operations.shares.parked_at(&owner)),
            is_disabled: endpoint.live.is_empty(),
            is_paused: first.is_some()
                && endpoint.live.iter().all(|one| one.owner.settings.is_paused),
        }
    }

    /// Returns its name.
    pub(super) fn name(&self) -> &'static str {
        match &self.lane {
            _ if self.is_disabled => "disabled",
            Some(lane) => match lane.breaker.state {
                BreakerState::Open => "open",
                BreakerState::HalfOpen => "half_open",
                BreakerState::Closed if self.is_paused => "paused",
                BreakerState::Closed => "closed",
            },
            None if self.is_paused => "paused",
            None => "idle",
        }
    }

    /// Whether deliveries to it fail: it is disabled, its breaker is not closed, or its last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        let Some(lane) = &self.lane else { return self.is_disabled };
        let failed_last = lane.last_failure.as_ref().map(|last| last.at_ms) > lane.last_success_ms;
        self.is_disabled || lane.breaker.state != BreakerState::Closed || failed_last
    }

    /// Says in one sentence what happens to deliveries.
    fn explanation(&self) -> String {
        let lane = match &self.lane {
            _ if self.is_disabled => {
                return "it answered HTTP 410 repeatedly, so its modules are disabled".to_owned();
            }
            None if self.is_paused => return "its subscriptions are paused".to_owned(),
            None => return "no delivery to it in the last minute".to_owned(),
            Some(lane) => lane,
        };
        let scope = match lane.breaker.scope {
            BreakerScope::Endpoint => "this endpoint",
            BreakerScope::App => "all endpoints of the app at its host",
            BreakerScope::Host => "all apps at its host",
        };
        match (lane.breaker.state, next_attempt_in_s(lane)) {
            (BreakerState::Closed, _) => "deliveries are attempted".to_owned(),
            (BreakerState::Open, Some(seconds)) => format!(
                "deliveries to {scope} are parked without an attempt; a probe is admitted in {seconds} s"
            ),
            (BreakerState::Open, None) => {
                format!("deliveries to {scope} are parked; the next one is the probe")
            }
            (BreakerState::HalfOpen, _) => {
                format!("one probe at a time finds out whether {scope} recovered")
            }
        }
    }
}

/// Renders an endpoint.
pub(super) fn endpoint_view(endpoint: &KnownEndpoint, state: &EndpointState) -> Value {
    let record = &endpoint.installation.record;
    let keys = endpoint.live.iter().map(|one| &one.key).chain(&endpoint.disabled);
    let mut view = json!({
        "id": endpoint.id,
        "installation": record.id,
        "app": record.app,
        "cloudId": record.cloud_id,
        "address": endpoint.key.endpoint,
        "host": endpoint.key.host,
        "state": state.name(),
        "failing": state.is_failing(),
        "explanation": state.explanation(),
        "parked": state.parked,
        "subscriptions": endpoint.live.len() + endpoint.disabled.len(),
        "keys": keys.take(NAMED_MAX).collect::<Vec<_>>(),
    });
    let Some(lane) = &state.lane else { return view };
    insert_some(&mut view, "attempts", Some(lane.attempts));
    insert_some(&mut view, "failedAttempts", Some(lane.failed));
    insert_some(&mut view, "averageMs", lane.average_us.map(milliseconds));
    insert_some(&mut view, "shortestMs", lane.shortest_us.map(milliseconds));
    insert_some(&mut view, "lastFailure", lane.last_failure.as_ref().map(failure_view));
    insert_some(&mut view, "lastSuccess", lane.last_success_ms.and_then(rfc3339));
    insert_some(&mut view, "breaker", lane.breaker.tripped.map(|one| breaker_view(lane, one)));
    if let Some(seconds) = next_attempt_in_s(lane) {
        let at_ms = clock::now_ms().saturating_add(seconds.saturating_mul(1_000));
        insert_some(&mut view, "nextAttemptAt", rfc3339(at_ms));
    }
    view
}

/// Renders a breaker that is not closed.
fn breaker_view(lane: &LaneStatus, tripped: Tripped) -> Value {
    let since_ms = clock::now_ms() - clock::uptime_ms().saturating_sub(tripped.since_ms);
    json!({
        "scope": lane.breaker.scope.label(),
        "since": rfc3339(since_ms),
        "cause": tripped.cause.label(),
    })
}

fn failure_view(failure: &LaneFailure) -> Value {
    json!({ "class": failure.class, "detail": failure.detail, "at": rfc3339(failure.at_ms) })
}

fn next_attempt_in_s(lane: &LaneStatus) -> Option<i64> {
    let wait_ms = lane.breaker.next_attempt_ms?.saturating_sub(clock::uptime_ms());
    Some(wait_ms.max(0).saturating_add(999) / 1_000)
}

/// Microseconds as milliseconds with one digit.
#[expect(clippy::cast_precision_loss, reason = "a duration for people")]
fn milliseconds(us: u64) -> f64 {
    (us as f64 / 100.0).round() / 10.0
}
