//! The port to the store of job documents; implemented in `bus`.

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::document::{Job, JobCounts, JobId};

/// A document with its revision.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredJob {
    /// The document.
    pub job: Job,
    /// Its revision.
    pub revision: u64,
}

/// Why the store did not do it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum JobStoreError {
    /// The document has another revision, or exists already.
    #[error("the document was changed by another writer")]
    Conflict,
    /// The store does not answer; the change may be stored nevertheless.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
}

/// Stores the documents of jobs, and what became of what they handed over.
pub trait JobStore: Send + Sync {
    /// Returns all documents, in no order. Unreadable ones are left out.
    ///
    /// # Errors
    /// The store does not answer.
    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredJob>, JobStoreError>>;

    /// Returns one document.
    ///
    /// # Errors
    /// The store does not answer, or the document is unreadable.
    fn get<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<StoredJob>, JobStoreError>>;

    /// Stores a new document and returns its revision.
    ///
    /// # Errors
    /// There is a document with its id, or the store does not answer.
    fn create<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<u64, JobStoreError>>;

    /// Replaces the document of revision `revision` and returns the new revision.
    ///
    /// # Errors
    /// The document has another revision, or the store does not answer.
    fn replace<'a>(
        &'a self,
        job: &'a Job,
        revision: u64,
    ) -> BoxFuture<'a, Result<u64, JobStoreError>>;

    /// Deletes a document and the outcomes of its job.
    ///
    /// # Errors
    /// The store does not answer.
    fn delete<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), JobStoreError>>;

    /// Returns the outcomes of what a job handed over, summed over all replicas. A crash may count
    /// an outcome again.
    ///
    /// # Errors
    /// The store does not answer.
    fn outcomes<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<JobCounts, JobStoreError>>;
}
