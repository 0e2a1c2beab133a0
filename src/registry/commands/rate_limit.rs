//! Registration rate limit per installation.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::InstallationId;

/// Tracked installations above which idle ones are evicted.
const REMEMBERED_MAX: usize = 10_000;

/// A token bucket per installation.
pub(crate) struct RateLimit {
    buckets: Option<DefaultKeyedRateLimiter<InstallationId>>,
    clock: DefaultClock,
}

impl RateLimit {
    /// Limits to `per_second` with bursts of `burst`; 0 per second = no limit.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(per_second).map(|rate| {
            Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap_or(rate))
        });
        Self { buckets: quota.map(RateLimiter::keyed), clock: DefaultClock::default() }
    }

    /// Charges one registration, or returns the time to wait.
    pub(crate) fn check(&self, installation: &InstallationId) -> Result<(), Duration> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        if buckets.len() > REMEMBERED_MAX {
            buckets.retain_recent();
        }
        buckets.check_key(installation).map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_installation_at_its_limit_leaves_others_alone() {
        let limit = RateLimit::new(1, 3);
        let (a, b) = (InstallationId::from("a"), InstallationId::from("b"));
        assert!((0..3).all(|_| limit.check(&a).is_ok()));
        let wait = limit.check(&a).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(limit.check(&b).is_ok());
    }

    #[test]
    fn rate_of_zero_is_no_limit() {
        let limit = RateLimit::new(0, 0);
        assert!((0..10_000).all(|_| limit.check(&"a".into()).is_ok()));
    }
}
