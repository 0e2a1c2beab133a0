//! What operators see of matching.

use metrics::counter;

/// Counts a failed evaluation.
pub fn filter_error(kind: &str, delivers: bool) {
    let reason = match kind {
        "type" => "type",
        "limit" => "limit",
        _ => "runtime",
    };
    let action = if delivers { "deliver" } else { "skip" };
    counter!("switchyard_filter_errors_total", "reason" => reason, "action" => action).increment(1);
}
