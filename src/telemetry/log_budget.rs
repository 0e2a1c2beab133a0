//! Keeps a repeated log line from flooding the log.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::clock;

/// Lines per second and place.
const LINES_PER_SECOND: u64 = 10;

/// The lines that one place in the code may write.
#[derive(Debug, Default)]
pub struct LogBudget {
    second: AtomicI64,
    lines: AtomicU64,
    suppressed: AtomicU64,
}

impl LogBudget {
    /// Whether a line may be written now; if so, how many were suppressed since the last one.
    /// Under contention a few lines more or less may pass.
    pub fn take(&self) -> Option<u64> {
        let second = clock::now_ms() / 1000;
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
