//! The only place that reads time.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Wall time, for schedules, signatures and records.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Wall time in milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    now().as_millisecond()
}

/// Monotonic time, for durations and deadlines.
#[must_use]
pub fn tick() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the clock the ban points to")]
    Instant::now()
}

/// Time since `start`, never negative.
#[must_use]
pub fn since(start: Instant) -> Duration {
    tick().saturating_duration_since(start)
}
