//! The audit log: what is recorded of every change and every login, and the trait by which it is stored.
//!
//! A change has two records: one before it, without which it is not done, and one after it. A login has one.
//!
//! Design: `docs/design/audit.md`.

mod entry;
mod record;
#[cfg(test)]
pub mod testing;

pub use entry::{AuditEntry, AuditPage, AuditQuery, AuditResult, PendingReason};
pub use record::{Action, AuditId, AuditRecord, Content, Step, StepKind, Via};

use futures_util::future::BoxFuture;
use thiserror::Error;

/// The audit log is unavailable; one sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the audit log is not available: {0}")]
pub struct AuditError(pub String);

/// Stores and reads records.
pub trait AuditLog: Send + Sync {
    /// Stores a record, and returns when the broker has confirmed it.
    ///
    /// # Errors
    /// It is not confirmed; it may be stored nevertheless.
    fn append<'a>(&'a self, record: &'a AuditRecord) -> BoxFuture<'a, Result<(), AuditError>>;

    /// Returns up to `limit` entries that `query` selects, newest first, of those before the sequence `before`.
    ///
    /// # Errors
    /// The broker does not answer.
    fn page<'a>(
        &'a self,
        query: &'a AuditQuery,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<AuditPage, AuditError>>;

    /// Returns the entry with an id, if there is one.
    ///
    /// # Errors
    /// The broker does not answer.
    fn find<'a>(&'a self, id: &'a AuditId)
    -> BoxFuture<'a, Result<Option<AuditEntry>, AuditError>>;
}
