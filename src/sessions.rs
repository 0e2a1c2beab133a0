//! Sessions of the console, and the trait by which they are stored.
//!
//! A browser has an id that only it knows. Stored is a digest of the id, so that who reads the store has no session.
//!
//! Design: `docs/design/sessions.md`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::{Scope, Secret};

/// How long a session lasts.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Most sessions; the oldest ones end.
pub const SESSIONS_MAX: usize = 10_000;
/// Most sessions of one person or token; the oldest ones end.
pub const SESSIONS_OF_ONE_MAX: usize = 20;
/// Format version of stored sessions.
const FORMAT: u32 = 1;

/// Where a session is stored: digests, in hex, of whose it is and of its id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionKey {
    /// Of whose session it is.
    pub owner: String,
    /// Of its id.
    pub id: String,
}

/// By what somebody logged in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Credential {
    /// A token of the operator API. The session ends with it.
    Token {
        /// SHA-256 of the token, in hex.
        sha256: String,
    },
    /// Single sign-on.
    Oidc {
        /// The subject at the provider.
        subject: String,
        /// What the audit log calls the person.
        name: String,
        /// What the person may do.
        scope: Scope,
    },
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// By what the visitor logged in.
    pub credential: Credential,
    /// What forms of the session carry.
    pub csrf: Secret,
    /// When it began, milliseconds since the epoch.
    pub created_ms: i64,
}

/// The stored form of a session.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSession {
    v: u32,
    credential: Credential,
    csrf: String,
    created_ms: i64,
}

impl Session {
    /// Whether it has ended at a time.
    #[must_use]
    pub fn has_expired(&self, now_ms: i64) -> bool {
        let life_ms = i64::try_from(SESSION_LIFE.as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_sub(self.created_ms) >= life_ms
    }

    /// Returns its stored form.
    ///
    /// # Errors
    /// It cannot be serialized.
    pub fn to_stored(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&StoredSession {
            v: FORMAT,
            credential: self.credential.clone(),
            csrf: self.csrf.reveal().to_owned(),
            created_ms: self.created_ms,
        })
    }

    /// Reads a stored form; none if it is one of another release, whose visitors log in again.
    #[must_use]
    pub fn of_stored(stored: &[u8]) -> Option<Self> {
        let read: StoredSession = serde_json::from_slice(stored).ok()?;
        let StoredSession { v: FORMAT, credential, csrf, created_ms } = read else { return None };
        Some(Self { credential, csrf: Secret::new(csrf), created_ms })
    }
}

/// The store of sessions does not answer; one sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the sessions are not available: {0}")]
pub struct SessionError(pub String);

/// Stores sessions for all replicas. What one has written, all others read.
pub trait SessionStore: Send + Sync {
    /// Stores a new session, and ends the oldest ones of its owner beyond [`SESSIONS_OF_ONE_MAX`].
    ///
    /// # Errors
    /// It is not confirmed.
    fn create<'a>(
        &'a self,
        key: &'a SessionKey,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<(), SessionError>>;

    /// Returns a session; none if it ended.
    ///
    /// # Errors
    /// The store does not answer.
    fn find<'a>(
        &'a self,
        key: &'a SessionKey,
    ) -> BoxFuture<'a, Result<Option<Session>, SessionError>>;

    /// Ends a session.
    ///
    /// # Errors
    /// It is not confirmed.
    fn end<'a>(&'a self, key: &'a SessionKey) -> BoxFuture<'a, Result<(), SessionError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_is_stored_and_read_and_ends_after_its_life() {
        let credential = Credential::Oidc {
            subject: "s-1".into(),
            name: "ada@example.com".into(),
            scope: Scope::Operate,
        };
        let session = Session { credential, csrf: Secret::new("c"), created_ms: 1_000 };
        let stored = session.to_stored().unwrap();
        assert_eq!(
            String::from_utf8(stored.clone()).unwrap(),
            r#"{"v":1,"credential":{"by":"oidc","subject":"s-1","name":"ada@example.com","scope":"operate"},"csrf":"c","createdMs":1000}"#
        );
        let read = Session::of_stored(&stored).unwrap();
        assert_eq!((&read.credential, read.csrf.reveal()), (&session.credential, "c"));
        let life_ms = i64::try_from(SESSION_LIFE.as_millis()).unwrap();
        assert!(!read.has_expired(1_000 + life_ms - 1));
        assert!(read.has_expired(1_000 + life_ms));
        assert!(Session::of_stored(br#"{"v":2}"#).is_none());
    }
}
