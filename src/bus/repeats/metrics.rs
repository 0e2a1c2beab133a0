//! Metrics of remembered ids.

use std::time::Duration;

use metrics::{counter, gauge};

/// Counts an event that was not stored again, by who recognised it: the broker or the memory.
pub(in crate::bus) fn repeated(found: &'static str) {
    counter!("switchyard_events_repeated_total", "found" => found).increment(1);
}

/// Sets the number of remembered ids, and its bound.
#[expect(clippy::cast_precision_loss, reason = "a gauge needs no more than 53 bits")]
pub(super) fn remembered(ids: usize, ids_max: usize) {
    gauge!("switchyard_repeat_ids", "state" => "remembered").set(ids as f64);
    gauge!("switchyard_repeat_ids", "state" => "max").set(ids_max as f64);
}

pub(super) fn forgotten(ids: u64) {
    counter!("switchyard_repeat_ids_forgotten_total").absolute(ids);
}

pub(super) fn behind(time: Duration) {
    gauge!("switchyard_repeat_behind_seconds").set(time.as_secs_f64());
}

/// Counts blocks by what happened: written, or not readable.
pub(super) fn block(result: &'static str) {
    counter!("switchyard_repeat_blocks_total", "result" => result).increment(1);
}

/// Counts ids that were read from the headers of the event stream.
pub(super) fn read(events: usize) {
    let events = u64::try_from(events).unwrap_or(u64::MAX);
    counter!("switchyard_repeat_events_read_total").increment(events);
}

/// Counts that the memory was emptied, by the reason.
pub(super) fn cleared(reason: &'static str) {
    counter!("switchyard_repeat_memory_cleared_total", "reason" => reason).increment(1);
}
