//! Backlog of a lane: when the deliveries that found its queue full are attempted again.
//!
//! Design: `docs/design/parking.md`.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use jiff::{SignedDuration, Timestamp};

/// Shortest delay of a parked backlog record.
const DELAY_MIN_MS: i64 = 1_000;
/// Longest delay; a longer backlog is spread over the second half of this time.
const DELAY_MAX_MS: i64 = 15 * 60_000;

/// Schedule of the parked backlog of one lane.
#[derive(Debug, Default)]
pub struct Backlog {
    /// When the last record is due, milliseconds since the epoch.
    tail_ms: AtomicI64,
}

impl Backlog {
    /// Appends a delivery and returns when it is due: after the backlog parked before it, one every
    /// `pace_us` microseconds. `random` is a number from 0.0 to 1.0.
    pub fn append(&self, now: Timestamp, pace_us: u64, random: f64) -> Timestamp {
        let now_ms = now.as_millisecond();
        let pace_ms = i64::try_from(pace_us / 1000).unwrap_or(DELAY_MAX_MS).max(1);
        let latest = now_ms.saturating_add(DELAY_MAX_MS);
        let next_slot = |tail: i64| tail.max(now_ms + DELAY_MIN_MS).saturating_add(pace_ms);
        let advance = |tail| Some(next_slot(tail).min(latest));
        let (Ok(tail) | Err(tail)) = self.tail_ms.fetch_update(Relaxed, Relaxed, advance);
        let delay_ms = next_slot(tail).saturating_sub(now_ms);
        let (delay_ms, spread) = if delay_ms < DELAY_MAX_MS {
            (delay_ms, 0.1 * random)
        } else {
            (DELAY_MAX_MS, -0.5 * random)
        };
        let delay = SignedDuration::from_millis(delay_ms);
        let delay = SignedDuration::from_secs_f64(delay.as_secs_f64() * (1.0 + spread));
        now.checked_add(delay).unwrap_or(now)
    }

    /// Returns when the last record is due, milliseconds since the epoch; 0 without a backlog.
    pub fn tail_ms(&self) -> i64 {
        self.tail_ms.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::queue::Random;

    #[test]
    fn long_backlog_is_spread_over_its_bound() {
        let (backlog, now, random) = (Backlog::default(), Timestamp::UNIX_EPOCH, Random::seeded(3));
        let delays: Vec<_> = (0..2000)
            .map(|_| backlog.append(now, 1_875_000, random.unit()).as_millisecond())
            .collect();
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX_MS * 11 / 10));
        let late = delays.iter().filter(|delay| **delay > DELAY_MAX_MS * 3 / 4).count();
        assert!((500..1500).contains(&late), "{late} of 2000 in the last quarter");
    }
}
