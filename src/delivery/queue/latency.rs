//! Durations of the attempts at one endpoint: their average and their recent minimum.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Moving average of the durations of attempts.
#[derive(Debug, Default)]
pub(super) struct AverageDuration {
    /// Microseconds; 0 before the first attempt.
    average_us: AtomicU64,
}

impl AverageDuration {
    /// Records how long an attempt took.
    pub(super) fn record(&self, took_us: u64) {
        // Exponential moving average with weight 1/8; a lost race only loses one sample.
        let average = match self.average_us.load(Relaxed) {
            0 => took_us,
            average => average - average / 8 + took_us / 8,
        };
        self.average_us.store(average.max(1), Relaxed);
    }

    /// Returns the average in microseconds; none before the first attempt.
    pub(super) fn average_us(&self) -> Option<u64> {
        Some(self.average_us.load(Relaxed)).filter(|average| *average > 0)
    }
}

/// Shortest attempt of the last one to two windows, an estimate of the endpoint's own latency. An
/// average is worse: in a burst attempts wait for this machine, parking would load it even more,
/// and the endpoint would seem slower still.
#[derive(Debug, Default)]
pub(super) struct MinLatencyWindow {
    attempts: AtomicU64,
    /// Minimum of the current and of the previous window; microseconds, 0 before the first attempt.
    windows_us: [AtomicU64; 2],
}

impl MinLatencyWindow {
    /// Attempts in a window.
    pub(super) const WINDOW: u64 = 64;

    /// Records how long an attempt took.
    pub(super) fn record(&self, took_us: u64) {
        let [current, before] = &self.windows_us;
        let number = self.attempts.fetch_add(1, Relaxed);
        if number > 0 && number.is_multiple_of(Self::WINDOW) {
            before.store(current.swap(took_us, Relaxed), Relaxed);
        } else if number == 0 || took_us < current.load(Relaxed) {
            // A lost race only loses one sample.
            current.store(took_us, Relaxed);
        }
    }

    /// Returns the minimum in microseconds; 0 before the first attempt.
    pub(super) fn min_us(&self) -> u64 {
        let [current, before] = &self.windows_us;
        match before.load(Relaxed) {
            0 => current.load(Relaxed),
            before => current.load(Relaxed).min(before),
        }
    }
}

/// Returns a duration in whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
