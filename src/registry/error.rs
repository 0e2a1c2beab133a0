//! Why a change of the registry fails.

use std::time::Duration;

use thiserror::Error;

use super::credentials::NoRandomness;
use super::model::{DocumentError, Problem, Replayed, code, summary};
use super::store::StoreError;

/// Why a change failed.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The request is invalid; lists every problem.
    #[error("{}", summary(.0))]
    Invalid(Vec<Problem>),
    /// The record does not exist.
    #[error("not found")]
    NotFound,
    /// An update names another key than the module it updates.
    #[error("Key cannot be modified during update")]
    KeyChanged,
    /// The record has another revision than the caller expects.
    #[error("the record was changed by another request")]
    StaleRevision,
    /// The signed request was accepted before.
    #[error(transparent)]
    Replayed(#[from] Replayed),
    /// The registration rate limit is exceeded.
    #[error("too many registrations")]
    RateLimited {
        /// Time until the next registration is accepted.
        retry_after: Duration,
    },
    /// Other replicas changed the document during every attempt.
    #[error("the document changed {attempts} times while this change was made")]
    Contended {
        /// Attempts made.
        attempts: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change is stored, but this replica did not apply it in time.
    #[error("revision {revision} is stored but was not applied within {waited:?}")]
    NotApplied {
        /// Revision of the change.
        revision: u64,
        /// Time waited.
        waited: Duration,
    },
    /// The system provides no randomness for a token.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The app did not accept the installation.
    #[error("the app did not accept the installation: {0}")]
    AppRefused(String),
    /// No signing key could be generated.
    #[error("no signing key could be made")]
    NoKey,
    /// A document cannot be serialized or parsed.
    #[error("document {key}: {reason}")]
    Document {
        /// Its key.
        key: String,
        /// The reason.
        reason: String,
    },
    /// A secret of a document cannot be stored encrypted, so the document is not stored.
    #[error("document {key}: {reason}")]
    NotEncrypted {
        /// Its key.
        key: String,
        /// The reason; it has no secret.
        reason: String,
    },
}

impl RegisterError {
    /// An error with one problem.
    #[must_use]
    pub fn invalid(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }

    /// The request names something that is not provisioned; `known` is what is.
    pub(crate) fn not_provisioned<'n>(
        what: &str,
        id: &str,
        known: impl Iterator<Item = &'n str>,
    ) -> Self {
        let message = format!("there is no {what} `{id}`");
        let problem = Problem::new(code::NOT_PROVISIONED, what, message);
        Self::invalid(match switchyard_expr::nearest(id, known) {
            Some(near) => problem.with_help(format!("did you mean `{near}`?")),
            None => problem,
        })
    }

    /// Whether the change may have been stored nevertheless.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_)) | Self::NotApplied { .. })
    }
}

/// A document that cannot be encoded or decoded, with its key.
pub(crate) fn document_error(key: &str, error: &DocumentError) -> RegisterError {
    let (key, reason) = (key.to_owned(), error.to_string());
    match error {
        DocumentError::NotEncrypted(_) => RegisterError::NotEncrypted { key, reason },
        _ => RegisterError::Document { key, reason },
    }
}
