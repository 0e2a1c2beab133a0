//! What operators see of the broker.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Tells the exporter what each family means; call once it is installed.
pub fn describe() {
    describe_gauge!("switchyard_broker_up", "1 while the connection of this flow stands");
    describe_counter!("switchyard_broker_reconnects_total", "connections made, by flow");
    describe_histogram!(
        "switchyard_broker_publish_seconds",
        Unit::Seconds,
        "from publish to acknowledgement, by stream"
    );
    describe_counter!(
        "switchyard_broker_publish_failures_total",
        "publishes that were not acknowledged, by stream and reason"
    );
    describe_counter!("switchyard_input_stalls_total", "pulls that were set up again, by reason");
    describe_gauge!("switchyard_input_pending", "events not handed out yet");
    describe_gauge!("switchyard_input_ack_pending", "events handed out and not acknowledged");
    describe_gauge!(
        "switchyard_input_lag_seconds",
        Unit::Seconds,
        "age of the oldest event not acknowledged"
    );
    describe_gauge!("switchyard_input_backlog_ratio", "share of the event stream not acknowledged");
    describe_gauge!("switchyard_deliveries_parked", "deliveries that wait durably");
    describe_gauge!("switchyard_dlq_messages", "dead letters kept");
}

pub(super) fn connected(flow: &'static str) {
    gauge!("switchyard_broker_up", "flow" => flow).set(1.0);
    counter!("switchyard_broker_reconnects_total", "flow" => flow).increment(1);
}

pub(super) fn disconnected(flow: &'static str) {
    gauge!("switchyard_broker_up", "flow" => flow).set(0.0);
}

pub(super) fn published(stream: &'static str, took: Duration) {
    histogram!("switchyard_broker_publish_seconds", "stream" => stream).record(took);
}

pub(super) fn publish_failed(stream: &'static str, reason: &'static str) {
    counter!("switchyard_broker_publish_failures_total", "stream" => stream, "reason" => reason)
        .increment(1);
}

pub(super) fn stalled(reason: &'static str) {
    counter!("switchyard_input_stalls_total", "reason" => reason).increment(1);
}

pub(super) fn input(pending: f64, ack_pending: f64, lag_s: f64, backlog_ratio: f64) {
    gauge!("switchyard_input_pending").set(pending);
    gauge!("switchyard_input_ack_pending").set(ack_pending);
    gauge!("switchyard_input_lag_seconds").set(lag_s);
    gauge!("switchyard_input_backlog_ratio").set(backlog_ratio);
}

pub(super) fn parked(messages: f64) {
    gauge!("switchyard_deliveries_parked").set(messages);
}

pub(super) fn dead_letters(messages: f64) {
    gauge!("switchyard_dlq_messages").set(messages);
}
