//! What the registry needs of durable storage; implemented at the edge, see `store`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc;

/// Documents by key, each with a revision; the one place where registrations live.
///
/// Revisions are positions in one log over all keys: a later write has a higher one, whatever its
/// key.
pub trait Store: Send + Sync {
    /// The document under `key`, absent when it was never written or was deleted.
    ///
    /// # Errors
    /// Storage does not answer.
    fn get<'a>(&'a self, key: &'a str)
    -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>>;

    /// Writes a document whose current revision is `expected` (none = there is none) and returns
    /// the new revision. The answer comes once the write is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the revision is another one.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Deletes a document whose current revision is `expected`; returns the deletion's revision.
    ///
    /// # Errors
    /// As [`Store::put`].
    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Revision of the last write by anyone, whatever its key; 0 = none yet.
    ///
    /// # Errors
    /// Storage does not answer.
    fn last_revision(&self) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Sends all documents and then every change, in the order of their revisions. Returns once
    /// the receiver is gone; whatever else happens, it goes on where it was, or loads again where
    /// that could miss a change.
    fn watch(&self, changes: mpsc::Sender<WatchEvent>) -> BoxFuture<'_, ()>;
}

/// A document as stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredDocument {
    /// The document.
    pub value: Bytes,
    /// Revision that wrote it.
    pub revision: u64,
}

/// One step of following the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchEvent {
    /// A full load begins, at the start and when changes may have been missed.
    LoadStarted {
        /// Nothing that was sent before counts: revisions begin anew, since this is the start or
        /// the store was made anew. Otherwise they go on.
        is_reset: bool,
    },
    /// Everything up to here was sent. This ends a load: a key not sent since it began is gone.
    CaughtUp {
        /// The last write that is covered; what it wrote may be forgotten meanwhile.
        revision: u64,
    },
    /// A document was written.
    Put {
        /// Its key.
        key: String,
        /// The document.
        value: Bytes,
        /// The write's revision.
        revision: u64,
    },
    /// A document was deleted.
    Deleted {
        /// Its key.
        key: String,
        /// The deletion's revision.
        revision: u64,
    },
}

/// Why storage did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody else wrote first: read again and decide anew.
    #[error("the document changed meanwhile")]
    Conflict,
    /// The document is larger than a message may be.
    #[error("the document has {bytes} bytes, storage takes {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// No answer, or one that makes no sense; a write may or may not have happened.
    #[error("registry storage does not answer: {0}")]
    Unavailable(String),
}
