//! Backlog of a lane: when the deliveries that found no room are attempted again.
//!
//! Records are due one after the other, at the throughput of the lane. But the throughput is that
//! of the past: a handler that recovers must not wait for records that were planned for a slow one.
//! So a record is due at the latest after as long as its delivery is old already, from 15 seconds
//! to 15 minutes, and what finds no room then is parked again. A delivery thus waits at most about
//! as long after the recovery as it waited before, and the number of its records grows with the
//! logarithm of that time only.
//!
//! Design: `docs/design/parking.md`.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Shortest delay of a parked backlog record.
const DELAY_MIN_MS: i64 = 1_000;
/// Longest delay of a record whose delivery is new.
const DELAY_NEW_MS: i64 = 15_000;
/// Longest delay; a longer backlog is spread over the second half of this time.
const DELAY_MAX_MS: i64 = 15 * 60_000;
/// Shortest interval between two records of one lane, whatever their age: bounds the messages per
/// second that a long backlog of a lane costs the broker.
const INTERVAL_MIN_US: i64 = 2_000;

/// Schedule of the parked backlog of one lane.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// When the last record is due at the pace of the lane, milliseconds since the epoch by the
    /// broker's clock.
    tail_ms: AtomicI64,
    /// When it is due at the shortest interval, microseconds since the epoch.
    dense_tail_us: AtomicI64,
}

impl Backlog {
    /// Appends a delivery of a given `age` and returns when it is due: after the backlog parked
    /// before it, one every `pace_us` microseconds. `random` is a number from 0.0 to 1.0.
    pub(super) fn append(
        &self,
        now: Timestamp,
        age: Duration,
        pace_us: u64,
        random: f64,
    ) -> Timestamp {
        let now_ms = now.as_millisecond();
        let longest_ms = self.longest_delay_ms(now_ms, age);
        let pace_ms = i64::try_from(pace_us / 1000).unwrap_or(DELAY_MAX_MS).max(1);
        let latest = now_ms.saturating_add(longest_ms);
        // A tail beyond the latest was planned at the pace of the past.
        let next_slot =
            |tail: i64| tail.min(latest).max(now_ms + DELAY_MIN_MS).saturating_add(pace_ms);
        let advance = |tail| Some(next_slot(tail).min(latest));
        let (Ok(tail) | Err(tail)) = self.tail_ms.fetch_update(Relaxed, Relaxed, advance);
        let delay_ms = next_slot(tail).saturating_sub(now_ms);
        let (delay_ms, spread) = if delay_ms < longest_ms {
            (delay_ms, 0.1 * random)
        } else {
            (longest_ms, -0.5 * random)
        };
        let delay = SignedDuration::from_millis(delay_ms);
        let delay = SignedDuration::from_secs_f64(delay.as_secs_f64() * (1.0 + spread));
        now.checked_add(delay).unwrap_or(now)
    }

    /// Returns the longest delay of a delivery of this age, longer if many records are due before.
    fn longest_delay_ms(&self, now_ms: i64, age: Duration) -> i64 {
        let now_us = now_ms.saturating_mul(1000);
        let next = |tail: i64| tail.max(now_us).saturating_add(INTERVAL_MIN_US);
        let advance = |tail| Some(next(tail));
        let (Ok(tail) | Err(tail)) = self.dense_tail_us.fetch_update(Relaxed, Relaxed, advance);
        let dense_ms = next(tail).saturating_sub(now_us) / 1000;
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(DELAY_MAX_MS);
        age_ms.clamp(DELAY_NEW_MS, DELAY_MAX_MS).max(dense_ms.saturating_mul(2)).min(DELAY_MAX_MS)
    }

    /// Returns when the last record is due, milliseconds since the epoch; 0 without a backlog.
    pub(super) fn tail_ms(&self) -> i64 {
        self.tail_ms.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::queue::Random;

    /// Delays of `count` records whose deliveries are `age_s` old, in milliseconds.
    fn delays(count: usize, age_s: u64, pace_us: u64) -> Vec<i64> {
        let (backlog, now, random) = (Backlog::default(), Timestamp::UNIX_EPOCH, Random::seeded(3));
        let age = Duration::from_secs(age_s);
        let due = |_| backlog.append(now, age, pace_us, random.unit()).as_millisecond();
        (0..count).map(due).collect()
    }

    #[test]
    fn long_backlog_is_spread_over_its_bound() {
        let delays = delays(2000, 3600, 1_875_000);
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX_MS * 11 / 10));
        let late = delays.iter().filter(|delay| **delay > DELAY_MAX_MS * 3 / 4).count();
        assert!((500..1500).contains(&late), "{late} of 2000 in the last quarter");
    }

    #[test]
    fn backlog_fires_at_the_pace_of_the_lane() {
        let delays = delays(50, 0, 100_000);
        assert!((1_000..1_300).contains(&delays[0]), "{delays:?}");
        assert!((5_000..7_000).contains(&delays[49]), "{delays:?}");
    }

    #[test]
    fn new_deliveries_to_a_slow_handler_return_within_seconds() {
        // 15 s an attempt, eight at once: the pace alone would plan the last in half an hour.
        let delays = delays(1000, 0, 1_875_000);
        assert!(
            delays.iter().all(|delay| *delay <= DELAY_NEW_MS * 11 / 10),
            "{:?}",
            delays.iter().max()
        );
    }

    #[test]
    fn delivery_waits_as_long_again_as_it_waited() {
        let longest = |age_s| delays(500, age_s, 1_875_000).into_iter().max().unwrap();
        assert!((50_000..=66_000).contains(&longest(60)), "{}", longest(60));
        assert!((500_000..=660_000).contains(&longest(600)), "{}", longest(600));
    }

    #[test]
    fn long_backlog_of_new_deliveries_is_spread_over_more_time() {
        let delays = delays(100_000, 0, 1_875_000);
        let mut seconds = vec![0; 1000];
        delays.iter().for_each(|delay| seconds[usize::try_from(delay / 1000).unwrap()] += 1);
        let busiest = seconds.into_iter().max().unwrap();
        assert!(busiest <= 2_500, "{busiest} records in one second");
    }
}
