//! Circuit breaker of one endpoint: stops attempts for a while when the endpoint keeps failing.
//!
//! While it is open, deliveries are parked without an attempt, so a dead handler costs other
//! endpoints neither permits nor time. Then it admits one probe at a time to find out whether the
//! endpoint recovered. Pure state: time and randomness are arguments.
//!
//! **Source:** thresholds as Convoy's circuit breaker, with a shorter window.

use std::sync::{Mutex, PoisonError};

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
/// A probe without a result counts as lost after this time, in milliseconds.
const PROBE_MS_MAX: i64 = 120_000;

/// Decision whether an attempt may be made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// The attempt may be made.
    Allow,
    /// No attempt before this time, milliseconds since the epoch.
    RetryAfter(i64),
}

/// State of a breaker, as metrics name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    /// Attempts are admitted.
    Closed,
    /// One probe at a time is admitted.
    HalfOpen,
    /// No attempt is admitted.
    Open,
}

/// The breaker of one endpoint.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { since_ms: i64, attempts: u32, failures: u32, in_a_row: u32, trips: u32 },
    Open { until_ms: i64, trips: u32 },
    HalfOpen { probing_since_ms: Option<i64>, successes: u32, trips: u32 },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { since_ms: 0, attempts: 0, failures: 0, in_a_row: 0, trips: 0 }
    }
}

impl Breaker {
    /// Decides on an attempt at `now_ms`. A caller that is admitted must [record](Self::record) the
    /// result.
    pub fn admit(&self, now_ms: i64) -> Admission {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => Admission::Allow,
            State::Open { until_ms, .. } if now_ms < until_ms => Admission::RetryAfter(until_ms),
            State::Open { trips, .. } => {
                *state = State::HalfOpen { probing_since_ms: Some(now_ms), successes: 0, trips };
                Admission::Allow
            }
            State::HalfOpen { probing_since_ms: Some(since_ms), .. }
                if now_ms.saturating_sub(since_ms) < PROBE_MS_MAX =>
            {
                Admission::RetryAfter(now_ms.saturating_add(OPEN_MS))
            }
            State::HalfOpen { successes, trips, .. } => {
                *state = State::HalfOpen { probing_since_ms: Some(now_ms), successes, trips };
                Admission::Allow
            }
        }
    }

    /// Records the result of an attempt; `random` is a number from 0.0 to 1.0.
    pub fn record(&self, class: AttemptClass, now_ms: i64, random: f64) {
        let failed = is_failure(class);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match *state {
            State::Closed { since_ms, attempts, failures, in_a_row, trips } => {
                let fresh = now_ms.saturating_sub(since_ms) > WINDOW_MS;
                let (since_ms, attempts, failures) =
                    if fresh { (now_ms, 0, 0) } else { (since_ms, attempts, failures) };
                let (attempts, failures) = (attempts + 1, failures + u32::from(failed));
                let in_a_row = if failed { in_a_row + 1 } else { 0 };
                let mostly =
                    attempts >= WINDOW_ATTEMPTS_MIN && failures.saturating_mul(2) >= attempts;
                if failed && (mostly || in_a_row >= IN_A_ROW_MAX) {
                    open(now_ms, trips, random)
                } else {
                    State::Closed { since_ms, attempts, failures, in_a_row, trips }
                }
            }
            State::HalfOpen { trips, .. } if failed => open(now_ms, trips, random),
            State::HalfOpen { successes, .. } if successes + 1 >= PROBES_TO_CLOSE => {
                State::default()
            }
            State::HalfOpen { successes, trips, .. } => {
                State::HalfOpen { probing_since_ms: None, successes: successes + 1, trips }
            }
            // An attempt that was running when the breaker opened.
            open @ State::Open { .. } => open,
        };
    }

    /// Returns the state at the last decision.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Closed { .. } => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }
}

/// Returns whether a result counts against the endpoint: it is down, overloaded or broken. A 4xx
/// rejects one request and predicts nothing about the next.
fn is_failure(class: AttemptClass) -> bool {
    matches!(
        class,
        AttemptClass::Timeout
            | AttemptClass::Connect
            | AttemptClass::Tls
            | AttemptClass::Dns
            | AttemptClass::ServerError
            | AttemptClass::TooManyRequests
            | AttemptClass::Protocol
    )
}

fn open(now_ms: i64, trips: u32, random: f64) -> State {
    let planned = OPEN_MS.saturating_mul(1_i64.checked_shl(trips).unwrap_or(i64::MAX));
    let planned = planned.clamp(OPEN_MS, OPEN_MS_MAX);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "minutes in milliseconds, times a number near one"
    )]
    let wait_ms = (planned as f64 * (1.0 + OPEN_JITTER * (2.0 * random - 1.0))) as i64;
    State::Open { until_ms: now_ms.saturating_add(wait_ms), trips: trips.saturating_add(1).min(16) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    fn tripped() -> Breaker {
        let breaker = Breaker::default();
        for at in 0..i64::from(IN_A_ROW_MAX) {
            assert_eq!(breaker.admit(at), Admission::Allow);
            breaker.record(AttemptClass::Timeout, at, MIDDLE);
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
            let class = if at % 2 == 0 { AttemptClass::Success } else { AttemptClass::ServerError };
            breaker.record(class, 1_000 + at, MIDDLE);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn old_failures_do_not_count() {
        let breaker = Breaker::default();
        for at in 0..9 {
            breaker.record(AttemptClass::ServerError, at, MIDDLE);
        }
        breaker.record(AttemptClass::Success, 10, MIDDLE);
        breaker.record(AttemptClass::ServerError, WINDOW_MS * 3, MIDDLE);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn rejections_of_single_requests_never_open_it() {
        let breaker = Breaker::default();
        for at in 0..100 {
            breaker.record(AttemptClass::ClientError, at, MIDDLE);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn one_probe_at_a_time_and_three_successes_close_it() {
        let breaker = tripped();
        for now in (10 + OPEN_MS..).take(PROBES_TO_CLOSE as usize) {
            assert_eq!(breaker.admit(now), Admission::Allow);
            assert!(matches!(breaker.admit(now), Admission::RetryAfter(_)), "a probe is running");
            breaker.record(AttemptClass::Success, now, MIDDLE);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn failed_probe_doubles_the_wait_up_to_the_bound() {
        let breaker = tripped();
        let mut now = OPEN_MS * 2;
        for trip in 1..12_u32 {
            assert_eq!(breaker.admit(now), Admission::Allow);
            breaker.record(AttemptClass::Connect, now, MIDDLE);
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
}
