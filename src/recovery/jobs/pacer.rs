//! The pace of a job: a token bucket in virtual time. Pure.

use super::document::JobRate;

/// Parts of an entry in which credit is counted: one for each millisecond at one entry per second.
const PARTS: i64 = 1_000;
/// The bucket has room for the entries of a second divided by this, or one entry.
const BURST_DIVISOR: i64 = 10;

/// Says how many entries may be handed over. In any interval of T seconds it admits at most
/// `rate * T` entries and one bucket: a tenth of the rate, or one entry.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    rate: i64,
    /// Parts that may be spent.
    credit: i64,
    /// When the credit was counted last, in milliseconds.
    counted_ms: i64,
}

impl Pacer {
    /// Creates a pacer with credit for one entry at `now_ms`, a monotonic time in milliseconds.
    #[must_use]
    pub fn new(rate: JobRate, now_ms: i64) -> Self {
        Self { rate: i64::from(rate.per_second()), credit: PARTS, counted_ms: now_ms }
    }

    /// Returns how many entries may be handed over at `now_ms`, at least one.
    ///
    /// # Errors
    /// None may: the milliseconds until one may.
    pub fn admitted(&mut self, now_ms: i64) -> Result<u32, u64> {
        let elapsed = now_ms.saturating_sub(self.counted_ms).max(0);
        let bucket = (self.rate * PARTS / BURST_DIVISOR).max(PARTS);
        self.credit = self.credit.saturating_add(elapsed.saturating_mul(self.rate)).min(bucket);
        self.counted_ms = now_ms.max(self.counted_ms);
        if self.credit >= PARTS {
            return Ok(u32::try_from(self.credit / PARTS).unwrap_or(u32::MAX));
        }
        let missing = (PARTS - self.credit).unsigned_abs();
        Err(missing.div_ceil(self.rate.unsigned_abs()).max(1))
    }

    /// Takes the credit of `entries` that were handed over.
    pub fn spend(&mut self, entries: u32) {
        self.credit = self.credit.saturating_sub(i64::from(entries) * PARTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over as much as is admitted, waking after the pauses of `pause`; returns the entries.
    fn handed_over(rate: u64, until_ms: i64, pause: impl Fn(u64) -> i64) -> i64 {
        let mut pacer = Pacer::new(JobRate::new(rate).unwrap(), 0);
        let (mut now_ms, mut entries) = (0, 0);
        while now_ms <= until_ms {
            now_ms += match pacer.admitted(now_ms) {
                Ok(admitted) => {
                    assert!(admitted >= 1);
                    pacer.spend(admitted);
                    entries += i64::from(admitted);
                    0
                }
                Err(wait_ms) => pause(wait_ms),
            };
        }
        entries
    }

    #[test]
    fn rate_is_kept_however_often_it_is_asked() {
        for rate in [1, 3, 7, 50, 333, 1_000] {
            let most = rate * 100 + (rate / 10).max(1);
            let least = rate * 99;
            for (name, entries) in [
                (
                    "after the returned waits",
                    handed_over(rate, 100_000, |wait| i64::try_from(wait).unwrap()),
                ),
                ("each millisecond", handed_over(rate, 100_000, |_| 1)),
            ] {
                let entries = u64::try_from(entries).unwrap();
                assert!(entries <= most && entries >= least, "{name}: {entries} at {rate}/s");
            }
            // Late wake-ups never make up for more than one bucket.
            let late = handed_over(rate, 100_000, |_| 1_000);
            assert!(u64::try_from(late).unwrap() <= 101 * (rate / 10).max(1) + 1, "{late}");
        }
    }

    #[test]
    fn clock_that_stops_or_goes_back_admits_nothing_more() {
        let mut pacer = Pacer::new(JobRate::new(10).unwrap(), 5_000);
        assert_eq!(pacer.admitted(5_000), Ok(1));
        pacer.spend(1);
        assert_eq!(pacer.admitted(5_000), Err(100));
        assert_eq!(pacer.admitted(1_000), Err(100));
        assert_eq!(pacer.admitted(5_100), Ok(1));
    }
}
