//! Sessions: begun, found and ended.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};

use super::cookie::Cookie;
use super::identity::{cookie_value, key_of, owner, random_text};
use super::known::KnownSessions;
use super::oidc::OidcProvider;
use crate::api::{Shared, TokenDigest, caller_of_digest};
use crate::audit::AuditLog;
use crate::clock;
use crate::domain::Caller;
use crate::sessions::{Credential, SESSION_LIFE, Session, SessionError, SessionKey, SessionStore};

/// Longest wait for a session, after which the broker counts as away.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time for which an answer without an end continues after its session ended.
const END_CHECK: Duration = Duration::from_secs(5);

/// What sessions need.
pub struct SessionParts {
    /// Stores them.
    pub store: Arc<dyn SessionStore>,
    /// Records logins and logouts.
    pub audit: Arc<dyn AuditLog>,
    /// Knows the tokens.
    pub api: Shared,
    /// Whether browsers reach the console over TLS.
    pub is_secure: bool,
    /// The provider of single sign-on, if there is one.
    pub oidc: Option<OidcProvider>,
}

/// The sessions of the console; clones share them.
#[derive(Clone)]
pub struct Sessions(Arc<Shelf>);

struct Shelf {
    parts: SessionParts,
    known: KnownSessions,
}

/// A session whose visitor is known.
pub(super) struct OpenSession {
    pub(super) caller: Caller,
    pub(super) session: Session,
    /// The digest of the token that the visitor logged in with, which has a limit of requests.
    pub(super) token: Option<TokenDigest>,
    /// Whether the broker did not answer, so that the session may have ended at another replica.
    pub(super) is_unconfirmed: bool,
}

/// Why there is no session.
pub(super) enum NoSession {
    /// The visitor has none, or it ended.
    None,
    /// The broker does not answer.
    Unavailable(SessionError),
}

impl Sessions {
    /// Creates them of their parts.
    #[must_use]
    pub fn new(parts: SessionParts) -> Self {
        Self(Arc::new(Shelf { parts, known: KnownSessions::default() }))
    }

    pub(super) fn parts(&self) -> &SessionParts {
        &self.0.parts
    }

    /// Returns the cookie of sessions.
    pub(super) fn cookie(&self) -> Cookie {
        Cookie::session(self.0.parts.is_secure)
    }

    /// Returns the cookie of the form of the login.
    pub(super) fn login_cookie(&self) -> Cookie {
        Cookie::login(self.0.parts.is_secure)
    }

    /// Returns the cookie of a login at a provider.
    pub(super) fn oidc_cookie(&self) -> Cookie {
        Cookie::oidc(self.0.parts.is_secure)
    }

    /// Begins a session with a new id, whatever cookie the request had; returns the header that sets its cookie.
    pub(super) async fn begin(
        &self,
        credential: Credential,
        caller: &Caller,
    ) -> Result<HeaderValue, SessionError> {
        let (id, csrf) =
            (random_text().map_err(SessionError)?, random_text().map_err(SessionError)?);
        let value = cookie_value(&id, &owner(&credential, &caller.name));
        let session = Session { credential, csrf, created_ms: clock::broker_now_ms() };
        let key = key_of(&value).ok_or_else(|| SessionError("it has no key".into()))?;
        self.0.parts.store.create(&key, &session).await?;
        let cookie = self.cookie().set(&value, SESSION_LIFE.as_secs());
        cookie.ok_or_else(|| SessionError("its cookie has another form".into()))
    }

    /// Returns the session of a request, as its store has it now.
    pub(super) async fn find(&self, headers: &HeaderMap) -> Result<OpenSession, NoSession> {
        let Some(key) = self.key(headers) else { return Err(NoSession::None) };
        let now_ms = clock::broker_now_ms();
        let read = tokio::time::timeout(READ_TIMEOUT, self.0.parts.store.find(&key)).await;
        let read = read.unwrap_or_else(|_elapsed| Err(SessionError("no answer in time".into())));
        let (found, is_unconfirmed) = match read {
            Ok(found) => {
                self.0.known.record(&key, found.as_ref(), now_ms);
                (found, false)
            }
            Err(error) => match self.0.known.find(&key, now_ms) {
                Some(known) => (Some(known), true),
                None => return Err(NoSession::Unavailable(error)),
            },
        };
        let session = found.filter(|found| !found.has_expired(now_ms)).ok_or(NoSession::None)?;
        let caller = self.caller(&session.credential).ok_or(NoSession::None)?;
        let token = match &session.credential {
            Credential::Token { sha256 } => Some(TokenDigest::stored(sha256.as_str())),
            Credential::Oidc { .. } => None,
        };
        Ok(OpenSession { caller, session, token, is_unconfirmed })
    }

    /// Returns when the session of these headers has ended, such as by a logout elsewhere.
    pub(in crate::console) async fn until_ended(self, headers: HeaderMap) {
        loop {
            tokio::time::sleep(END_CHECK).await;
            if matches!(self.find(&headers).await, Err(NoSession::None)) {
                return;
            }
        }
    }

    /// Ends the session of a request, if it has one; returns the header that removes its cookie.
    pub(super) async fn end(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, SessionError> {
        if let Some(key) = self.key(headers) {
            self.0.parts.store.end(&key).await?;
            self.0.known.record(&key, None, clock::broker_now_ms());
        }
        Ok(self.cookie().set("", 0))
    }

    fn key(&self, headers: &HeaderMap) -> Option<SessionKey> {
        key_of(self.cookie().read(headers)?)
    }

    /// Returns whose credential it is now: none if the token was revoked.
    fn caller(&self, credential: &Credential) -> Option<Caller> {
        match credential {
            Credential::Token { sha256 } => {
                caller_of_digest(&self.0.parts.api, &TokenDigest::stored(sha256.as_str()))
            }
            Credential::Oidc { name, scope, .. } => {
                Some(Caller { name: name.into(), scope: *scope, installation: None })
            }
        }
    }
}
