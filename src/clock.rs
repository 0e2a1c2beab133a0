//! Wall and monotonic time: the only module that reads a clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Returns wall time, for schedules, signatures and records.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns wall time in milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    now().as_millisecond()
}

/// Returns monotonic time, for durations and deadlines.
#[must_use]
pub fn tick() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the ban on `Instant::now` points to this function"
    )]
    Instant::now()
}

/// Returns the time since `start`, never negative.
#[must_use]
pub fn since(start: Instant) -> Duration {
    tick().saturating_duration_since(start)
}
