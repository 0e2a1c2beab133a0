//! Bound of the tests of endpoints, which send requests to handlers at the word of an operator.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Tests in one minute.
const PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
/// Tests at once.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

/// Bounds the tests of endpoints on one replica.
#[derive(Debug)]
pub struct PingLimit(DefaultDirectRateLimiter);

impl Default for PingLimit {
    fn default() -> Self {
        Self(RateLimiter::direct(Quota::per_minute(PER_MINUTE).allow_burst(BURST)))
    }
}

impl PingLimit {
    /// Takes the turn of one test.
    ///
    /// # Errors
    /// The time until the next test is accepted.
    pub fn take(&self) -> Result<(), Duration> {
        let now = DefaultClock::default().now();
        self.0.check().map_err(|refused| refused.wait_time_from(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_beyond_the_burst_wait() {
        let limit = PingLimit::default();
        for _ in 0..BURST.get() {
            assert!(limit.take().is_ok());
        }
        let wait = limit.take().unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2), "{wait:?}");
    }
}
