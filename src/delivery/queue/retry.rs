//! Retry schedules: when a failed delivery is attempted again, and when its attempts are exhausted.

use std::time::Duration;

use jiff::Timestamp;

use crate::delivery::model::{AttemptClass, ParkReason, Progress, RequestedDelay};
use crate::domain::RetryProfile;

/// Shortest delay after a 429 or a timeout: the handler is overloaded, not broken.
const OVERLOAD_DELAY_MIN: Duration = Duration::from_secs(60);
/// A `Retry-After` of up to this long is always honoured.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Longest delay between two attempts, whatever the configuration.
const DELAY_S_MAX: u64 = 30 * 24 * 3600;

/// Delay until the next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryDelay {
    /// How long from now.
    pub delay: Duration,
    /// Whether it is the delay that the handler requested, neither shortened nor lengthened.
    pub is_requested: bool,
}

/// Delays between attempts.
#[derive(Clone, Debug)]
pub struct RetrySchedule {
    delays: Vec<Duration>,
    jitter: f64,
}

impl RetrySchedule {
    /// Creates a schedule with one delay before each attempt after the first, each longer or
    /// shorter by a random share of up to `jitter` (0.0 to 1.0).
    #[must_use]
    pub fn new(delays_s: &[u64], jitter: f64) -> Self {
        let delays = delays_s.iter().map(|s| Duration::from_secs(*s.min(&DELAY_S_MAX))).collect();
        Self { delays, jitter: jitter.clamp(0.0, 1.0) }
    }

    /// Returns whether a delivery that is parked for `reason` has waited for longer than `max` in
    /// addition to the delays of its attempts. A retry after a failed attempt never is: its
    /// schedule ends by itself.
    #[must_use]
    pub fn is_expired(
        &self,
        progress: &Progress,
        reason: ParkReason,
        now: Timestamp,
        max: Duration,
    ) -> bool {
        let failed = usize::try_from(progress.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let delays: Duration = self.delays.iter().take(failed).sum();
        let allowed = max.saturating_add(delays.mul_f64(1.0 + self.jitter));
        let waited = now.duration_since(progress.first_seen);
        let waited = Duration::try_from(waited).unwrap_or(Duration::ZERO);
        reason != ParkReason::Backoff && waited > allowed
    }

    /// Returns the delay after failed attempt `attempt` (from 1); none after the last.
    ///
    /// A delay requested by the handler replaces the planned one: a `Retry-After` is clamped
    /// between the planned delay and the larger of twice that and an hour, a retry request in the
    /// body is used unchanged. After a 429 or a timeout the delay is at least a minute: a shorter
    /// `Retry-After` allows an attempt earlier, it does not demand one. `random` is a number from
    /// 0.0 to 1.0.
    #[must_use]
    pub fn delay_after(
        &self,
        attempt: u32,
        class: AttemptClass,
        requested: Option<RequestedDelay>,
        random: f64,
    ) -> Option<RetryDelay> {
        let index = usize::try_from(attempt.checked_sub(1)?).ok()?;
        let planned = *self.delays.get(index)?;
        Some(match requested {
            Some(RequestedDelay::InBody { delay, is_exact }) => {
                RetryDelay { delay, is_requested: is_exact }
            }
            Some(RequestedDelay::RetryAfter(wanted)) => {
                let longest = RETRY_AFTER_MAX.max(planned.saturating_mul(2));
                let delay = wanted.clamp(planned, longest).max(least(class));
                RetryDelay { delay, is_requested: delay == wanted }
            }
            None => {
                let delay = planned.mul_f64(1.0 + self.jitter * (2.0 * random - 1.0));
                RetryDelay { delay: delay.max(least(class)), is_requested: false }
            }
        })
    }
}

/// The schedule of each profile.
#[derive(Clone, Debug)]
pub(crate) struct RetrySchedules {
    router: RetrySchedule,
    webhook: RetrySchedule,
    forge_remote: RetrySchedule,
    forge_function: RetrySchedule,
}

impl RetrySchedules {
    /// Creates the vendor's schedules, with `router` as Switchyard's own.
    #[must_use]
    pub(crate) fn new(router: RetrySchedule) -> Self {
        Self {
            router,
            // 5 to 15 minutes.
            webhook: RetrySchedule::new(&[600; 5], 0.5),
            forge_remote: RetrySchedule::new(&[60; 4], 0.0),
            forge_function: RetrySchedule::new(&[1; 4], 0.0),
        }
    }

    /// Returns the schedule of a profile.
    #[must_use]
    pub(crate) fn of(&self, profile: RetryProfile) -> &RetrySchedule {
        match profile {
            RetryProfile::Router => &self.router,
            RetryProfile::Webhook => &self.webhook,
            RetryProfile::ForgeRemote => &self.forge_remote,
            RetryProfile::ForgeFunction => &self.forge_function,
        }
    }
}

fn least(class: AttemptClass) -> Duration {
    match class {
        AttemptClass::TooManyRequests | AttemptClass::Timeout => OVERLOAD_DELAY_MIN,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::queue::Random;

    const DEFAULT: [u64; 8] = [5, 30, 300, 1800, 7200, 18000, 36000, 36000];

    fn delay(
        attempt: u32,
        class: AttemptClass,
        requested: Option<RequestedDelay>,
    ) -> Option<Duration> {
        let schedule = RetrySchedule::new(&DEFAULT, 0.2);
        schedule.delay_after(attempt, class, requested, 0.5).map(|retry| retry.delay)
    }

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn nine_attempts_in_a_day_and_three_hours() {
        let delays: Vec<_> =
            (1..=8).map(|n| delay(n, AttemptClass::ServerError, None).unwrap()).collect();
        let total: Duration = delays.iter().sum();
        assert_eq!(total, Duration::from_secs(27 * 3600 + 35 * 60 + 35));
        assert_eq!(delay(9, AttemptClass::ServerError, None), None);
    }

    #[test]
    fn jitter_stays_inside_its_share() {
        let schedule = RetrySchedule::new(&[100], 0.2);
        let at = |random| {
            let retry = schedule.delay_after(1, AttemptClass::ServerError, None, random);
            retry.map(|retry| retry.delay)
        };
        assert_eq!(at(0.0), secs(80));
        assert_eq!(at(1.0), secs(120));
        let random = Random::seeded(7);
        for _ in 0..1000 {
            let delay = at(random.unit()).unwrap();
            assert!((secs(80)..=secs(120)).contains(&Some(delay)), "{delay:?}");
        }
    }

    #[test]
    fn overloaded_handler_gets_a_minute() {
        assert_eq!(delay(1, AttemptClass::TooManyRequests, None), secs(60));
        assert_eq!(delay(1, AttemptClass::Timeout, None), secs(60));
        assert_eq!(delay(3, AttemptClass::Timeout, None), secs(300));
    }

    #[test]
    fn retry_after_replaces_the_delay_within_bounds() {
        let requested = |seconds| Some(RequestedDelay::RetryAfter(Duration::from_secs(seconds)));
        assert_eq!(delay(1, AttemptClass::ServerError, requested(90)), secs(90));
        assert_eq!(delay(1, AttemptClass::ServerError, requested(1)), secs(5));
        assert_eq!(delay(1, AttemptClass::ServerError, requested(90_000)), secs(3600));
        assert_eq!(delay(5, AttemptClass::ServerError, requested(90_000)), secs(14_400));
        assert_eq!(delay(1, AttemptClass::TooManyRequests, requested(7)), secs(60));
    }

    #[test]
    fn only_the_delay_that_was_requested_counts_as_requested() {
        let is_requested = |class, seconds| {
            let requested = Some(RequestedDelay::RetryAfter(Duration::from_secs(seconds)));
            let schedule = RetrySchedule::new(&DEFAULT, 0.2);
            schedule.delay_after(1, class, requested, 0.5).unwrap().is_requested
        };
        assert!(!is_requested(AttemptClass::TooManyRequests, 7), "it is a minute");
        assert!(is_requested(AttemptClass::TooManyRequests, 90));
        assert!(!is_requested(AttemptClass::ServerError, 90_000), "it is an hour");
        assert!(is_requested(AttemptClass::ServerError, 5));
        let retry =
            RetrySchedule::new(&[60], 0.0).delay_after(1, AttemptClass::TooManyRequests, None, 0.5);
        assert!(!retry.unwrap().is_requested);
    }

    #[test]
    fn retry_request_of_the_app_is_used_unchanged() {
        for is_exact in [true, false] {
            let requested = RequestedDelay::InBody { delay: Duration::from_secs(1), is_exact };
            let schedule = RetrySchedule::new(&DEFAULT, 0.2);
            let retry = schedule.delay_after(4, AttemptClass::Success, Some(requested), 0.5);
            let expected = RetryDelay { delay: Duration::from_secs(1), is_requested: is_exact };
            assert_eq!(retry, Some(expected));
        }
    }

    #[test]
    fn vendor_profiles_repeat_as_the_vendor_does() {
        let schedules = RetrySchedules::new(RetrySchedule::new(&[], 0.0));
        let delays = |profile, random| {
            let schedule = schedules.of(profile);
            let delay =
                |attempt| schedule.delay_after(attempt, AttemptClass::ServerError, None, random);
            (1..).map_while(delay).map(|retry| retry.delay.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(delays(RetryProfile::Webhook, 0.0), [300; 5]);
        assert_eq!(delays(RetryProfile::Webhook, 1.0), [900; 5]);
        assert_eq!(delays(RetryProfile::ForgeRemote, 0.7), [60; 4]);
        assert_eq!(delays(RetryProfile::ForgeFunction, 0.7), [1; 4]);
        assert!(delays(RetryProfile::Router, 0.7).is_empty());
    }
}
