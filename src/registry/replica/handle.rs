//! What commands share with the writer of the applied state.

use std::sync::Arc;

use bytes::Bytes;

use super::own_write_cache::{CachedWrite, OwnWriteCache};
use super::progress::ApplyProgress;
use super::state::ReplicaState;
use super::timer_queue::TimerQueue;
use crate::registry::model::{
    AccessTokenRecord, AppRecord, ClientRecord, Document, InstallationRecord, SigningKeysRecord,
    SiteRecord,
};
use crate::registry::revisions::{
    Change, ModuleRevision, RevisionChecks, changes_of_app, changes_of_installation,
};
use crate::registry::validation::ProgramCache;

/// Handles to the applied state of this replica and to what its writer works with.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaHandle {
    /// Applied records; commands only read them.
    pub(crate) state: Arc<ReplicaState>,
    /// How far the store is applied.
    pub(crate) progress: Arc<ApplyProgress>,
    /// Compiled filters; a command that holds one spares the writer compiling it.
    pub(crate) programs: Arc<ProgramCache>,
    /// Documents that commands are writing.
    pub(crate) own_writes: Arc<OwnWriteCache>,
    /// Next time an installation needs background work.
    pub(crate) wakeups: Arc<TimerQueue>,
    /// Documents that are to be compared with the revisions of their modules.
    pub(crate) revision_checks: Arc<RevisionChecks>,
}

/// A document as the replica holds it; the defaults are those of documents not kept whole.
pub(crate) trait Replicated: Document {
    /// Whether it has modules, whose revisions are kept.
    const HAS_MODULES: bool = false;

    /// The applied document with its revision, if the state keeps it whole.
    fn applied(_replica: &ReplicaHandle, _id: &str) -> Option<(Arc<Self>, u64)> {
        None
    }

    /// Returns the revisions of its modules that a change makes.
    fn revised(
        _before: Option<&Self>,
        _after: Option<&Self>,
        _change: Change,
    ) -> Vec<ModuleRevision> {
        Vec::new()
    }

    /// Caches a document that this replica is about to write, until the guard is dropped.
    fn cache_own_write<'r>(
        self: Box<Self>,
        _replica: &'r ReplicaHandle,
        _key: &str,
        _value: &Bytes,
    ) -> Option<CachedWrite<'r>> {
        None
    }
}

impl Replicated for AppRecord {
    const HAS_MODULES: bool = true;

    fn revised(before: Option<&Self>, after: Option<&Self>, change: Change) -> Vec<ModuleRevision> {
        changes_of_app(before, after, change)
    }
}

impl Replicated for AccessTokenRecord {}
impl Replicated for ClientRecord {}
impl Replicated for SigningKeysRecord {}
impl Replicated for SiteRecord {}

impl Replicated for InstallationRecord {
    const HAS_MODULES: bool = true;

    fn applied(replica: &ReplicaHandle, id: &str) -> Option<(Arc<Self>, u64)> {
        let known = replica.state.installation(id)?;
        Some((Arc::clone(&known.record), known.revision))
    }

    fn revised(before: Option<&Self>, after: Option<&Self>, change: Change) -> Vec<ModuleRevision> {
        changes_of_installation(before, after, change)
    }

    fn cache_own_write<'r>(
        self: Box<Self>,
        replica: &'r ReplicaHandle,
        key: &str,
        value: &Bytes,
    ) -> Option<CachedWrite<'r>> {
        Some(replica.own_writes.insert(key, value, *self))
    }
}
