//! Counters of spans.

use metrics::counter;

/// Counts spans that no collector gets, by reason.
pub(super) fn dropped(reason: &'static str, spans: usize) {
    counter!("switchyard_trace_spans_dropped_total", "reason" => reason).increment(count(spans));
}

/// Counts spans that the collector took.
pub(super) fn exported(spans: usize) {
    counter!("switchyard_trace_spans_exported_total").increment(count(spans));
}

fn count(spans: usize) -> u64 {
    u64::try_from(spans).unwrap_or(u64::MAX)
}
