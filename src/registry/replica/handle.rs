//! What commands share with the writer of the applied state.

use std::sync::Arc;

use bytes::Bytes;

use super::own_write_cache::{CachedWrite, OwnWriteCache};
use super::progress::ApplyProgress;
use super::state::ReplicaState;
use super::timer_queue::TimerQueue;
use crate::registry::model::{
    AppRecord, ClientRecord, Document, InstallationRecord, SigningKeysRecord, SiteRecord,
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
}

/// A document as the replica holds it; the defaults are those of documents not kept whole.
pub(crate) trait Replicated: Document {
    /// The applied document with its revision, if the state keeps it whole.
    fn applied(_replica: &ReplicaHandle, _id: &str) -> Option<(Self, u64)> {
        None
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

impl Replicated for AppRecord {}
impl Replicated for ClientRecord {}
impl Replicated for SigningKeysRecord {}
impl Replicated for SiteRecord {}

impl Replicated for InstallationRecord {
    fn applied(replica: &ReplicaHandle, id: &str) -> Option<(Self, u64)> {
        let known = replica.state.installation(id)?;
        Some((Self::clone(&known.record), known.revision))
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
