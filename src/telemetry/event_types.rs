//! Counters by event type, for a bounded number of types.

use foldhash::{HashMap, HashMapExt};
use metrics::{Counter, counter};

/// Event types with a series of their own for each worker; further types are counted as `other`.
const EVENT_TYPES_MAX: usize = 100;

/// The series of one counter by event type, as one worker keeps them.
#[derive(Debug)]
pub struct EventTypeCounters {
    name: &'static str,
    by_type: HashMap<Box<str>, Counter>,
    other: Option<Counter>,
}

impl EventTypeCounters {
    /// Returns the series of the counter `name`.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, by_type: HashMap::new(), other: None }
    }

    /// Increments the series of an event type. Allocates only for a new type.
    pub fn increment(&mut self, event_type: &str, by: u64) {
        let series = |event_type: &str| counter!(self.name, "event_type" => event_type.to_owned());
        if let Some(counter) = self.by_type.get(event_type) {
            counter.increment(by);
        } else if self.by_type.len() < EVENT_TYPES_MAX {
            let counter = series(event_type);
            counter.increment(by);
            self.by_type.insert(event_type.into(), counter);
        } else {
            self.other.get_or_insert_with(|| series("other")).increment(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn types_beyond_the_bound_are_counted_together() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let mut counters = EventTypeCounters::new("switchyard_test_total");
            for number in 0..EVENT_TYPES_MAX + 7 {
                counters.increment(&format!("type-{number}"), 2);
            }
            counters.increment("type-0", 1);
        });
        let text = recorder.handle().render();
        let series = text.lines().filter(|line| line.starts_with("switchyard_test_total{")).count();
        assert_eq!(series, EVENT_TYPES_MAX + 1, "{text}");
        assert!(text.contains("{event_type=\"other\"} 14\n"), "{text}");
        assert!(text.contains("{event_type=\"type-0\"} 3\n"), "{text}");
    }
}
