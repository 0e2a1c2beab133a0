//! Rate limit of a repeated log line.
//!
//! A failing filter or endpoint may fail a thousand times a second, and one is not to hide another:
//! each has a limit of its own, one line a minute, which is stored where its counters are. All of
//! one kind together have a second limit, so that ten thousand that fail do not fill the disk.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock;

/// Window of the default limit.
const WINDOW: Duration = Duration::from_secs(1);
/// Lines within the window of the default limit.
const LINES: u64 = 10;

/// Rate limit of the log lines of one call site; 10 lines per second by default.
#[derive(Debug)]
pub struct LogBudget {
    window_ms: i64,
    lines_max: u64,
    /// Number of the current window since the start of the process.
    window: AtomicI64,
    lines: AtomicU64,
    suppressed: AtomicU64,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self::new(WINDOW, LINES)
    }
}

impl LogBudget {
    /// Returns a limit of `lines_max` lines in each `window`, of at least a millisecond.
    #[must_use]
    pub fn new(window: Duration, lines_max: u64) -> Self {
        Self {
            window_ms: i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1),
            lines_max,
            window: AtomicI64::new(-1),
            lines: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Returns the limit of the failures of one subscription or endpoint: a line a minute.
    #[must_use]
    pub const fn one_a_minute() -> Self {
        Self {
            window_ms: 60_000,
            lines_max: 1,
            window: AtomicI64::new(-1),
            lines: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// As [`LogBudget::take`], for one of many: a line that the limit of `all` suppresses counts as
    /// suppressed for the next line of this one.
    pub fn take_of(&self, all: &Self) -> Option<u64> {
        let suppressed = self.take()?;
        if all.take().is_none() {
            self.suppressed.fetch_add(suppressed.saturating_add(1), Relaxed);
            return None;
        }
        Some(suppressed)
    }

    /// Returns the number of lines suppressed since the last one if a line may be written now,
    /// otherwise none. Approximate under contention.
    pub fn take(&self) -> Option<u64> {
        let window = clock::uptime_ms() / self.window_ms;
        if self.window.swap(window, Relaxed) != window {
            self.lines.store(0, Relaxed);
        }
        if self.lines.fetch_add(1, Relaxed) < self.lines_max {
            Some(self.suppressed.swap(0, Relaxed))
        } else {
            self.suppressed.fetch_add(1, Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_has_a_line_and_the_limit_of_all_bounds_their_sum() {
        let all = LogBudget::new(Duration::from_secs(3600), 10);
        let each: Vec<LogBudget> = (0..1_000).map(|_| LogBudget::one_a_minute()).collect();
        let lines = |each: &[LogBudget]| each.iter().filter_map(|one| one.take_of(&all)).count();
        assert_eq!(lines(&each), 10);
        assert_eq!(lines(&each), 0);
        assert_eq!(each[999].suppressed.load(Relaxed), 2, "no failure is forgotten");
        assert_eq!(each[0].suppressed.load(Relaxed), 1);
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_until_the_next_line() {
        let budget = LogBudget::new(Duration::from_millis(20), 1);
        let mut written = 0;
        let mut suppressed = 0;
        for _ in 0..1_000 {
            if let Some(before) = budget.take() {
                (written, suppressed) = (written + 1, suppressed + before);
            }
        }
        assert!((1..100).contains(&written), "{written}");
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!(budget.take().map(|last| suppressed + last + written), Some(1_000));
    }
}
