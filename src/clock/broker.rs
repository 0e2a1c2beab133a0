//! The broker's clock as this process sees it: anchored at its timestamps, advanced by monotonic time.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One reading of the broker's clock.
#[derive(Clone, Copy, Debug)]
pub struct BrokerTime {
    /// Monotonic time at which the question was sent.
    pub sent: Instant,
    /// Monotonic time at which the answer arrived.
    pub received: Instant,
    /// The time that the answer carries.
    pub time: Timestamp,
}

/// Estimates the broker's time without reading a clock itself.
///
/// Until the first reading it continues the wall time of its start. No later change of the wall clock of this
/// machine moves it.
#[derive(Debug)]
pub struct BrokerClock {
    start: Instant,
    /// Broker time at `start`, in microseconds since the Unix epoch.
    start_us: AtomicI64,
    is_anchored: AtomicBool,
}

impl BrokerClock {
    /// Returns a clock that shows `wall` at `start`.
    #[must_use]
    pub fn starting_at(start: Instant, wall: Timestamp) -> Self {
        Self {
            start,
            start_us: AtomicI64::new(wall.as_microsecond()),
            is_anchored: AtomicBool::new(false),
        }
    }

    /// Anchors the clock at one reading.
    ///
    /// The broker read its clock between the question and the answer, most likely in the middle. An estimate that
    /// lies between the two is kept, so that a slow answer does not move a better one.
    pub fn anchor(&self, reading: &BrokerTime) {
        let half = reading.received.saturating_duration_since(reading.sent) / 2;
        let measured_us =
            reading.time.as_microsecond().saturating_sub(self.since_start(reading.sent + half));
        let error_us = measured_us.saturating_sub(self.start_us.load(Relaxed)).unsigned_abs();
        let is_first = !self.is_anchored.swap(true, Relaxed);
        if is_first || u128::from(error_us) > half.as_micros() {
            self.start_us.store(measured_us, Relaxed);
        }
    }

    /// Returns the broker's time at `tick`.
    #[must_use]
    pub fn at(&self, tick: Instant) -> Timestamp {
        let time_us = self.start_us.load(Relaxed).saturating_add(self.since_start(tick));
        Timestamp::from_microsecond(time_us).unwrap_or(Timestamp::MAX)
    }

    /// Returns whether the broker was asked for its time at least once.
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        self.is_anchored.load(Relaxed)
    }

    /// Returns the monotonic time from the start of the clock to `tick`.
    #[must_use]
    pub fn elapsed(&self, tick: Instant) -> Duration {
        tick.saturating_duration_since(self.start)
    }

    fn since_start(&self, tick: Instant) -> i64 {
        i64::try_from(self.elapsed(tick).as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wall() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn start() -> Instant {
        crate::clock::tick()
    }

    #[test]
    fn continues_the_wall_time_of_its_start_until_anchored() {
        let start = start();
        let clock = BrokerClock::starting_at(start, wall());
        assert_eq!(clock.at(start + 90 * SECOND), wall() + 90 * SECOND);
        assert!(!clock.is_anchored());
    }

    #[test]
    fn the_broker_read_its_clock_in_the_middle() {
        let start = start();
        for hours in [-2, 0, 2] {
            let clock = BrokerClock::starting_at(start, wall());
            let time = wall() + SignedDuration::from_hours(hours);
            clock.anchor(&BrokerTime { sent: start + SECOND, received: start + 3 * SECOND, time });
            assert_eq!(clock.at(start + 12 * SECOND), time + 10 * SECOND);
            assert!(clock.is_anchored());
        }
    }

    #[test]
    fn a_slow_answer_does_not_move_a_better_estimate() {
        let start = start();
        let clock = BrokerClock::starting_at(start, wall());
        clock.anchor(&BrokerTime { sent: start, received: start, time: wall() });
        let slow = BrokerTime {
            sent: start + SECOND,
            received: start + 5 * SECOND,
            time: wall() + 2 * SECOND,
        };
        clock.anchor(&slow);
        assert_eq!(clock.at(start), wall(), "the answer allows this estimate");
        clock.anchor(&BrokerTime { time: wall() + 60 * SECOND, ..slow });
        assert_eq!(
            clock.at(start + 3 * SECOND),
            wall() + 60 * SECOND,
            "the broker's clock changed"
        );
    }
}
