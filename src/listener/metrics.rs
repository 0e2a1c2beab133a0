//! Metrics of the listener.

use metrics::{counter, gauge};

use super::shares::ShareLevel;

const CONNECTIONS: &str = "switchyard_listener_connections";
const REFUSED: &str = "switchyard_listener_refused_total";
const CLOSED: &str = "switchyard_listener_closed_total";
const CERTIFICATES: &str = "switchyard_listener_certificate_loads_total";
const BODY_BYTES: &str = "switchyard_listener_body_bytes";
const BODIES_REFUSED: &str = "switchyard_listener_bodies_refused_total";

/// Sets how many connections a listener may have.
#[expect(clippy::cast_precision_loss, reason = "a gauge")]
pub(super) fn connections_max(listener: &'static str, max: usize) {
    gauge!(CONNECTIONS, "listener" => listener, "state" => "max").set(max as f64);
}

/// Sets how many connections of a listener are open.
#[expect(clippy::cast_precision_loss, reason = "a gauge")]
pub(super) fn connections_open(listener: &'static str, open: usize) {
    gauge!(CONNECTIONS, "listener" => listener, "state" => "open").set(open as f64);
}

/// Counts a connection that was not admitted, or that failed before its first request.
pub(super) fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// Counts a connection that was closed because a deadline passed.
pub(super) fn closed(reason: &'static str) {
    counter!(CLOSED, "reason" => reason).increment(1);
}

/// Counts that the files of the certificate were loaded again.
pub(super) fn certificate_loaded(result: &'static str) {
    counter!(CERTIFICATES, "result" => result).increment(1);
}

/// Sets how many bytes of bodies are in memory.
#[expect(clippy::cast_precision_loss, reason = "a gauge")]
pub(super) fn body_bytes(bytes: usize) {
    gauge!(BODY_BYTES).set(bytes as f64);
}

/// Counts a body that was not read because a share of the memory is used up.
pub(super) fn body_refused(level: ShareLevel) {
    counter!(BODIES_REFUSED, "reason" => level.as_str()).increment(1);
}

/// Counts a body that did not arrive in time.
pub(super) fn body_too_slow() {
    counter!(BODIES_REFUSED, "reason" => "timeout").increment(1);
}
