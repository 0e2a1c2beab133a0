//! The stream of revisions, as the registry needs it; implemented by `bus`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;

use super::owner::RevisionOwner;
use super::record::ModuleRevision;
use crate::domain::token;

/// A revision to be stored.
#[derive(Clone, Debug)]
pub struct RevisionWrite {
    /// Whose module.
    pub owner: RevisionOwner,
    /// Token of the key of the module.
    pub module: Box<str>,
    /// The same for every write of the same revision, by which the broker detects repeats.
    pub id: String,
    /// The record.
    pub body: Bytes,
    /// Sequence that the last revision of the module must have, 0 if there is none; not compared if absent.
    pub expected: Option<u64>,
}

impl RevisionWrite {
    /// Returns the write of a record.
    ///
    /// # Errors
    /// It cannot be serialized.
    pub(crate) fn of(
        revision: &ModuleRevision,
        expected: Option<u64>,
    ) -> Result<Self, serde_json::Error> {
        let (owner, module) = (revision.owner(), token(revision.key.as_str()).into());
        let mut id = format!("rev/{}/{module}/{}", owner.document_key(), revision.id());
        // A revision that was stored and is missing now must not be taken for a repeat; `expected` prevents two.
        if let Some(expected) = expected {
            id.push_str(&format!("/after/{expected}"));
        }
        Ok(Self { owner, module, id, body: serde_json::to_vec(revision)?.into(), expected })
    }
}

/// A stored revision.
#[derive(Clone, Debug)]
pub struct StoredRevision {
    /// Whose module.
    pub owner: RevisionOwner,
    /// Token of the key of the module.
    pub module: Box<str>,
    /// Its sequence in the stream; that of a later stored one is higher.
    pub sequence: u64,
    /// The record; the reason if it cannot be read.
    pub revision: Result<ModuleRevision, String>,
}

/// What became of some writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Appended {
    /// Stored now or before.
    pub stored: usize,
    /// Not stored: the last revision of the module is another one than expected.
    pub conflicts: usize,
}

/// Revisions in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamUse {
    /// Stored ones.
    pub stored: u64,
    /// Most that it stores; it refuses further ones.
    pub max: u64,
}

/// The stream of revisions.
pub trait RevisionLog: Send + Sync {
    /// Stores revisions, pipelined, in order for each module.
    ///
    /// # Errors
    /// One was not confirmed; others may be stored.
    fn append<'a>(
        &'a self,
        writes: &'a [RevisionWrite],
    ) -> BoxFuture<'a, Result<Appended, RevisionLogError>>;

    /// Returns the last revision of every module of an owner.
    ///
    /// # Errors
    /// The broker does not answer.
    fn last_of<'a>(
        &'a self,
        owner: &'a RevisionOwner,
    ) -> BoxFuture<'a, Result<Vec<StoredRevision>, RevisionLogError>>;

    /// Returns the revisions of one module, in the order in which they were stored.
    ///
    /// # Errors
    /// The broker does not answer.
    fn all_of<'a>(
        &'a self,
        owner: &'a RevisionOwner,
        module: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRevision>, RevisionLogError>>;

    /// Calls `visit` with the owner and the token of the key of every module that has revisions, in any order; returns
    /// how many revisions are stored, and how many the stream takes.
    ///
    /// # Errors
    /// The broker does not answer; some modules may have been visited.
    fn each_module<'a>(
        &'a self,
        visit: &'a mut (dyn FnMut(RevisionOwner, &str) + Send),
    ) -> BoxFuture<'a, Result<StreamUse, RevisionLogError>>;

    /// Deletes the revisions of a module up to a sequence.
    ///
    /// # Errors
    /// The broker does not answer.
    fn purge<'a>(
        &'a self,
        owner: &'a RevisionOwner,
        module: &'a str,
        last: u64,
    ) -> BoxFuture<'a, Result<(), RevisionLogError>>;

    /// Creates the stream if it is missing; returns whether it was.
    ///
    /// # Errors
    /// The broker does not answer or refuses.
    fn ensure(&self) -> BoxFuture<'_, Result<bool, RevisionLogError>>;
}

/// The stream of revisions is unavailable; one sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the revisions are not available: {0}")]
pub struct RevisionLogError(pub String);
