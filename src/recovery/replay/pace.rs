//! How fast a replay hands deliveries over: at the rate of its job, and slower while the machine is busy. Pure.

use std::time::Duration;

use crate::recovery::jobs::JobRate;

/// Part of the time between two deliveries of the rate that is between their hand-overs, in percent: what is
/// left of a step is for its last records and its position.
const SPREAD_PERCENT: u32 = 66;
/// A hand-over that begins so much later than planned waited for a processor: timers have a resolution of a
/// millisecond.
const LATE: Duration = Duration::from_millis(3);
/// More late hand-overs than one of so many slow the job down.
const LATE_DIVISOR: usize = 20;
/// Most that a pause is stretched, in percent.
const STRETCH_MAX: u32 = 3_200;

/// The pace of one replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReplayPace {
    /// Length of a pause in percent of that of an idle machine.
    stretch: u32,
}

impl ReplayPace {
    /// The pace on an idle machine.
    pub(super) const fn new() -> Self {
        Self { stretch: 100 }
    }

    /// Returns the time between the beginnings of two hand-overs.
    pub(super) fn pause(self, rate: JobRate) -> Duration {
        let idle = Duration::from_secs(1) * SPREAD_PERCENT / 100 / rate.per_second().max(1);
        idle * self.stretch / 100
    }

    /// Returns how many deliveries a step may hand over within `time`, at least one.
    pub(super) fn within(self, time: Duration, rate: JobRate) -> usize {
        let number = time.as_nanos().checked_div(self.pause(rate).as_nanos()).unwrap_or(u128::MAX);
        usize::try_from(number).unwrap_or(usize::MAX).max(1)
    }

    /// Takes how much later than planned each hand-over of a step began. The pace is halved when too many were late, and
    /// rises by a tenth when not: so a replay uses what live events leave.
    pub(super) fn observe(&mut self, delays: &[Duration]) {
        let late = delays.iter().filter(|delay| **delay > LATE).count();
        self.stretch = match late * LATE_DIVISOR > delays.len() {
            true => (self.stretch * 2).min(STRETCH_MAX),
            false => (self.stretch * 10 / 11).max(100),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_millis(20);

    #[test]
    fn pace_is_that_of_the_rate_while_no_hand_over_is_late() {
        let rate = JobRate::new(100).unwrap();
        let mut pace = ReplayPace::new();
        pace.observe(&[SOON; 100]);
        assert_eq!(pace.pause(rate), Duration::from_micros(6_600));
        assert_eq!(pace.within(Duration::from_secs(1), rate), 151);
        let mut delays = [SOON; 100];
        delays[..5].fill(LONG);
        pace.observe(&delays);
        assert_eq!(pace, ReplayPace::new(), "five of a hundred are not too many");
    }

    #[test]
    fn pace_is_halved_while_hand_overs_are_late_and_rises_again() {
        let rate = JobRate::new(1_000).unwrap();
        let mut pace = ReplayPace::new();
        let idle = pace.pause(rate);
        pace.observe(&[LONG]);
        assert_eq!(pace.pause(rate), idle * 2);
        (0..100).for_each(|_| pace.observe(&[LONG; 9]));
        assert_eq!(pace.pause(rate), idle * 32, "it never stops");
        assert_eq!(pace.within(Duration::from_millis(1), rate), 1);
        (0..100).for_each(|_| pace.observe(&[SOON; 9]));
        assert_eq!(pace, ReplayPace::new());
    }
}
