//! Metrics of redrives.

use metrics::counter;

/// Counts letters of which a redrive was not possible, or that were published as events.
pub(super) fn redriven(result: &'static str, letters: u64) {
    if letters > 0 {
        counter!("switchyard_dlq_redriven_total", "result" => result).increment(letters);
    }
}
