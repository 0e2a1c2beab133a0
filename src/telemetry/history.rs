//! What this replica did in the last hour: a sample each ten seconds, in a ring.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::totals::TotalCounts;

/// Pause between two samples.
pub const HISTORY_INTERVAL: Duration = Duration::from_secs(10);
/// Samples that are kept: an hour, and the one that its first interval begins with.
const SAMPLES_MAX: usize = 361;
/// Shortest time that rates are computed over, in milliseconds.
const RATES_OVER_MS_MIN: i64 = 5_000;

/// The samples of the last hour.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Sample>>);

/// The state of this replica at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// When it was taken, milliseconds of monotonic time.
    pub uptime_ms: i64,
    /// The same, milliseconds since the epoch.
    pub at_ms: i64,
    /// Counts since the start.
    pub totals: TotalCounts,
    /// What waits.
    pub waiting: Waiting,
    /// The broker.
    pub broker: BrokerState,
}

/// What waits at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waiting {
    /// Events that are not acknowledged yet, over all replicas; none before they were counted.
    pub events: Option<u64>,
    /// Age of the oldest of them, in seconds.
    pub lag_s: Option<u64>,
    /// Parked deliveries, over all replicas.
    pub parked: u64,
    /// Stored dead letters, over all replicas.
    pub dead_letters: u64,
}

/// The broker, as the checks of readiness see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BrokerState {
    /// All checks passed.
    Ok,
    /// It does not answer.
    Unreachable,
    /// It answers, and confirms no writes.
    NotWriting,
    /// Another check fails.
    Failing,
}

/// What happened in one interval, and the state at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Its end.
    pub end: Sample,
    /// What was counted in it.
    pub counts: TotalCounts,
    /// Its length in milliseconds.
    pub took_ms: i64,
}

impl BrokerState {
    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::NotWriting => "not_writing",
            Self::Failing => "failing",
        }
    }
}

impl Interval {
    fn between(start: &Sample, end: Sample) -> Self {
        let counts = end.totals.since(start.totals);
        Self { end, counts, took_ms: end.uptime_ms.saturating_sub(start.uptime_ms) }
    }
}

impl History {
    /// Adds a sample; the oldest one is dropped if there are too many.
    pub fn add(&self, sample: Sample) {
        let mut samples = self.lock();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Returns the intervals that ended after a time, milliseconds since the epoch, oldest first.
    #[must_use]
    pub fn intervals(&self, after_ms: i64) -> Vec<Interval> {
        let samples = self.lock();
        let pairs = samples.iter().zip(samples.iter().skip(1));
        let intervals = pairs.map(|(start, end)| Interval::between(start, *end));
        intervals.filter(|one| one.end.at_ms > after_ms).collect()
    }

    /// Returns what happened lately up to `now`: since the last sample that is old enough, or else since the first one;
    /// none without a sample.
    #[must_use]
    pub fn latest(&self, now: Sample) -> Option<Interval> {
        let samples = self.lock();
        let is_old = |sample: &&Sample| now.uptime_ms - sample.uptime_ms >= RATES_OVER_MS_MIN;
        let start = samples.iter().rev().find(is_old).or_else(|| samples.front())?;
        Some(Interval::between(start, now))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, events: u64) -> Sample {
        Sample {
            uptime_ms: second * 1_000,
            at_ms: 1_000_000 + second * 1_000,
            totals: TotalCounts { events, ..TotalCounts::default() },
            waiting: Waiting::default(),
            broker: BrokerState::Ok,
        }
    }

    #[test]
    fn intervals_have_what_was_counted_in_them_and_end_after_the_time() {
        let history = History::default();
        assert_eq!(history.intervals(0), []);
        for (second, events) in [(0, 5), (10, 5), (20, 105), (31, 107)] {
            history.add(sample(second, events));
        }
        let intervals = history.intervals(1_010_000);
        let found: Vec<_> = intervals.iter().map(|one| (one.counts.events, one.took_ms)).collect();
        assert_eq!(found, [(100, 10_000), (2, 11_000)]);
        assert_eq!(history.intervals(0).len(), 3);
    }

    #[test]
    fn ring_keeps_an_hour() {
        let history = History::default();
        for number in 0..1_000_i64 {
            history.add(sample(number * 10, number.unsigned_abs()));
        }
        let intervals = history.intervals(0);
        assert_eq!(intervals.len(), 360);
        assert_eq!(intervals.iter().map(|one| one.took_ms).sum::<i64>(), 3_600_000);
    }

    #[test]
    fn latest_interval_is_long_enough_for_rates_once_there_are_samples() {
        let history = History::default();
        assert_eq!(history.latest(sample(3, 9)), None);
        history.add(sample(0, 0));
        let first = history.latest(sample(2, 9)).map(|one| (one.counts.events, one.took_ms));
        assert_eq!(first, Some((9, 2_000)));
        history.add(sample(10, 50));
        history.add(sample(20, 70));
        let soon = history.latest(sample(23, 80)).map(|one| (one.counts.events, one.took_ms));
        assert_eq!(soon, Some((30, 13_000)), "since the sample before");
        let later = history.latest(sample(27, 80)).map(|one| (one.counts.events, one.took_ms));
        assert_eq!(later, Some((10, 7_000)));
    }
}
