//! Sessions that this replica read a short time ago, for the time without a broker: an operator must see the console when
//! the broker is what fails.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::sessions::{Session, SessionKey};

/// Most sessions that are remembered.
const KNOWN_MAX: usize = 1_000;
/// How long one is remembered after it was read last, in milliseconds.
const KNOWN_MS: i64 = 15 * 60 * 1000;

/// The remembered sessions, with the time of the last read.
#[derive(Debug, Default)]
pub(super) struct KnownSessions(Mutex<HashMap<SessionKey, (Session, i64)>>);

impl KnownSessions {
    /// Remembers a session that was read, or forgets one that ended.
    pub(super) fn record(&self, key: &SessionKey, session: Option<&Session>, now_ms: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = session else {
            known.remove(key);
            return;
        };
        if known.len() >= KNOWN_MAX && !known.contains_key(key) {
            let oldest = known.iter().min_by_key(|(_, (_, read_ms))| *read_ms);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| known.remove(&key));
        }
        known.insert(key.clone(), (session.clone(), now_ms));
    }

    /// Returns a session that was read a short time ago.
    pub(super) fn find(&self, key: &SessionKey, now_ms: i64) -> Option<Session> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (session, read_ms) = known.get(key)?;
        (now_ms.saturating_sub(*read_ms) < KNOWN_MS).then(|| session.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use crate::sessions::Credential;

    #[test]
    fn known_sessions_are_bounded_in_number_and_time() {
        let known = KnownSessions::default();
        let key = |number: usize| SessionKey { owner: "o".into(), id: number.to_string() };
        let session = Session {
            credential: Credential::Token { sha256: "x".into() },
            csrf: Secret::new("c"),
            created_ms: 0,
        };
        for number in 0..=KNOWN_MAX {
            known.record(&key(number), Some(&session), i64::try_from(number).unwrap());
        }
        let now_ms = i64::try_from(KNOWN_MAX).unwrap();
        assert!(known.find(&key(0), now_ms).is_none(), "the oldest left");
        assert!(known.find(&key(1), now_ms).is_some());
        assert!(known.find(&key(1), 1 + KNOWN_MS).is_none(), "it is too old");
        known.record(&key(2), None, now_ms);
        assert!(known.find(&key(2), now_ms).is_none(), "it ended");
    }
}
