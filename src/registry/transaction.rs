//! Changes of one document: read the current one, decide, compare-and-set, wait until it is applied here.
//!
//! Guarantee: a change that returns success is durable in the store and visible to matching on this
//! replica; the other replicas follow by watching. A change that returns an error changed nothing,
//! except where [`RegisterError::is_in_doubt`] says otherwise. Changes of one document made here are
//! queued; those of other replicas appear as conflicts and are decided again on the stored document.
//! While a change is applied here, the [revisions](super::revisions) that it makes are written.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;

use super::document_turns::DocumentTurns;
use super::error::{RegisterError, document_error};
use super::metrics;
use super::model::{EncryptionKeys, KeyId, StoredWith, decode, encode};
use super::replica::{ReadBarrier, ReplicaHandle, Replicated};
use super::revisions::{Change, ModuleRevision, RevisedState, RevisionRecorder};
use super::store::{Store, StoreError, StoredDocument};
use crate::clock;

/// Attempts of a change after conflicts with other replicas.
const CONFLICTS_MAX: u32 = 32;
/// Longest pause between two attempts.
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(50);
/// Longest wait for a change to be applied on this replica.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait of a read for the writes of other replicas; after it the read returns the applied
/// state.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause before the revision of the registry is asked again after a failure.
const BARRIER_PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for one revision before the store is asked again.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(5);

/// What an update does with the current document.
pub(crate) enum Mutation<D, T> {
    /// Replaces it by this one.
    Put(Box<D>, T),
    /// Deletes it.
    Delete(T),
    /// Leaves it unchanged.
    Keep(T),
}

/// The store of documents and this replica's progress in applying it.
pub(crate) struct Transactions {
    store: Arc<dyn Store>,
    encryption: EncryptionKeys,
    replica: ReplicaHandle,
    barrier: ReadBarrier,
    turns: DocumentTurns,
    recorder: RevisionRecorder,
}

impl Transactions {
    /// Creates transactions over `store` with these keys, which `replica` applies.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        encryption: EncryptionKeys,
        replica: ReplicaHandle,
    ) -> Self {
        let (barrier, turns) = (ReadBarrier::default(), DocumentTurns::default());
        let recorder = RevisionRecorder::default();
        Self { store, encryption, replica, barrier, turns, recorder }
    }

    /// Returns what writes the revisions of modules.
    pub(crate) fn recorder(&self) -> &RevisionRecorder {
        &self.recorder
    }

    /// Updates one document. `decide` is called with the current document, and again with a newer
    /// one after a conflict, so it must not keep state between calls.
    ///
    /// # Errors
    /// The error of `decide`; the document changed during every attempt, the store fails, the
    /// document cannot be read or written, or the change is stored and not applied in time.
    pub(crate) async fn update_document<D: Replicated, T>(
        &self,
        id: &str,
        mut decide: impl FnMut(Option<D>) -> Result<Mutation<D, T>, RegisterError>,
    ) -> Result<T, RegisterError> {
        let key = D::key(id);
        let _turn = self.turns.wait(&key).await;
        // The applied document is nearly always the stored one, so the first attempt uses it; if it
        // is outdated, the write conflicts. A decision to write nothing must be made on the stored
        // document.
        if let Some((current, revision)) = D::applied(&self.replica, id)
            && let Ok(Mutation::Put(document, answer)) = decide(Some(D::clone(&current)))
        {
            match self.put(&key, (Some(current.as_ref()), document), Some(revision)).await {
                Err(RegisterError::Store(StoreError::Conflict)) => {}
                written => return written.map(|()| answer),
            }
        }
        for conflict in 0..CONFLICTS_MAX {
            let (current, expected) = self.stored::<D>(&key).await?;
            let before = current.as_ref().filter(|_| D::HAS_MODULES).cloned();
            let before = before.as_ref();
            let (written, answer) = match decide(current)? {
                Mutation::Keep(answer) => return Ok(answer),
                Mutation::Put(document, answer) => {
                    (self.put(&key, (before, document), expected).await, answer)
                }
                Mutation::Delete(answer) => match expected {
                    Some(expected) => (self.delete(&key, before, expected).await, answer),
                    None => return Ok(answer),
                },
            };
            match written {
                Err(RegisterError::Store(StoreError::Conflict)) => {
                    debug!(key, conflict, "registry document changed concurrently, retrying");
                    sleep((Duration::from_millis(1) * conflict).min(CONFLICT_PAUSE_MAX)).await;
                }
                written => return written.map(|()| answer),
            }
        }
        Err(RegisterError::Contended { attempts: CONFLICTS_MAX })
    }

    /// Stores a document again if its secrets are not encrypted with the key of this replica; returns
    /// whether it did.
    ///
    /// # Errors
    /// As [`Transactions::update_document`].
    pub(crate) async fn encrypt_again<D: Replicated>(
        &self,
        id: &str,
    ) -> Result<bool, RegisterError> {
        self.update_document(id, |current: Option<D>| {
            let Some(mut document) = current else { return Ok(Mutation::Keep(false)) };
            let is_rewritable = document
                .secrets()
                .is_some_and(|secrets| is_rewritable(secrets.stored_with, &self.encryption));
            Ok(match is_rewritable {
                true => Mutation::Put(Box::new(document), true),
                false => Mutation::Keep(false),
            })
        })
        .await
    }

    /// Waits until this replica has applied every write confirmed before this call, by any replica,
    /// so that an app may continue at another replica. If the store is unavailable, it returns at
    /// once: the applied state is the best known.
    pub(crate) async fn catch_up(&self) {
        let caught_up = async {
            if let Ok(revision) = self.barrier.revision(self.store.as_ref()).await {
                self.replica.progress.wait_until_applied(revision).await;
            }
        };
        if timeout(CATCH_UP_TIMEOUT, caught_up).await.is_err() {
            let revision = self.replica.progress.revision();
            debug!(revision, "read barrier timed out, answering from the applied state");
        }
    }

    /// Waits until this replica has applied every write confirmed before this call, however long the
    /// store does not answer.
    pub(crate) async fn wait_until_current(&self) {
        loop {
            match self.barrier.revision(self.store.as_ref()).await {
                Ok(revision) => {
                    // Asked again after a while, because the store may have been created again.
                    let applied = self.replica.progress.wait_until_applied(revision);
                    if timeout(BARRIER_TIMEOUT, applied).await.is_ok() {
                        return;
                    }
                }
                Err(error) => debug!(%error, "the registry's revision is not available yet"),
            }
            sleep(BARRIER_PAUSE).await;
        }
    }

    /// Returns the revision of the last write to the store.
    ///
    /// # Errors
    /// The store is unavailable.
    pub(crate) async fn last_revision(&self) -> Result<u64, StoreError> {
        self.store.last_revision().await
    }

    /// Returns the stored document with its revision.
    async fn stored<D: Replicated>(
        &self,
        key: &str,
    ) -> Result<(Option<D>, Option<u64>), RegisterError> {
        let Some(StoredDocument { value, revision }) = self.store.get(key).await? else {
            return Ok((None, None));
        };
        let document = decode(key, &value, &self.encryption);
        let document = document.map_err(|error| document_error(key, &error))?;
        Ok((Some(document), Some(revision)))
    }

    /// Writes a document and waits until it is applied here.
    async fn put<D: Replicated>(
        &self,
        key: &str,
        (before, mut document): (Option<&D>, Box<D>),
        expected: Option<u64>,
    ) -> Result<(), RegisterError> {
        let value = encode(key, document.as_mut(), &self.encryption);
        let value = value.map_err(|error| document_error(key, &error))?;
        let revisions = D::revised(before, Some(&document), change());
        let _cached = document.cache_own_write(&self.replica, key, &value);
        let revision = self.store.put(key, value, expected).await?;
        self.finish(key, revision, revisions).await
    }

    async fn delete<D: Replicated>(
        &self,
        key: &str,
        before: Option<&D>,
        expected: u64,
    ) -> Result<(), RegisterError> {
        let revisions = D::revised(before, None, change());
        let revision = self.store.delete(key, expected).await?;
        self.finish(key, revision, revisions).await
    }

    /// Writes the revisions of a stored change, and waits until it is applied here.
    async fn finish(
        &self,
        key: &str,
        document: u64,
        mut revisions: Vec<ModuleRevision>,
    ) -> Result<(), RegisterError> {
        revisions.iter_mut().for_each(|revision| revision.document = document);
        let recorded = self.recorder.record(key, &revisions);
        let (applied, is_recorded) = tokio::join!(self.wait_until_applied(key, document), recorded);
        // It was noted when it was applied. Deletions are compared all the same: the comparison deletes what is kept
        // too long, or beyond the bound.
        if is_recorded && !revisions.iter().any(|one| one.state == RevisedState::Deleted) {
            self.replica.revision_checks.confirm(key, document);
        }
        applied
    }

    /// Waits until this change is applied here, not for those of other documents.
    async fn wait_until_applied(&self, key: &str, revision: u64) -> Result<(), RegisterError> {
        let start = clock::tick();
        let applied = self.replica.progress.wait_until_document_applied(key, revision);
        match timeout(APPLY_TIMEOUT, applied).await {
            Ok(()) => {
                metrics::change_applied(clock::since(start));
                Ok(())
            }
            Err(_) => Err(RegisterError::NotApplied { revision, waited: APPLY_TIMEOUT }),
        }
    }
}

/// A change that is about to be stored, whose revision is not known yet.
fn change() -> Change {
    Change { document: 0, now_ms: clock::broker_now_ms() }
}

/// Whether this replica would store secrets that are stored like this with another key.
pub(crate) fn is_rewritable(stored: &StoredWith, encryption: &EncryptionKeys) -> bool {
    differs_from(stored, encryption.writes_with())
}

/// Whether secrets that are stored like this are not encrypted with the newest key of this replica: until
/// then no earlier key may be removed.
pub(crate) fn is_outdated(stored: &StoredWith, encryption: &EncryptionKeys) -> bool {
    differs_from(stored, encryption.newest())
}

fn differs_from(stored: &StoredWith, key: Option<&KeyId>) -> bool {
    match (stored, key) {
        (StoredWith::NoSecret, _) | (_, None) => false,
        (StoredWith::Key(id), Some(current)) => id != current,
        (StoredWith::InClear | StoredWith::SeveralKeys, Some(_)) => true,
    }
}
