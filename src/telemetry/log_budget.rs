//! Rate limit of a repeated log line.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::clock;

/// Lines per second of one limit.
const LINES_PER_SECOND: u64 = 10;

/// Rate limit of the log lines of one call site.
#[derive(Debug, Default)]
pub struct LogBudget {
    second: AtomicI64,
    lines: AtomicU64,
    suppressed: AtomicU64,
}

impl LogBudget {
    /// Returns the number of lines suppressed since the last one if a line may be written now,
    /// otherwise none. Approximate under contention.
    pub fn take(&self) -> Option<u64> {
        let second = clock::uptime_ms() / 1000;
        if self.second.swap(second, Relaxed) != second {
            self.lines.store(0, Relaxed);
        }
        if self.lines.fetch_add(1, Relaxed) < LINES_PER_SECOND {
            Some(self.suppressed.swap(0, Relaxed))
        } else {
            self.suppressed.fetch_add(1, Relaxed);
            None
        }
    }
}
