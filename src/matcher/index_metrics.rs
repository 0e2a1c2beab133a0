//! Metrics of building indexes, and of the sites that they are for.

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::Subscription;
use super::index::exceeds_bounds;
use crate::domain::CloudId;
use crate::telemetry::names;

/// Renders the series of sites, each with its number of events, in the Prometheus text format.
#[must_use]
pub fn render_sites(sites: Vec<(CloudId, u64)>) -> String {
    // A new recorder, so that a site that is no longer among them leaves no stale series.
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        names::describe_families(names::SITE_EVENT_FAMILIES);
        for (site, events) in sites {
            let site = site.to_string();
            counter!("switchyard_site_events_total", "site" => site).absolute(events);
        }
    });
    recorder.handle().render()
}

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
