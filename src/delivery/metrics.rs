//! What operators see of deliveries. Labels come from closed sets only.

use std::time::Duration;

use metrics::{Gauge, counter, gauge, histogram};

use super::guard::Refusal;
use super::outcome::{DeadReason, Outcome};
use super::parking::ParkReason;

/// Why a delivery is being attempted, as label: `live` or `retry`.
pub(super) type LaneLabel = &'static str;

/// Where an attempt goes, as label.
pub(super) type Target = &'static str;

pub(super) fn attempt(target: Target, outcome: &Outcome, took: Duration) {
    let (class, blame) = (outcome.class.label(), outcome.class.blame());
    counter!("switchyard_delivery_attempts_total", "target" => target, "class" => class, "blame" => blame)
        .increment(1);
    histogram!("switchyard_delivery_attempt_seconds", "target" => target).record(took);
}

pub(super) fn queued(waited: Duration) {
    histogram!("switchyard_delivery_phase_seconds", "phase" => "queue").record(waited);
}

pub(super) fn delivered(lane: LaneLabel, attempt: u32, seconds: f64) {
    ended("delivered", lane);
    histogram!("switchyard_delivery_end_to_end_seconds", "lane" => lane).record(seconds);
    histogram!("switchyard_delivery_attempt_number").record(f64::from(attempt));
}

pub(super) fn dropped(lane: LaneLabel) {
    ended("dropped_by_policy", lane);
}

pub(super) fn dead(lane: LaneLabel, reason: &DeadReason) {
    ended("dead", lane);
    dead_letter(reason);
}

/// Counts an entry of the dead-letter stream.
pub fn dead_letter(reason: &DeadReason) {
    counter!("switchyard_dlq_total", "reason" => reason.label()).increment(1);
}

fn ended(outcome: &'static str, lane: LaneLabel) {
    counter!("switchyard_deliveries_total", "outcome" => outcome, "lane" => lane).increment(1);
}

pub(super) fn parked(reason: ParkReason) {
    counter!("switchyard_parkings_total", "reason" => reason.label()).increment(1);
}

pub(super) fn retry(outcome: &Outcome, honoured: bool) {
    counter!("switchyard_retries_scheduled_total", "class" => outcome.class.label()).increment(1);
    if honoured {
        counter!("switchyard_retry_after_honoured_total").increment(1);
    }
}

pub(super) fn blocked(refusal: Refusal) {
    counter!("switchyard_delivery_blocked_total", "rule" => refusal.label()).increment(1);
}

pub(super) fn dialled() {
    counter!("switchyard_http_connections_total", "reused" => "false").increment(1);
}

/// Tells how many endpoints are in each phase of their breaker: closed, half open, open.
pub(super) fn breakers(phases: [usize; 3]) {
    for (state, count) in ["closed", "half_open", "open"].into_iter().zip(phases) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        gauge!("switchyard_endpoint_breakers", "state" => state).set(count);
    }
}

pub(super) fn pending(deliveries: usize) {
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    gauge!("switchyard_deliveries_pending", "lane" => "live").set(deliveries);
}

/// Counts one running attempt until it is dropped.
pub(super) struct Running(Gauge);

pub(super) fn running(target: Target) -> Running {
    let gauge = gauge!("switchyard_deliveries_inflight", "target" => target);
    gauge.increment(1.0);
    Running(gauge)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
