//! Metrics of the broker connections and streams.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::write_outcomes;

/// Counts an event that is stored under the subject of other names.
pub(super) fn stored_as_other_name() {
    counter!("switchyard_unmapped_other_total").increment(1);
}

/// Counts a connection that was established again.
pub(super) fn reconnected() {
    counter!("switchyard_broker_reconnects_total").increment(1);
}

pub(super) fn published(stream: &'static str, took: Duration) {
    histogram!("switchyard_broker_publish_seconds", "stream" => stream).record(took);
    write_outcomes::record(stream, true);
}

pub(super) fn publish_failed(stream: &'static str, reason: &'static str) {
    counter!("switchyard_broker_publish_failures_total", "stream" => stream, "reason" => reason)
        .increment(1);
    if reason == "timeout" {
        write_outcomes::record(stream, false);
    }
}

/// Counts a stored record of the delivery log.
pub(super) fn log_stored(result: &'static str) {
    counter!("switchyard_log_records_total", "result" => result).increment(1);
}

/// Counts a record of the delivery log that the broker can never store.
pub(super) fn log_lost() {
    counter!("switchyard_log_records_lost_total").increment(1);
}

/// Counts one record that is not confirmed yet until it is dropped.
pub(super) struct LogPending(());

impl LogPending {
    pub(super) fn new() -> Self {
        gauge!("switchyard_log_pending").increment(1.0);
        Self(())
    }
}

impl Drop for LogPending {
    fn drop(&mut self) {
        gauge!("switchyard_log_pending").decrement(1.0);
    }
}

/// Counts one listening client that is connected to this replica until it is dropped.
pub(super) struct ConnectedListener(());

impl ConnectedListener {
    pub(super) fn new() -> Self {
        gauge!("switchyard_listeners").increment(1.0);
        Self(())
    }
}

impl Drop for ConnectedListener {
    fn drop(&mut self) {
        gauge!("switchyard_listeners").decrement(1.0);
    }
}

pub(super) fn publish_blocked(stream: &'static str, is_blocked: bool) {
    let value = if is_blocked { 1.0 } else { 0.0 };
    gauge!("switchyard_broker_publish_blocked", "stream" => stream).set(value);
}

/// Sets the difference between the records of the parking stream and what is known of owners.
pub(super) fn unattributed(messages: f64) {
    gauge!("switchyard_parked_unattributed").set(messages);
}

pub(super) fn recounted(reason: &'static str, result: &'static str) {
    counter!("switchyard_parked_recounts_total", "reason" => reason, "result" => result)
        .increment(1);
}

pub(super) fn stalled(reason: &'static str) {
    counter!("switchyard_input_stalls_total", "reason" => reason).increment(1);
}

pub(super) fn input(pending: f64, ack_pending: f64, lag_s: f64, backlog_ratio: f64) {
    gauge!("switchyard_input_pending").set(pending);
    gauge!("switchyard_input_ack_pending").set(ack_pending);
    input_lag(lag_s);
    gauge!("switchyard_input_backlog_ratio").set(backlog_ratio);
}

/// Sets the age of the oldest unacknowledged event.
pub(super) fn input_lag(lag_s: f64) {
    gauge!("switchyard_input_lag_seconds").set(lag_s);
}

/// Sets the number of messages of the parking stream and of the dead-letter stream.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
pub(super) fn stored_deliveries(parked: u64, dead_letters: u64) {
    gauge!("switchyard_deliveries_parked").set(parked as f64);
    gauge!("switchyard_dlq_messages").set(dead_letters as f64);
}

/// Sets the share of the event stream that is stored.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
pub(super) fn stored(bytes: u64, bytes_max: u64) {
    gauge!("switchyard_input_stored_ratio").set(bytes as f64 / bytes_max.max(1) as f64);
}

pub(super) fn trimmed(reason: &'static str, events: u64) {
    counter!("switchyard_input_trimmed_total", "reason" => reason).increment(events);
}

pub(super) fn gap_events(events: u64) {
    counter!("switchyard_input_gap_events_total").increment(events);
}

pub(super) fn consumer_recreated(start: &'static str) {
    counter!("switchyard_input_consumers_recreated_total", "start" => start).increment(1);
}

pub(super) fn config_restored() {
    counter!("switchyard_stream_config_restored_total").increment(1);
}

pub(super) fn config_newer(stream: &'static str, is_newer: bool) {
    gauge!("switchyard_stream_config_newer", "stream" => stream).set(if is_newer {
        1.0
    } else {
        0.0
    });
}

/// Counts a dead letter whose redriven delivery ended.
pub(super) fn redriven(result: &'static str) {
    counter!("switchyard_dlq_redriven_total", "result" => result).increment(1);
}

/// Counts a delivery that a replay handed over and that ended.
pub(super) fn replayed(result: &'static str) {
    counter!("switchyard_replay_deliveries_total", "result" => result).increment(1);
}

pub(super) fn refused(reason: &'static str) {
    counter!("switchyard_events_refused_total", "reason" => reason).increment(1);
}
