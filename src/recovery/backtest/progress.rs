//! How far a backtest is.

use std::time::Duration;

/// What the thread of a backtest has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BacktestStatus {
    /// Events that were decided on.
    pub events: u64,
    /// Those that would be delivered.
    pub delivered: u64,
    /// Those on which the filter ended in an error.
    pub failed: u64,
}

/// How far a backtest is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BacktestProgress {
    /// What was done.
    pub status: BacktestStatus,
    /// Events that are to be read; none until that is known.
    pub of: Option<u64>,
    /// Time since it began.
    pub elapsed: Duration,
}

impl BacktestProgress {
    /// Returns about how long it still takes; none if nothing was done, or it is not known how much is
    /// to be done.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let (done, of) = (self.status.events, self.of?);
        let nanos = self.elapsed.as_nanos().checked_mul(u128::from(of.saturating_sub(done)))?;
        Some(Duration::from_nanos(u64::try_from(nanos.checked_div(u128::from(done))?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_follows_from_what_was_done() {
        let progress = |events, of, seconds| BacktestProgress {
            status: BacktestStatus { events, ..BacktestStatus::default() },
            of,
            elapsed: Duration::from_secs(seconds),
        };
        assert_eq!(progress(250, Some(1_000), 10).remaining(), Some(Duration::from_secs(30)));
        assert_eq!(progress(1_000, Some(1_000), 10).remaining(), Some(Duration::ZERO));
        assert_eq!(progress(0, Some(1_000), 10).remaining(), None);
        assert_eq!(progress(250, None, 10).remaining(), None);
    }
}
