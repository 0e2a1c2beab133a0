//! Metrics of deliveries. Labels come from closed sets only; metrics updated by every delivery are
//! resolved once.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::guard::EgressRefusal;
use super::model::{AttemptClass, AttemptOutcome, DeadLetterReason, ParkReason, Transport};
use super::queue::{OpenEndpoint, PermitUse};
use super::shares::{Amount, ShareLevel};
use crate::telemetry::names;
use crate::telemetry::totals::TOTALS;

/// Origin of a delivery as label: `live`, `retry` or `replay`.
pub(super) type LaneLabel = &'static str;

/// Transport of an attempt as label.
type Target = &'static str;

/// Metrics updated by every delivery of one dispatcher.
pub(super) struct DeliveryMetrics {
    http: TransportMetrics,
    nats: TransportMetrics,
    queued: Histogram,
    live: LaneMetrics,
    retry: LaneMetrics,
    replay: LaneMetrics,
    attempt_number: Histogram,
}

/// Successful deliveries of one origin.
struct LaneMetrics {
    delivered: Counter,
    seconds: Histogram,
}

/// Attempts over one transport.
pub(super) struct TransportMetrics {
    running: Gauge,
    seconds: Histogram,
    /// In the order of the classes.
    attempts: [Counter; AttemptClass::ALL.len()],
}

impl Default for DeliveryMetrics {
    fn default() -> Self {
        Self {
            http: TransportMetrics::of("http"),
            nats: TransportMetrics::of("nats"),
            queued: histogram!("switchyard_delivery_phase_seconds", "phase" => "queue"),
            live: LaneMetrics::of("live"),
            retry: LaneMetrics::of("retry"),
            replay: LaneMetrics::of("replay"),
            attempt_number: histogram!("switchyard_delivery_attempt_number"),
        }
    }
}

impl DeliveryMetrics {
    /// Returns the metrics of attempts over a transport.
    pub(super) fn transport(&self, transport: Transport) -> &TransportMetrics {
        match transport {
            Transport::Http => &self.http,
            Transport::Nats => &self.nats,
        }
    }

    /// Records how long a delivery waited for a permit.
    pub(super) fn queued(&self, waited: Duration) {
        self.queued.record(waited);
    }

    /// Records a successful delivery, `seconds` after it was first seen.
    pub(super) fn delivered(&self, lane: LaneLabel, attempt: u32, seconds: f64) {
        let metrics = match lane {
            "live" => &self.live,
            "replay" => &self.replay,
            _ => &self.retry,
        };
        metrics.delivered.increment(1);
        TOTALS.count_delivered();
        metrics.seconds.record(seconds);
        self.attempt_number.record(f64::from(attempt));
    }
}

impl LaneMetrics {
    fn of(lane: LaneLabel) -> Self {
        Self {
            delivered: ended("delivered", lane),
            seconds: histogram!("switchyard_delivery_end_to_end_seconds", "lane" => lane),
        }
    }
}

impl TransportMetrics {
    fn of(target: Target) -> Self {
        Self {
            running: gauge!("switchyard_deliveries_inflight", "target" => target),
            seconds: histogram!("switchyard_delivery_attempt_seconds", "target" => target),
            attempts: AttemptClass::ALL.map(|class| attempts(target, class)),
        }
    }

    /// Counts one running attempt until the guard is dropped.
    pub(super) fn running(&self) -> RunningAttempt<'_> {
        self.running.increment(1.0);
        RunningAttempt(&self.running)
    }

    /// Records a finished attempt.
    pub(super) fn attempted(&self, outcome: &AttemptOutcome, took: Duration) {
        let counted = self.attempts.get(outcome.class as usize);
        debug_assert!(counted.is_some(), "the classes are in the order of their declaration");
        if let Some(counter) = counted {
            counter.increment(1);
        }
        if !outcome.is_done() {
            TOTALS.count_failed_attempt();
        }
        self.seconds.record(took);
    }
}

fn attempts(target: Target, class: AttemptClass) -> Counter {
    let (class, blame) = (class.label(), class.blame());
    counter!("switchyard_delivery_attempts_total", "target" => target, "class" => class, "blame" => blame)
}

/// Counts a pause of the process.
pub(super) fn paused() {
    counter!("switchyard_input_pauses_total").increment(1);
}

/// Counts a delivery that `policy` dropped.
pub(super) fn dropped(lane: LaneLabel, policy: &'static str) {
    ended("dropped_by_policy", lane).increment(1);
    policy_drop(policy);
}

/// Counts a delivery that was removed before it ended.
pub(super) fn removed(lane: LaneLabel) {
    ended("removed", lane).increment(1);
}

/// Counts a message that `policy` dropped.
pub(super) fn policy_drop(policy: &'static str) {
    counter!("switchyard_policy_drops_total", "policy" => policy).increment(1);
}

/// Counts a message that has no place in `pool`.
pub(super) fn share_refused(pool: &'static str, level: ShareLevel) {
    counter!("switchyard_share_refusals_total", "pool" => pool, "level" => level.label())
        .increment(1);
}

/// Sets how much of `pool` is in use.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
pub(super) fn share_used(pool: &'static str, used: Amount, max: Amount) {
    let ratio = |used: u64, max: u64| used as f64 / max.max(1) as f64;
    let ratio = ratio(used.messages, max.messages).max(ratio(used.bytes, max.bytes));
    gauge!("switchyard_share_used_ratio", "pool" => pool).set(ratio);
}

pub(super) fn dead(lane: LaneLabel, reason: &DeadLetterReason) {
    ended("dead", lane).increment(1);
    dead_letter(reason);
}

/// Counts a message of the dead-letter stream.
pub(crate) fn dead_letter(reason: &DeadLetterReason) {
    counter!("switchyard_dlq_total", "reason" => reason.label()).increment(1);
    TOTALS.count_dead();
}

fn ended(outcome: &'static str, lane: LaneLabel) -> Counter {
    counter!("switchyard_deliveries_total", "outcome" => outcome, "lane" => lane)
}

pub(super) fn parked(reason: ParkReason) {
    counter!("switchyard_parkings_total", "reason" => reason.label()).increment(1);
    TOTALS.count_parked();
}

pub(super) fn retry(class: AttemptClass, honoured: bool) {
    counter!("switchyard_retries_scheduled_total", "class" => class.label()).increment(1);
    if honoured {
        counter!("switchyard_retry_after_honoured_total").increment(1);
    }
}

pub(super) fn blocked(refusal: EgressRefusal) {
    counter!("switchyard_delivery_blocked_total", "rule" => refusal.label()).increment(1);
}

/// Counts an attempt for which this machine had no means.
pub(super) fn local_failure(reason: &'static str) {
    counter!("switchyard_local_failures_total", "reason" => reason).increment(1);
}

/// Counts a delivery that was parked because its owner may have no more deliveries waiting.
pub(super) fn share_exceeded(share: &'static str) {
    counter!("switchyard_delivery_shares_exceeded_total", "share" => share).increment(1);
}

/// Sets how many permits there are, and how many are in use.
pub(super) fn permits(used: &PermitUse) {
    for (state, count) in [("limit", used.max), ("running", used.running), ("slow", used.slow)] {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        gauge!("switchyard_delivery_permits", "state" => state).set(count);
    }
}

/// Sets how many sockets to handlers there may be, are open, and are idle.
pub(super) fn sockets(limit: usize, open: usize, idle: usize) {
    for (state, count) in [("limit", limit), ("open", open), ("idle", idle)] {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        gauge!("switchyard_delivery_sockets", "state" => state).set(count);
    }
}

/// Counts idle connections that were closed to make room for others.
pub(super) fn sockets_evicted(count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    counter!("switchyard_delivery_sockets_evicted_total").increment(count);
}

/// Counts a request that got a response, by whether its connection was open before.
pub(super) fn connection_used(is_reused: bool) {
    let reused = if is_reused { "true" } else { "false" };
    counter!("switchyard_http_connections_total", "reused" => reused).increment(1);
}

/// Sets the number of endpoints by breaker state: closed, half open, open.
pub(super) fn breakers(counts: [usize; 3]) {
    for (state, count) in ["closed", "half_open", "open"].into_iter().zip(counts) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        gauge!("switchyard_endpoint_breakers", "state" => state).set(count);
    }
}

/// Renders the series of endpoints with an open breaker in the Prometheus text format; nothing if there
/// is none.
pub(super) fn render_open_endpoints(open: &[OpenEndpoint]) -> String {
    if open.is_empty() {
        return String::new();
    }
    // A new recorder, so that an endpoint whose breaker closed leaves no stale series.
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        names::describe_families(names::ENDPOINT_FAMILIES);
        for one in open {
            let labels = [
                ("app", one.app.to_string()),
                ("installation", one.installation.to_string()),
                ("endpoint", one.endpoint.clone()),
                ("scope", one.scope.label().to_owned()),
                ("cause", one.tripped.cause.label().to_owned()),
            ];
            gauge!("switchyard_endpoint_breaker_open", &labels).set(1.0);
        }
    });
    recorder.handle().render()
}

pub(super) fn pending(deliveries: usize) {
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    gauge!("switchyard_deliveries_pending", "lane" => "live").set(deliveries);
}

/// Counts one running attempt until it is dropped.
pub(super) struct RunningAttempt<'a>(&'a Gauge);

impl Drop for RunningAttempt<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names::values_of;

    #[test]
    fn labels_are_those_of_the_table() {
        let classes = AttemptClass::ALL.map(AttemptClass::label);
        assert_eq!(classes, values_of("switchyard_delivery_attempts_total", "class"));
        for (number, class) in AttemptClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
            let blames = values_of("switchyard_delivery_attempts_total", "blame");
            assert!(blames.contains(&class.blame()), "{class:?}");
        }
        assert_eq!(DeadLetterReason::LABELS, values_of("switchyard_dlq_total", "reason"));
        let parked = ParkReason::ALL.map(ParkReason::label);
        assert_eq!(parked, values_of("switchyard_parkings_total", "reason"));
    }
}
