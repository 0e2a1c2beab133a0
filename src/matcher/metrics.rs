//! What operators see of matching.

use metrics::{counter, describe_counter};

/// Tells the exporter what each family means; call once it is installed.
pub fn describe() {
    describe_counter!(
        "switchyard_filter_errors_total",
        "filter evaluations that failed, by kind and by what onError made of them"
    );
}

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
