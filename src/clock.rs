//! Wall, monotonic and broker time: the only module that reads a clock.
//!
//! Which clock to use:
//!
//! - [`broker_now`] for every time that the broker compares with its own clock (schedules, ages of stored
//!   messages). The wall clock of this machine may be hours wrong, or jump.
//! - [`tick`] and [`uptime_ms`] for durations, deadlines and pauses within this process.
//! - [`now`] where another party compares the time with its own clock: signatures, tokens, expiry dates, records.

mod broker;
mod relative;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

pub use broker::{BrokerClock, BrokerTime};
pub use relative::{in_largest_unit, relative};

static BROKER: LazyLock<BrokerClock> = LazyLock::new(|| BrokerClock::starting_at(tick(), now()));

/// Returns wall time, for signatures, tokens and records.
#[must_use]
pub fn now() -> Timestamp {
    #[cfg(test)]
    return Timestamp::now() + wall_jump::current();
    #[cfg(not(test))]
    Timestamp::now()
}

/// Returns wall time in milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    now().as_millisecond()
}

/// Returns the broker's time, for due times that the broker decides.
///
/// Before the first [`anchor`] it is the wall time of the start plus monotonic time.
#[must_use]
pub fn broker_now() -> Timestamp {
    BROKER.at(tick())
}

/// Returns the broker's time in milliseconds since the Unix epoch.
#[must_use]
pub fn broker_now_ms() -> i64 {
    broker_now().as_millisecond()
}

/// Anchors the broker's time at one of its answers.
pub fn anchor(reading: &BrokerTime) {
    BROKER.anchor(reading);
}

/// Returns how far the wall clock of this machine is ahead of the broker's, or `None` before the first [`anchor`].
#[must_use]
pub fn skew() -> Option<SignedDuration> {
    BROKER.is_anchored().then(|| now().duration_since(broker_now()))
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

/// Returns monotonic time in milliseconds since this process first used its clock.
#[must_use]
pub fn uptime_ms() -> i64 {
    i64::try_from(BROKER.elapsed(tick()).as_millis()).unwrap_or(i64::MAX)
}

/// Jumps of the wall clock in tests of one thread.
#[cfg(test)]
pub mod wall_jump {
    use std::cell::Cell;

    use jiff::SignedDuration;

    thread_local! {
        static JUMP: Cell<SignedDuration> = const { Cell::new(SignedDuration::ZERO) };
    }

    /// Moves the wall clock of this thread to its true time plus `jump`.
    pub fn set(jump: SignedDuration) {
        // The broker's clock starts before the jump, as in a process that runs when it happens.
        let _ = super::uptime_ms();
        JUMP.set(jump);
    }

    pub(super) fn current() -> SignedDuration {
        JUMP.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_moves_neither_broker_nor_monotonic_time() {
        for hours in [2, -2] {
            let (broker, uptime) = (broker_now(), uptime_ms());
            wall_jump::set(SignedDuration::from_hours(hours));
            let jumped = SignedDuration::from_hours(hours);
            assert!((now().duration_since(broker) - jumped).abs() < SignedDuration::from_hours(1));
            assert!(broker_now().duration_since(broker).abs() < SignedDuration::from_hours(1));
            assert!(uptime_ms() - uptime < 3_600_000);
            wall_jump::set(SignedDuration::ZERO);
        }
    }
}
