//! Limits clients that fail to authenticate.
//!
//! A client that fails more often than allowed is answered 429 instead of 401, without the work that
//! a failure otherwise costs. A right credential is accepted all the same: apps share addresses, and one
//! with an expired token must not lock out another. What protects tokens from being guessed is their
//! length.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::info;

use super::client::Client;
use crate::clock;
use crate::telemetry::LogBudget;

/// Addresses that are counted one by one; the failures of further ones are counted together.
const ADDRESSES_MAX: usize = 10_000;
/// Time in which the failures of an address are forgotten.
const WINDOW_MS: i64 = 60_000;

/// Shortest interval between two removals of old counts.
const SWEEP_MS: i64 = 1_000;

/// Failed authentications by address.
#[derive(Debug)]
pub struct AuthFailures {
    per_minute: u32,
    counts: Mutex<Counts>,
    log: LogBudget,
}

#[derive(Debug, Default)]
struct Counts {
    by_address: HashMap<IpAddr, Count>,
    /// Of the addresses beyond [`ADDRESSES_MAX`].
    others: Count,
    /// When old counts were last removed.
    swept_ms: i64,
}

/// Failures that decrease evenly, by the limit in each window.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Thousandths of a failure.
    failures_m: i64,
    at_ms: i64,
}

impl AuthFailures {
    /// Allows so many failures of one address in a minute.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            counts: Mutex::default(),
            log: LogBudget::new(Duration::from_secs(1), 1),
        }
    }

    /// Logs a failure within the budget of all, with what is known of the credentials; the address is what an operator
    /// can block.
    pub fn log(
        &self,
        api: &'static str,
        reason: &'static str,
        detail: Option<&str>,
        client: Client,
    ) {
        if let Some(suppressed) = self.log.take() {
            let address = client.limited_address().map(tracing::field::display);
            info!(api, reason, detail, address, suppressed, "request not authenticated");
        }
    }

    /// Returns when a client that failed too often may try again, in seconds. None for a client without
    /// an address of its own.
    #[must_use]
    pub fn limited_for_s(&self, client: Client) -> Option<u64> {
        let address = client.limited_address()?;
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.by_address.get(&address).copied();
        let count = count.or_else(|| counts.is_full().then_some(counts.others))?;
        self.wait_s(count, clock::uptime_ms())
    }

    /// Counts a failure of a client; returns as [`AuthFailures::limited_for_s`], of before this failure.
    pub fn record(&self, client: Client) -> Option<u64> {
        let address = client.limited_address()?;
        let now_ms = clock::uptime_ms();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sweep(now_ms);
        let count = match counts.is_full() && !counts.by_address.contains_key(&address) {
            true => &mut counts.others,
            false => counts.by_address.entry(address).or_default(),
        };
        let wait_s = self.wait_s(*count, now_ms);
        if wait_s.is_none() {
            let failures_m = self.left_m(*count, now_ms) + 1_000;
            *count = Count { failures_m, at_ms: now_ms };
        }
        wait_s
    }

    /// Returns what is left of the failures of a count.
    fn left_m(&self, count: Count, now_ms: i64) -> i64 {
        let forgotten_m = (now_ms - count.at_ms).saturating_mul(i64::from(self.per_minute)) / 60;
        (count.failures_m - forgotten_m).max(0)
    }

    fn wait_s(&self, count: Count, now_ms: i64) -> Option<u64> {
        let per_minute = i64::from(self.per_minute);
        let excess_m = self.left_m(count, now_ms) + 1_000 - per_minute * 1_000;
        if excess_m <= 0 {
            return None;
        }
        let wait = Duration::from_millis(u64::try_from(excess_m * 60 / per_minute.max(1)).ok()?);
        Some(wait.as_secs() + 1)
    }
}

impl Counts {
    fn is_full(&self) -> bool {
        self.by_address.len() >= ADDRESSES_MAX
    }

    /// Removes old counts if there is no space for another; not often, since it reads all.
    fn sweep(&mut self, now_ms: i64) {
        if self.is_full() && now_ms - self.swept_ms >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.by_address.retain(|_, count| now_ms - count.at_ms < WINDOW_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;
    use crate::listener::TrustedProxies;

    fn client(peer: IpAddr) -> Client {
        Client::of(peer, &HeaderMap::new(), &TrustedProxies::default())
    }

    #[test]
    fn address_beyond_the_limit_waits_and_others_do_not() {
        let failures = AuthFailures::new(5);
        let (one, other) = (client([9, 9, 9, 9].into()), client([9, 9, 9, 8].into()));
        for _ in 0..5 {
            assert_eq!(failures.limited_for_s(one), None);
            assert_eq!(failures.record(one), None);
        }
        let wait_s = failures.record(one).unwrap();
        assert!((1..=13).contains(&wait_s), "{wait_s}");
        assert!(failures.limited_for_s(one).is_some());
        assert_eq!(failures.limited_for_s(other), None);
        assert_eq!(failures.record(Client::UNKNOWN), None);
    }

    #[test]
    fn failures_are_forgotten_evenly() {
        let failures = AuthFailures::new(60);
        let count = Count { failures_m: 60_000, at_ms: 0 };
        assert_eq!(failures.wait_s(count, 0), Some(2));
        assert_eq!(failures.wait_s(count, 1_000), None);
        assert_eq!(failures.left_m(count, 30_000), 30_000);
        assert_eq!(failures.left_m(count, 90_000), 0);
    }

    #[test]
    fn number_of_addresses_is_bounded() {
        let failures = AuthFailures::new(1);
        for at in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 2 {
            failures.record(client(IpAddr::from(at.to_be_bytes())));
        }
        let fresh = client([200, 0, 0, 1].into());
        assert!(failures.limited_for_s(fresh).is_some(), "counted with the others");
        assert_eq!(failures.counts.lock().unwrap().by_address.len(), ADDRESSES_MAX);
    }
}
