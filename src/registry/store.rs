//! Storage interface of the registry, implemented by `store`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc;

/// Key-value store of documents with revisions; the only durable place of registrations.
///
/// Revisions are positions in one log over all keys: a later write has a higher revision, whatever
/// its key.
pub trait Store: Send + Sync {
    /// Returns the document under `key`; none if it was never written or was deleted.
    ///
    /// # Errors
    /// The store is unavailable.
    fn get<'a>(&'a self, key: &'a str)
    -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>>;

    /// Writes a document whose current revision is `expected` (none = it does not exist) and
    /// returns the new revision. Returns after the write is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the revision differs.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Deletes a document whose current revision is `expected`; returns the revision of the
    /// deletion.
    ///
    /// # Errors
    /// As [`Store::put`].
    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Returns the revision of the last write, whatever its key; 0 = none yet.
    ///
    /// # Errors
    /// The store is unavailable.
    fn last_revision(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Sends all documents and then every change, in the order of their revisions. Returns when the
    /// receiver is dropped; after a failure it resumes, or loads again if it could have missed a
    /// change.
    fn watch(&self, changes: mpsc::Sender<WatchEvent>) -> BoxFuture<'_, ()>;
}

/// A stored document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredDocument {
    /// The document.
    pub value: Bytes,
    /// Revision of its write.
    pub revision: u64,
}

/// One event of a store watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchEvent {
    /// A full load begins, at the start and when changes may have been missed.
    LoadStarted {
        /// Whether revisions begin from scratch, because this is the start or the store was
        /// recreated. Otherwise they continue.
        is_reset: bool,
    },
    /// Everything up to here was sent. Ends a load: a key not sent since its begin was deleted.
    CaughtUp {
        /// The last revision covered, even if its document was deleted since.
        revision: u64,
    },
    /// A document was written.
    Put {
        /// Its key.
        key: String,
        /// The document.
        value: Bytes,
        /// Revision of the write.
        revision: u64,
    },
    /// A document was deleted.
    Deleted {
        /// Its key.
        key: String,
        /// Revision of the deletion.
        revision: u64,
    },
}

/// Why a store operation failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The document has another revision: read it and decide again.
    #[error("the document was changed concurrently")]
    Conflict,
    /// The document exceeds the largest message.
    #[error("the document has {bytes} bytes, storage takes {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// No response or an invalid one; a write may have happened.
    #[error("registry storage does not answer: {0}")]
    Unavailable(String),
}
