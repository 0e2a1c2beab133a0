//! Replay protection: a signed request that changes something is accepted once.
//!
//! Connect tokens have no id, and clients date them by the second, so two requests of an app may
//! carry the same token. The guard identifies a request by token and body. It is stored in the
//! installation's document, so all replicas share it. Only requests that would change something are
//! rejected; others are answered as usual.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::clock;
use crate::domain::UnknownMembers;

/// Requests kept. Only an app that exhausts its rate limit for seconds sends more; then tokens
/// older than those kept are rejected, used or not.
const REMEMBERED_MAX: usize = 1000;
/// Length of a stored digest, in bytes: enough against collisions.
const DIGEST_BYTES: usize = 16;

/// A request signed by its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRequest {
    /// Digest of token and body.
    digest: String,
    /// Time of issue of the token, seconds since the epoch.
    issued_s: i64,
    /// Last second in which the token is accepted, seconds since the epoch.
    accepted_until_s: i64,
}

impl SignedRequest {
    /// Creates the identity of a request with this token and body.
    #[must_use]
    pub fn new(token: &str, body: &[u8], issued_s: i64, accepted_until_s: i64) -> Self {
        // A token contains no line break, so token and body cannot be confused.
        let digest = Sha256::new().chain_update(token).chain_update("\n").chain_update(body);
        let kept: Vec<u8> = digest.finalize().into_iter().take(DIGEST_BYTES).collect();
        Self { digest: BASE64URL_NOPAD.encode(&kept), issued_s, accepted_until_s }
    }
}

/// The signed request was accepted before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the signed request was already used")]
pub struct Replayed;

/// Signed requests that changed an installation and whose tokens are still accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayGuard {
    /// Tokens issued at or before this time are rejected, seconds since the epoch.
    #[serde(default)]
    floor_s: i64,
    requests: Vec<UsedRequest>,
    #[serde(flatten)]
    unknown: UnknownMembers,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsedRequest {
    digest: String,
    issued_s: i64,
    #[serde(rename = "goodUntilS")]
    accepted_until_s: i64,
    #[serde(flatten)]
    unknown: UnknownMembers,
}

impl ReplayGuard {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Records a request that is about to change something.
    ///
    /// # Errors
    /// The request was accepted before.
    pub(crate) fn record_once(&mut self, signed: &SignedRequest) -> Result<(), Replayed> {
        self.record_at(signed, clock::now_ms().div_euclid(1000))
    }

    fn record_at(&mut self, signed: &SignedRequest, now_s: i64) -> Result<(), Replayed> {
        self.requests.retain(|request| request.accepted_until_s >= now_s);
        let is_known = self.requests.iter().any(|request| request.digest == signed.digest);
        if is_known || signed.issued_s <= self.floor_s {
            return Err(Replayed);
        }
        let SignedRequest { digest, issued_s, accepted_until_s } = signed.clone();
        let unknown = UnknownMembers::default();
        self.requests.push(UsedRequest { digest, issued_s, accepted_until_s, unknown });
        if self.requests.len() > REMEMBERED_MAX {
            let oldest = self.requests.iter().enumerate().min_by_key(|(_, r)| r.issued_s);
            if let Some((at, issued_s)) = oldest.map(|(at, request)| (at, request.issued_s)) {
                self.requests.remove(at);
                self.floor_s = self.floor_s.max(issued_s);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, body: &str) -> SignedRequest {
        SignedRequest::new("a.b.c", body.as_bytes(), second, second + 240)
    }

    #[test]
    fn same_request_is_accepted_once_and_another_body_is_another_request() {
        let mut replay_guard = ReplayGuard::default();
        assert!(replay_guard.record_at(&at(1000, "one"), 1000).is_ok());
        assert!(replay_guard.record_at(&at(1000, "two"), 1000).is_ok());
        for _ in 0..2 {
            let again = replay_guard.record_at(&at(1000, "one"), 1240);
            assert!(again == Err(Replayed));
        }
    }

    #[test]
    fn expired_requests_are_dropped() {
        let mut replay_guard = ReplayGuard::default();
        for number in 1..10_i64 {
            replay_guard.record_at(&at(number, &number.to_string()), number).unwrap();
        }
        replay_guard.record_at(&at(5000, "c"), 5000).unwrap();
        assert_eq!(replay_guard.requests.len(), 1);
    }

    #[test]
    fn more_requests_than_the_bound_leave_no_gap() {
        let mut replay_guard = ReplayGuard::default();
        let many = i64::try_from(REMEMBERED_MAX).unwrap() + 100;
        let request = |number: i64| at(1 + number / 100, &number.to_string());
        for number in 0..many {
            assert!(replay_guard.record_at(&request(number), 11).is_ok(), "{number}");
        }
        assert_eq!(replay_guard.requests.len(), REMEMBERED_MAX);
        for number in 0..many {
            assert!(replay_guard.record_at(&request(number), 11).is_err(), "{number}");
        }
    }
}
