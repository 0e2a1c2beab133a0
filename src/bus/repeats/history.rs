//! When the last sequences of the event stream were seen first: a decision without I/O or clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long readings are kept.
const KEPT: Duration = Duration::from_secs(600);
/// Most readings.
const READINGS_MAX: usize = 1_024;

/// Readings of the last sequence, in the order of time.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(Instant, u64)>);

impl History {
    /// Adds a reading.
    pub(super) fn record(&mut self, now: Instant, last: u64) {
        let is_old = |at: Instant| now.saturating_duration_since(at) > KEPT;
        while self.0.len() >= READINGS_MAX || self.0.front().is_some_and(|(at, _)| is_old(*at)) {
            self.0.pop_front();
        }
        self.0.push_back((now, last));
    }

    /// Returns the last sequence that existed `age` ago already, as far as is known.
    pub(super) fn last_before(&self, now: Instant, age: Duration) -> u64 {
        let is_old_enough = |(at, _): &&(Instant, u64)| now.saturating_duration_since(*at) >= age;
        self.0.iter().rev().find(is_old_enough).map_or(0, |(_, last)| *last)
    }

    /// Returns for how long it is known that `sequence` exists.
    pub(super) fn known_for(&self, now: Instant, sequence: u64) -> Duration {
        let first = self.0.iter().find(|(_, last)| *last >= sequence);
        first.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_sequence_is_known_from_readings() {
        let start = crate::clock::tick();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut history = History::default();
        for second in 0..=20 {
            history.record(at(second), second * 10);
        }
        assert_eq!(history.last_before(at(20), Duration::ZERO), 200);
        assert_eq!(history.last_before(at(20), Duration::from_secs(15)), 50);
        assert_eq!(history.last_before(at(20), Duration::from_secs(21)), 0);
        assert_eq!(history.known_for(at(20), 51), Duration::from_secs(14));
        assert_eq!(history.known_for(at(20), 201), Duration::ZERO);
        history.record(at(5_000), 7_000);
        assert_eq!(history.0.len(), 1);
    }
}
