//! How much access tokens are used on this replica: a limit of requests per second for each, and when it was used last.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::clock;
use crate::registry::{ACCESS_TOKENS_MAX, AccessTokenRecord};

/// Tokens that are remembered before those that were deleted are forgotten.
const REMEMBERED_MAX: usize = 2 * ACCESS_TOKENS_MAX;

/// The use of access tokens on this replica.
#[derive(Debug, Default)]
pub struct AccessUse {
    tokens: DashMap<Box<str>, Arc<TokenUse>>,
    clock: DefaultClock,
}

#[derive(Debug)]
struct TokenUse {
    /// A later token with this id is another one.
    created_ms: i64,
    rate: u32,
    limiter: DefaultDirectRateLimiter,
    last_ms: AtomicI64,
}

impl TokenUse {
    fn new(token: &AccessTokenRecord, last_ms: i64) -> Self {
        let rate = token.requests_per_second;
        let quota = Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN));
        let (created_ms, last_ms) = (token.created_ms, AtomicI64::new(last_ms));
        Self { created_ms, rate, limiter: RateLimiter::direct(quota), last_ms }
    }
}

impl AccessUse {
    /// Charges a request to a token; `exists` says which tokens there are.
    ///
    /// # Errors
    /// It sends more than it may, and how long to wait.
    pub(in crate::api) fn charge(
        &self,
        token: &AccessTokenRecord,
        exists: impl Fn(&str) -> bool,
    ) -> Result<(), Duration> {
        let of_token = self.of(token, exists);
        of_token.last_ms.store(clock::now_ms(), Relaxed);
        let checked = of_token.limiter.check();
        checked.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Returns when a token was used last, milliseconds since the epoch; none if it was not used since this replica
    /// started.
    pub(in crate::api) fn last_ms(&self, token: &AccessTokenRecord) -> Option<i64> {
        let known = self.tokens.get(token.id.as_str())?;
        (known.created_ms == token.created_ms).then(|| known.last_ms.load(Relaxed))
    }

    fn of(&self, token: &AccessTokenRecord, exists: impl Fn(&str) -> bool) -> Arc<TokenUse> {
        let known = self.tokens.get(token.id.as_str()).map(|known| Arc::clone(&known));
        let is_it = |known: &Arc<TokenUse>| known.created_ms == token.created_ms;
        let known = known.filter(is_it);
        if let Some(known) = known.as_ref().filter(|known| known.rate == token.requests_per_second)
        {
            return Arc::clone(known);
        }
        if self.tokens.len() >= REMEMBERED_MAX {
            self.tokens.retain(|id, _| exists(id));
        }
        let last_ms = known.map_or(0, |known| known.last_ms.load(Relaxed));
        let new = Arc::new(TokenUse::new(token, last_ms));
        self.tokens.insert(token.id.as_str().into(), Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Scope, UnknownMembers};

    fn token(id: &str, rate: u32) -> AccessTokenRecord {
        AccessTokenRecord {
            format: 1,
            id: id.into(),
            token_hash: id.into(),
            scope: Scope::Read,
            installation: None,
            expires_ms: None,
            requests_per_second: rate,
            description: None,
            created_ms: 1,
            updated_ms: 1,
            unknown: UnknownMembers::default(),
        }
    }

    #[test]
    fn token_at_its_limit_leaves_others_alone_and_a_changed_limit_counts_at_once() {
        let tokens = AccessUse::default();
        let charge = |token: &AccessTokenRecord| tokens.charge(token, |_| true);
        let (slow, other) = (token("slow", 3), token("other", 3));
        assert_eq!(tokens.last_ms(&slow), None);
        assert!((0..3).all(|_| charge(&slow).is_ok()));
        let wait = charge(&slow).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(charge(&other).is_ok());
        assert!(charge(&token("slow", 1_000)).is_ok());
        assert!(tokens.last_ms(&slow).is_some());
        let later = AccessTokenRecord { created_ms: 2, ..token("slow", 3) };
        assert_eq!(tokens.last_ms(&later), None, "another token with the same id");
    }

    #[test]
    fn deleted_tokens_are_forgotten() {
        let tokens = AccessUse::default();
        for number in 0..REMEMBERED_MAX + 10 {
            let exists = |id: &str| id.ends_with('7');
            tokens.charge(&token(&format!("t{number}"), 1), exists).unwrap();
        }
        assert!(tokens.tokens.len() < REMEMBERED_MAX, "{}", tokens.tokens.len());
    }
}
