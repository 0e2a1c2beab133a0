//! Metrics of removals.

use metrics::counter;

/// Counts bodies that were removed.
pub(super) fn bodies_removed(reason: &'static str, bodies: u64) {
    if bodies > 0 {
        counter!("switchyard_bodies_removed_total", "reason" => reason).increment(bodies);
    }
}
