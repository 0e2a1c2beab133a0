//! Counters by event type, for a closed set of types.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use foldhash::{HashMap, HashMapExt};
use metrics::{Counter, counter};

use super::names::UNLISTED_MAX;

/// Label of the event types without a series of their own.
const OTHER: &str = "other";
/// Begins the event type of a webhook whose name maps to no event. Its sender chooses the rest.
const UNMAPPED: &str = "webhook:";

/// Whether a catalogue lists an event type.
static IS_LISTED: OnceLock<fn(&str) -> bool> = OnceLock::new();

/// Sets which event types always have a series of their own, however many others came before. The first
/// call counts.
pub fn list_event_types(is_listed: fn(&str) -> bool) {
    let _ = IS_LISTED.set(is_listed);
}

/// The event types that no catalogue lists and that have a series of their own: the first
/// [`UNLISTED_MAX`]. Further ones are counted as `other`.
#[derive(Debug, Default)]
struct UnlistedTypes(Mutex<BTreeSet<Box<str>>>);

/// Those of the process, whatever counter and worker.
static UNLISTED: UnlistedTypes = UnlistedTypes(Mutex::new(BTreeSet::new()));

impl UnlistedTypes {
    /// Returns whether an event type has a series, and gives it one if there are less than the bound.
    fn admit(&self, event_type: &str) -> bool {
        let mut types = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !types.contains(event_type) && types.len() < UNLISTED_MAX {
            types.insert(event_type.into());
        }
        types.contains(event_type)
    }
}

/// The series of one counter by event type, as one worker keeps them.
#[derive(Debug)]
pub struct EventTypeCounters {
    name: &'static str,
    by_type: HashMap<Box<str>, Counter>,
    unlisted: &'static UnlistedTypes,
    is_listed: fn(&str) -> bool,
    other: Option<Counter>,
}

impl EventTypeCounters {
    /// Returns the series of the counter `name`.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let is_listed = IS_LISTED.get().copied().unwrap_or(|_| false);
        Self { name, by_type: HashMap::new(), unlisted: &UNLISTED, is_listed, other: None }
    }

    /// Increments the series of an event type. Allocates only for a new type.
    pub fn increment(&mut self, event_type: &str, by: u64) {
        if let Some(counter) = self.by_type.get(event_type) {
            counter.increment(by);
            return;
        }
        let series = |event_type: &str| counter!(self.name, "event_type" => event_type.to_owned());
        let has_series = !event_type.starts_with(UNMAPPED)
            && ((self.is_listed)(event_type) || self.unlisted.admit(event_type));
        if !has_series {
            self.other.get_or_insert_with(|| series(OTHER)).increment(by);
            return;
        }
        let counter = series(event_type);
        counter.increment(by);
        self.by_type.insert(event_type.into(), counter);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn types_beyond_the_bound_are_counted_together_unless_they_are_listed() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let mut counters = EventTypeCounters::new("switchyard_test_total");
            counters.unlisted = Box::leak(Box::default());
            counters.is_listed = |event_type| event_type.starts_with("avi:");
            for number in 0..500 {
                counters.increment(&format!("webhook:lantern_{number}"), 1);
            }
            for number in 0..UNLISTED_MAX + 7 {
                counters.increment(&format!("type-{number}"), 2);
            }
            // Another worker gives series to the same types.
            let mut others = EventTypeCounters::new("switchyard_test_total");
            (others.unlisted, others.is_listed) = (counters.unlisted, counters.is_listed);
            others.increment(&format!("type-{}", UNLISTED_MAX + 1), 2);
            others.increment("type-0", 1);
            counters.increment("avi:moved", 5);
            counters.increment("avi:moved", 1);
        });
        let text = recorder.handle().render();
        let series = text.lines().filter(|line| line.starts_with("switchyard_test_total{")).count();
        assert_eq!(series, UNLISTED_MAX + 2, "{text}");
        assert!(text.contains("{event_type=\"other\"} 516\n"), "{text}");
        assert!(text.contains("{event_type=\"type-0\"} 3\n"), "{text}");
        assert!(text.contains("{event_type=\"avi:moved\"} 6\n"), "{text}");
    }
}
