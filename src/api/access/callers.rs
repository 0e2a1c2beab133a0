//! From tokens to callers, and whether a caller that was admitted still is: tokens end while requests are answered.

use std::sync::Arc;

use axum::http::Extensions;
use smol_str::SmolStr;

use crate::api::state::ApiState;
use crate::clock;
use crate::domain::Caller;
use crate::registry::{AccessTokenRecord, InstallationState, digest};

/// Digest of the token that a request came with, as it is stored. It is an extension of the request, so that what
/// answers for long sees when the token ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenDigest(String);

impl TokenDigest {
    /// Returns the digest of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(digest(token))
    }

    /// Wraps a digest that was stored.
    #[must_use]
    pub fn stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns it as text: SHA-256 in hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a stored access token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::api) enum TokenFault {
    /// It has expired.
    Expired {
        /// Seconds since then.
        ago_s: i64,
    },
    /// Its installation does not exist any more, or is uninstalled.
    NoInstallation,
}

/// Returns the caller of the operator API whose token has this digest, if it has not ended.
#[must_use]
pub fn caller_of_digest(state: &ApiState, digest: &TokenDigest) -> Option<Caller> {
    if state.admin_tokens.accepts_digest(digest.as_str()) {
        return Some(Caller::admin("admin"));
    }
    let record = state.registry.access_token_by_digest(digest.as_str())?;
    caller_of_record(state, &record).ok()
}

/// Returns the caller of an access token.
///
/// # Errors
/// The token has ended.
pub(in crate::api) fn caller_of_record(
    state: &ApiState,
    record: &AccessTokenRecord,
) -> Result<Caller, TokenFault> {
    let now_ms = clock::now_ms();
    if let Some(expires_ms) = record.expires_ms.filter(|_| record.has_expired(now_ms)) {
        return Err(TokenFault::Expired { ago_s: (now_ms - expires_ms) / 1000 });
    }
    if let Some(bound) = &record.installation {
        let found = state.registry.installation(bound.id.as_str());
        // One that was deleted and created again is another one, with the same id.
        let is_it = found.is_some_and(|found| {
            found.record.created_ms == bound.created_ms
                && found.record.state != InstallationState::Uninstalled
        });
        if !is_it {
            return Err(TokenFault::NoInstallation);
        }
    }
    Ok(Caller {
        name: SmolStr::new(&record.id),
        scope: record.scope,
        installation: record.installation_id().cloned(),
    })
}

/// What a request was admitted by.
#[derive(Clone, Debug)]
pub(in crate::api) struct Admitted {
    caller: Caller,
    /// None of a request that has no token: who sent it in this process answers for it.
    token: Option<TokenDigest>,
}

impl Admitted {
    /// Returns what the extensions of a request say; none before it was admitted.
    pub(in crate::api) fn of(extensions: &Extensions) -> Option<Self> {
        let caller = extensions.get::<Caller>().cloned()?;
        Some(Self { caller, token: extensions.get::<TokenDigest>().cloned() })
    }

    /// Returns the access token; none of callers without one.
    pub(in crate::api) fn access_token(&self, state: &ApiState) -> Option<Arc<AccessTokenRecord>> {
        state.registry.access_token_by_digest(self.token.as_ref()?.as_str())
    }

    /// Whether the caller still may do and see what it might when it was admitted.
    pub(in crate::api) fn holds(&self, state: &ApiState) -> bool {
        let now = self.token.as_ref().map(|token| caller_of_digest(state, token));
        now.is_none_or(|now| now.as_ref() == Some(&self.caller))
    }

    /// Whether the token may end at another replica.
    fn is_stored(&self, state: &ApiState) -> bool {
        let token = self.token.as_ref();
        token.is_some_and(|token| !state.admin_tokens.accepts_digest(token.as_str()))
    }

    /// As [`Admitted::holds`], after what other replicas confirmed before this call.
    pub(in crate::api) async fn holds_everywhere(&self, state: &ApiState) -> bool {
        if self.is_stored(state) {
            state.registry.catch_up().await;
        }
        self.holds(state)
    }
}
