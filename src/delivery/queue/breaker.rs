//! Circuit breaker: stops attempts for a while when they keep failing.
//!
//! While it is open, deliveries are parked without an attempt, so a dead handler costs other
//! endpoints neither permits nor time. Then it admits one probe at a time to find out whether the
//! endpoint recovered. Pure state: time and randomness are arguments.
//!
//! **Source:** thresholds as Convoy's circuit breaker, with a shorter window.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::delivery::model::AttemptClass;

/// Length of the window in which failures are counted, in milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Attempts in the window before the failure ratio counts.
const WINDOW_ATTEMPTS_MIN: u32 = 10;
/// Consecutive failures that open the breaker, whatever the ratio.
const IN_A_ROW_MAX: u32 = 10;
/// How long a breaker stays open the first time, in milliseconds; doubles with each further trip.
const OPEN_MS: i64 = 30_000;
/// Longest time it stays open, in milliseconds.
const OPEN_MS_MAX: i64 = 15 * 60_000;
/// Random share by which that time varies.
const OPEN_JITTER: f64 = 0.2;
/// Consecutive successful probes that close it.
const PROBES_TO_CLOSE: u32 = 3;
/// How long a delivery waits that finds a probe running, in milliseconds.
const PROBE_PAUSE_MS: i64 = 5_000;
/// A probe without a result counts as lost after this time, in milliseconds.
const PROBE_MS_MAX: i64 = 120_000;

/// Decision whether an attempt may be made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// The attempt may be made.
    Allow,
    /// No attempt before this time, in milliseconds of monotonic time.
    RetryAfter(i64),
}

/// What a result says about the party that a breaker protects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It works.
    Healthy,
    /// It is down, overloaded or broken, as an attempt of this class shows.
    Failed(AttemptClass),
    /// Nothing.
    Unknown,
}

/// State of a breaker, as metrics name it; ordered by how much it restricts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum BreakerState {
    /// Attempts are admitted.
    Closed,
    /// One probe at a time is admitted.
    HalfOpen,
    /// No attempt is admitted.
    Open,
}

/// Since when a breaker is not closed, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tripped {
    /// When it opened, in milliseconds of monotonic time.
    pub since_ms: i64,
    /// Class of the last failure that opened it.
    pub cause: AttemptClass,
}

/// What the result of an attempt changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerChange {
    /// A closed breaker opened.
    Opened {
        /// Class of the failure.
        cause: AttemptClass,
        /// For how long no attempt is made, in milliseconds.
        wait_ms: i64,
    },
    /// It closed: enough probes in a row succeeded.
    Closed {
        /// For how long it was not closed, in milliseconds.
        after_ms: i64,
    },
}

/// A breaker; by default that of one endpoint.
#[derive(Debug)]
pub struct Breaker {
    state: Mutex<State>,
    open_ms_max: i64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::open_at_most(OPEN_MS_MAX)
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { since_ms: i64, attempts: u32, failures: u32, in_a_row: u32, trips: u32 },
    Open { tripped: Tripped, until_ms: i64, trips: u32 },
    HalfOpen { tripped: Tripped, probing_since_ms: Option<i64>, successes: u32, trips: u32 },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { since_ms: 0, attempts: 0, failures: 0, in_a_row: 0, trips: 0 }
    }
}

impl Breaker {
    /// Creates a closed breaker that stays open for at most `open_ms_max` milliseconds.
    pub(crate) fn open_at_most(open_ms_max: i64) -> Self {
        Self { state: Mutex::default(), open_ms_max }
    }

    /// Returns what [`admit`](Self::admit) would decide, without admitting a probe.
    #[must_use]
    pub fn peek(&self, now_ms: i64) -> Admission {
        self.lock().admission(now_ms)
    }

    /// Decides on an attempt at `now_ms`. A caller that is admitted must [record](Self::record) the
    /// result.
    pub fn admit(&self, now_ms: i64) -> Admission {
        let mut state = self.lock();
        let decided = state.admission(now_ms);
        if decided == Admission::Allow {
            *state = match *state {
                closed @ State::Closed { .. } => closed,
                State::Open { tripped, trips, .. } => {
                    let probing_since_ms = Some(now_ms);
                    State::HalfOpen { tripped, probing_since_ms, successes: 0, trips }
                }
                State::HalfOpen { tripped, successes, trips, .. } => {
                    let probing_since_ms = Some(now_ms);
                    State::HalfOpen { tripped, probing_since_ms, successes, trips }
                }
            };
        }
        decided
    }

    /// Records the result of an attempt; a failure that `may_open` a closed breaker does so if
    /// enough failed. `random` is a number from 0.0 to 1.0. Returns whether it opened or closed.
    pub fn record(
        &self,
        health: Health,
        may_open: bool,
        now_ms: i64,
        random: f64,
    ) -> Option<BreakerChange> {
        let mut state = self.lock();
        let failed = match health {
            Health::Failed(cause) => Some(cause),
            Health::Healthy => None,
            Health::Unknown => {
                // The next delivery probes instead.
                if let State::HalfOpen { probing_since_ms, .. } = &mut *state {
                    *probing_since_ms = None;
                }
                return None;
            }
        };
        let mut change = None;
        *state = match *state {
            State::Closed { since_ms, attempts, failures, in_a_row, trips } => {
                let fresh = now_ms.saturating_sub(since_ms) > WINDOW_MS;
                let (since_ms, attempts, failures) =
                    if fresh { (now_ms, 0, 0) } else { (since_ms, attempts, failures) };
                let (attempts, failures) = (attempts + 1, failures + u32::from(failed.is_some()));
                let in_a_row = if failed.is_some() { in_a_row + 1 } else { 0 };
                let mostly =
                    attempts >= WINDOW_ATTEMPTS_MIN && failures.saturating_mul(2) >= attempts;
                let opens = may_open && (mostly || in_a_row >= IN_A_ROW_MAX);
                match failed.filter(|_| opens) {
                    Some(cause) => {
                        let wait_ms = self.wait_ms(trips, random);
                        change = Some(BreakerChange::Opened { cause, wait_ms });
                        opened(Tripped { since_ms: now_ms, cause }, now_ms, wait_ms, trips)
                    }
                    None => State::Closed { since_ms, attempts, failures, in_a_row, trips },
                }
            }
            State::HalfOpen { tripped, successes, trips, .. } => match failed {
                Some(cause) => {
                    let wait_ms = self.wait_ms(trips, random);
                    opened(Tripped { cause, ..tripped }, now_ms, wait_ms, trips)
                }
                None if successes + 1 >= PROBES_TO_CLOSE => {
                    let after_ms = now_ms.saturating_sub(tripped.since_ms);
                    change = Some(BreakerChange::Closed { after_ms });
                    State::default()
                }
                None => {
                    let successes = successes + 1;
                    State::HalfOpen { tripped, probing_since_ms: None, successes, trips }
                }
            },
            // An attempt that was running when the breaker opened.
            open @ State::Open { .. } => open,
        };
        change
    }

    /// Returns the state at the last decision.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Returns since when and why it is not closed; none if it is.
    #[must_use]
    pub fn tripped(&self) -> Option<Tripped> {
        match *self.lock() {
            State::Closed { .. } => None,
            State::Open { tripped, .. } | State::HalfOpen { tripped, .. } => Some(tripped),
        }
    }

    /// Returns when the next attempt is admitted, milliseconds of monotonic time: none if attempts are
    /// admitted now.
    #[must_use]
    pub fn next_attempt_ms(&self, now_ms: i64) -> Option<i64> {
        match self.peek(now_ms) {
            Admission::Allow => None,
            Admission::RetryAfter(moment_ms) => Some(moment_ms),
        }
    }

    /// Admits a probe at once instead of after the time that the breaker is open; returns whether it was
    /// open. The attempt decides whether it closes.
    pub fn admit_probe_now(&self) -> bool {
        let mut state = self.lock();
        let State::Open { trips, tripped, .. } = *state else { return false };
        *state = State::HalfOpen { probing_since_ms: None, successes: 0, trips, tripped };
        true
    }

    /// Returns how long it stays open after so many trips.
    fn wait_ms(&self, trips: u32, random: f64) -> i64 {
        let planned = OPEN_MS.saturating_mul(1_i64.checked_shl(trips).unwrap_or(i64::MAX));
        let planned = planned.clamp(OPEN_MS, self.open_ms_max);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "minutes in milliseconds, times a number near one"
        )]
        let wait_ms = (planned as f64 * (1.0 + OPEN_JITTER * (2.0 * random - 1.0))) as i64;
        wait_ms
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn opened(tripped: Tripped, now_ms: i64, wait_ms: i64, trips: u32) -> State {
    let trips = trips.saturating_add(1).min(16);
    State::Open { tripped, until_ms: now_ms.saturating_add(wait_ms), trips }
}

impl State {
    fn admission(self, now_ms: i64) -> Admission {
        match self {
            Self::Open { until_ms, .. } if now_ms < until_ms => Admission::RetryAfter(until_ms),
            Self::HalfOpen { probing_since_ms: Some(since_ms), .. }
                if now_ms.saturating_sub(since_ms) < PROBE_MS_MAX =>
            {
                Admission::RetryAfter(now_ms.saturating_add(PROBE_PAUSE_MS))
            }
            Self::Closed { .. } | Self::Open { .. } | Self::HalfOpen { .. } => Admission::Allow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;
    const FAILED: Health = Health::Failed(AttemptClass::Timeout);

    fn tripped() -> Breaker {
        let breaker = Breaker::default();
        for at in 0..i64::from(IN_A_ROW_MAX) {
            assert_eq!(breaker.admit(at), Admission::Allow);
            breaker.record(FAILED, true, at, MIDDLE);
        }
        breaker
    }

    #[test]
    fn ten_failures_in_a_row_open_it() {
        let breaker = tripped();
        assert_eq!(breaker.state(), BreakerState::Open);
        let last = i64::from(IN_A_ROW_MAX) - 1;
        assert_eq!(breaker.admit(20), Admission::RetryAfter(last + OPEN_MS));
    }

    #[test]
    fn half_of_the_window_failing_opens_it() {
        let breaker = Breaker::default();
        for at in 0..10 {
            let health = if at % 2 == 0 { Health::Healthy } else { FAILED };
            breaker.record(health, true, 1_000 + at, MIDDLE);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn old_failures_do_not_count() {
        let breaker = Breaker::default();
        for at in 0..9 {
            breaker.record(FAILED, true, at, MIDDLE);
        }
        breaker.record(Health::Healthy, true, 10, MIDDLE);
        breaker.record(FAILED, true, WINDOW_MS * 3, MIDDLE);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn failures_that_may_not_open_it_do_not() {
        let breaker = Breaker::default();
        for at in 0..100 {
            breaker.record(FAILED, false, at, MIDDLE);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn probe_without_a_verdict_is_made_again() {
        let breaker = tripped();
        let now = OPEN_MS * 2;
        assert_eq!(breaker.admit(now), Admission::Allow);
        assert!(matches!(breaker.peek(now), Admission::RetryAfter(_)));
        breaker.record(Health::Unknown, false, now, MIDDLE);
        assert_eq!(breaker.admit(now), Admission::Allow);
    }

    #[test]
    fn one_probe_at_a_time_and_three_successes_close_it() {
        let breaker = tripped();
        for now in (10 + OPEN_MS..).take(PROBES_TO_CLOSE as usize) {
            assert_eq!(breaker.admit(now), Admission::Allow);
            assert!(matches!(breaker.admit(now), Admission::RetryAfter(_)), "a probe is running");
            breaker.record(Health::Healthy, true, now, MIDDLE);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn failed_probe_doubles_the_wait_up_to_the_bound() {
        let breaker = tripped();
        let mut now = OPEN_MS * 2;
        for trip in 1..12_u32 {
            assert_eq!(breaker.admit(now), Admission::Allow);
            breaker.record(FAILED, true, now, MIDDLE);
            let Admission::RetryAfter(until) = breaker.admit(now) else { panic!("it is open") };
            assert_eq!(until - now, (OPEN_MS << trip).min(OPEN_MS_MAX));
            now = until;
        }
    }

    #[test]
    fn lost_probe_does_not_keep_it_half_open_for_ever() {
        let breaker = tripped();
        let now = OPEN_MS * 2;
        assert_eq!(breaker.admit(now), Admission::Allow);
        assert_eq!(breaker.admit(now + PROBE_MS_MAX), Admission::Allow);
    }

    #[test]
    fn opening_and_closing_are_reported_once_with_the_cause() {
        let breaker = Breaker::default();
        let changes = |at: i64, health| breaker.record(health, true, at, MIDDLE);
        let opened: Vec<_> = (0..12).filter_map(|at| changes(at, FAILED)).collect();
        let cause = AttemptClass::Timeout;
        assert_eq!(opened, [BreakerChange::Opened { cause, wait_ms: OPEN_MS }]);
        assert_eq!(breaker.tripped(), Some(Tripped { since_ms: 9, cause }));
        // A failed probe opens it again, which is no news, with another cause.
        let now = OPEN_MS * 2;
        breaker.admit(now);
        assert_eq!(changes(now, Health::Failed(AttemptClass::Connect)), None);
        let again = Tripped { since_ms: 9, cause: AttemptClass::Connect };
        assert_eq!(breaker.tripped(), Some(again));
        let now = now + OPEN_MS * 4;
        let closed: Vec<_> = (0..3)
            .filter_map(|probe| {
                breaker.admit(now + probe);
                changes(now + probe, Health::Healthy)
            })
            .collect();
        assert_eq!(closed, [BreakerChange::Closed { after_ms: now + 2 - 9 }]);
        assert_eq!(breaker.tripped(), None);
    }
}
