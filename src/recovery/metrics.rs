//! Metrics of removals.

use metrics::{counter, gauge};

/// Counts bodies that were removed.
pub(super) fn bodies_removed(reason: &'static str, bodies: u64) {
    if bodies > 0 {
        counter!("switchyard_bodies_removed_total", "reason" => reason).increment(bodies);
    }
}

/// Records a look for bodies that are too old, and how many are still there.
#[expect(clippy::cast_precision_loss, reason = "metrics are doubles")]
pub(super) fn retention_run(now_ms: i64, left: u64) {
    gauge!("switchyard_retention_last_run_timestamp_seconds").set(now_ms as f64 / 1_000.0);
    gauge!("switchyard_retention_bodies_expired").set(left as f64);
}
