//! Notices that the number of parked deliveries grows. Pure.

/// Interval over which the number is compared, in milliseconds.
const INTERVAL_MS: i64 = 60_000;
/// Smallest growth within the interval that is reported.
const GROWTH_MIN: u64 = 100;

/// The number of parked deliveries an interval ago.
#[derive(Debug, Default)]
pub(super) struct ParkedGrowth {
    /// When it was noted, in milliseconds of monotonic time, and the number.
    before: Option<(i64, u64)>,
}

impl ParkedGrowth {
    /// Takes the present number. Returns by how much it grew if an interval is over, and it grew by
    /// much: at most once in each interval.
    pub(super) fn step(&mut self, parked: u64, now_ms: i64) -> Option<u64> {
        let (at_ms, before) = *self.before.get_or_insert((now_ms, parked));
        if now_ms.saturating_sub(at_ms) < INTERVAL_MS {
            return None;
        }
        self.before = Some((now_ms, parked));
        parked.checked_sub(before).filter(|grown| *grown >= GROWTH_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_reported_once_a_minute() {
        let mut growth = ParkedGrowth::default();
        let mut reported = Vec::new();
        for second in 0..200 {
            let parked = if second < 130 { second * 10 } else { 1_300 };
            reported.extend(growth.step(parked, i64::try_from(second).unwrap() * 1_000));
        }
        assert_eq!(reported, [600, 600, 100]);
    }
}
