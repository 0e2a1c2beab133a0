//! Metrics of building indexes.

use metrics::{counter, gauge};

use super::Subscription;
use super::index::exceeds_bounds;

/// Counts a build of so many index entries.
pub(super) fn index_built(entries: usize) {
    counter!("switchyard_index_built_entries_total").increment(u64::from(count(entries)));
}

/// Counts a defect that a build met.
pub(super) fn index_error() {
    counter!("switchyard_index_errors_total").increment(1);
}

/// Adds the filters of a subscription that are evaluated, in whole or in part, because of the bounds
/// of the index: all of them if the share of the installation is used up, else those that are too
/// large. `sign` is -1 when the subscription is removed.
pub(super) fn filters_beyond_index(subscription: &Subscription, is_over_share: bool, sign: f64) {
    let events = subscription.event_subscriptions.iter();
    let programs = events.filter_map(|event| event.program.as_ref());
    let (reason, found) = match is_over_share {
        true => ("share", programs.count()),
        false => ("size", programs.filter(|program| exceeds_bounds(program)).count()),
    };
    if found > 0 {
        let gauge = gauge!("switchyard_filters_beyond_index", "reason" => reason);
        gauge.increment(sign * f64::from(count(found)));
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
