//! Comparison of documents with the revisions of their modules: writes what is missing, deletes what is
//! obsolete. Every replica compares what it applied; `expected` makes one of them write. Each document is compared on
//! its own: one that fails is retried and holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::clock;
use crate::domain::token;
use crate::registry::commands::{Context, live_modules_of};
use crate::registry::metrics;
use crate::registry::model::{AppRecord, Document, InstallationRecord};
use crate::registry::revisions::{
    Change, DELETED_KEPT_MS, DELETED_KEPT_SHORT_MS, LiveModule, ModuleRevision, RevisedState,
    RevisionLog, RevisionLogError, RevisionOwner, RevisionWrite, StoredRevision, StreamUse,
    compare, has_same_content, sorted,
};
use crate::telemetry::LogBudget;

/// Pause between two looks at what is due.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Pause between two batches, which bounds the reads: at a start all documents are due.
const BATCH_PAUSE: Duration = Duration::from_millis(100);
/// Documents compared at once.
const BATCH_DOCUMENTS: usize = 32;
/// Pause after a failure of all documents of a batch.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// Longest wait until this replica has applied the changes of the revisions.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval of the passes over the whole stream.
const PASS_INTERVAL_MS: i64 = 24 * HOUR_MS;
/// As [`PASS_INTERVAL_MS`], while the stream is nearly full.
const PASS_INTERVAL_SHORT_MS: i64 = HOUR_MS;
/// Pause before a pass that failed is repeated.
const PASS_RETRY_MS: i64 = 10_000;
const HOUR_MS: i64 = 3600 * 1000;
/// The log has at most so many lines about failures in [`LOG_WINDOW`].
const LOG_LINES: u64 = 5;
const LOG_WINDOW: Duration = Duration::from_secs(60);

/// Compares until the future is dropped.
pub(super) async fn run(context: &Context) {
    context.replica.progress.wait_until_loaded().await;
    let Some(log) = context.transactions.recorder().log().map(Arc::clone) else { return };
    let comparisons = Comparisons {
        context,
        log,
        deleted_kept_ms: DELETED_KEPT_MS,
        pass_due_ms: clock::uptime_ms(),
        skipped: BTreeMap::new(),
        failure_log: LogBudget::new(LOG_WINDOW, LOG_LINES),
    };
    comparisons.run().await;
}

/// Why a document is not compared. It is looked at again with its next change, and by the next pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Skipped {
    /// Its revisions are newer than the registry: they are of a bucket that does not exist any more.
    Ahead,
    /// This replica cannot read it.
    Unreadable,
}

struct Comparisons<'c> {
    context: &'c Context,
    log: Arc<dyn RevisionLog>,
    /// How long the revisions of deleted modules are kept.
    deleted_kept_ms: i64,
    /// Uptime of the next pass.
    pass_due_ms: i64,
    /// Documents that are not compared, by key.
    skipped: BTreeMap<Box<str>, Skipped>,
    failure_log: LogBudget,
}

impl Comparisons<'_> {
    async fn run(mut self) {
        let checks = &self.context.replica.revision_checks;
        loop {
            if clock::uptime_ms() >= self.pass_due_ms {
                self.pass().await;
            }
            let now_ms = clock::uptime_ms();
            let due = std::iter::from_fn(|| checks.pop_due(now_ms));
            let keys: Vec<Box<str>> = due.take(BATCH_DOCUMENTS).collect();
            metrics::revision_checks(checks.waiting());
            if keys.is_empty() {
                sleep(POLL_INTERVAL).await;
                continue;
            }
            if !self.compare_documents(keys).await {
                sleep(FAILURE_PAUSE).await;
                self.restore_stream().await;
            }
            sleep(BATCH_PAUSE).await;
        }
    }

    /// Looks for what is stored of modules that are not registered, so that it is deleted when it was kept long enough,
    /// whatever replicas noticed of their deletion.
    async fn pass(&mut self) {
        let now_ms = clock::uptime_ms();
        match self.note_owners_of_unregistered_modules().await {
            Ok(StreamUse { stored, max }) => {
                let is_nearly_full = stored > max / 4 * 3;
                let (interval_ms, kept_ms) = match is_nearly_full {
                    true => (PASS_INTERVAL_SHORT_MS, DELETED_KEPT_SHORT_MS),
                    false => (PASS_INTERVAL_MS, DELETED_KEPT_MS),
                };
                if is_nearly_full {
                    warn!(
                        stored,
                        max,
                        "the stream of revisions is nearly full; those of deleted modules are kept for a day only"
                    );
                }
                metrics::revisions_kept(stored);
                self.pass_due_ms = now_ms.saturating_add(interval_ms);
                self.deleted_kept_ms = kept_ms;
                for key in self.skipped.keys() {
                    self.context.replica.revision_checks.note_key(key);
                }
            }
            Err(error) => {
                self.pass_due_ms = now_ms.saturating_add(PASS_RETRY_MS);
                metrics::revision_check_failed();
                warn!(%error, "modules with revisions not listed, retrying");
                self.restore_stream().await;
            }
        }
    }

    async fn note_owners_of_unregistered_modules(&self) -> Result<StreamUse, RevisionLogError> {
        let state = self.context.state();
        let mut owners = BTreeSet::new();
        let mut visit = |owner: RevisionOwner, module: &str| {
            let is_it = |key: &str| token(key) == module;
            let is_registered = match &owner {
                RevisionOwner::Installation(id) => {
                    state.installation_by_id_or_token(id).is_some_and(|known| {
                        known.record.modules.iter().any(|one| is_it(one.key.as_str()))
                    })
                }
                RevisionOwner::App(id) => state
                    .app_by_id_or_token(id)
                    .is_some_and(|app| app.statics.iter().any(|one| is_it(one.key.as_str()))),
            };
            if !is_registered {
                owners.insert(owner);
            }
        };
        let found = self.log.each_module(&mut visit).await?;
        for owner in owners {
            self.context.replica.revision_checks.note_key(&owner.document_key());
        }
        Ok(found)
    }

    /// Creates the stream again if it is missing: then every document is due.
    async fn restore_stream(&self) {
        match self.log.ensure().await {
            Ok(true) => {
                warn!(
                    "the stream of revisions was missing and is created again; only present revisions are restored"
                );
                self.note_all();
            }
            Ok(false) => {}
            Err(error) => debug!(%error, "the stream of revisions is not available"),
        }
    }

    fn note_all(&self) {
        let checks = &self.context.replica.revision_checks;
        for id in self.context.state().installation_ids() {
            checks.note_key(&InstallationRecord::key(id.as_str()));
        }
        for id in self.context.state().app_ids() {
            checks.note_key(&AppRecord::key(id.as_str()));
        }
    }

    /// Compares documents side by side, by their keys; returns false if all of them failed.
    async fn compare_documents(&mut self, keys: Vec<Box<str>>) -> bool {
        let results = join_all(keys.iter().map(|key| self.compare_document(key))).await;
        let (all, mut failed) = (keys.len(), 0);
        for (key, result) in keys.into_iter().zip(results) {
            match result {
                Ok(None) => {
                    self.skipped.remove(&key);
                }
                Ok(Some(skipped)) => {
                    self.skipped.insert(key, skipped);
                }
                Err(error) => {
                    failed += 1;
                    self.context.replica.revision_checks.note_key(&key);
                    if let Some(suppressed) = self.failure_log.take() {
                        warn!(%key, %error, suppressed, "document not compared with its revisions, retrying");
                    }
                }
            }
        }
        for (reason, label) in [(Skipped::Ahead, "ahead"), (Skipped::Unreadable, "unreadable")] {
            let count = self.skipped.values().filter(|skipped| **skipped == reason).count();
            metrics::revision_documents_skipped(label, count);
        }
        if failed > 0 {
            metrics::revision_check_failed();
        }
        failed < all
    }

    /// Compares a document with the last revisions of its modules; returns why it is left alone, if it is.
    async fn compare_document(&self, key: &str) -> Result<Option<Skipped>, RevisionLogError> {
        let Some(owner) = RevisionOwner::of_document(key) else { return Ok(None) };
        let last = self.log.last_of(&owner).await?;
        // The changes of these revisions must be applied here, or a later change would be taken for a deletion. Read
        // before the document, so that it is at least as new.
        let documents = last.iter().filter_map(|one| Some(one.revision.as_ref().ok()?.document));
        let newest = documents.max().unwrap_or(0);
        if !self.is_applied(key, newest).await? {
            return Ok(Some(Skipped::Ahead));
        }
        let document = self.context.replica.progress.revision().max(newest);
        let change = Change { document, now_ms: clock::broker_now_ms() };
        // The applied document is not the stored one: it is compared when it can be read.
        let Some(live) = live_modules_of(self.context, &owner, change) else {
            return Ok(Some(Skipped::Unreadable));
        };
        self.repair(&owner, (&live, &last), change).await?;
        Ok(None)
    }

    /// Waits until a revision of a document is applied here; returns false if the registry has no such revision.
    async fn is_applied(&self, key: &str, revision: u64) -> Result<bool, RevisionLogError> {
        let progress = &self.context.replica.progress;
        if progress.revision() >= revision {
            return Ok(true);
        }
        let last = self.context.transactions.last_revision().await;
        let last = last.map_err(|error| RevisionLogError(error.to_string()))?;
        if revision > last {
            if let Some(suppressed) = self.failure_log.take() {
                warn!(
                    key,
                    revision,
                    last,
                    suppressed,
                    "revisions of modules are of another registry bucket: purge their stream, it is filled again at the next start"
                );
            }
            return Ok(false);
        }
        let applied = progress.wait_until_document_applied(key, revision);
        let applied = timeout(APPLY_TIMEOUT, applied).await;
        applied
            .map_err(|_| RevisionLogError("a change with revisions is not applied here".into()))?;
        Ok(true)
    }

    /// Deletes the revisions of modules of one document that are obsolete, and writes those that are missing.
    async fn repair(
        &self,
        owner: &RevisionOwner,
        (live, last): (&[LiveModule], &[StoredRevision]),
        change: Change,
    ) -> Result<(), RevisionLogError> {
        let key = owner.document_key();
        let found = compare(live, last, change, self.deleted_kept_ms);
        // First, so that the bound holds for an owner whose revisions cannot be written.
        for (module, sequence) in found.obsolete {
            self.log.purge(owner, &module, sequence).await?;
            debug!(%key, %module, "revisions of a deleted module removed");
        }
        let mut writes = Vec::new();
        let mut has_deletion = false;
        for (missing, sequence) in found.missing {
            let missing = match sequence {
                0 => missing,
                _ => match self.to_be_stored(owner, missing).await? {
                    Some(missing) => missing,
                    None => continue,
                },
            };
            has_deletion |= missing.state == RevisedState::Deleted;
            let write = RevisionWrite::of(&missing, Some(sequence));
            writes.push(write.map_err(|error| RevisionLogError(error.to_string()))?);
        }
        if !writes.is_empty() {
            let appended = self.log.append(&writes).await?;
            metrics::revisions_stored("repair", appended.stored);
            info!(%key, stored = appended.stored, "missing revisions of modules stored");
            // A module that was deleted too long ago is obsolete now.
            if appended.conflicts > 0 || has_deletion {
                self.context.replica.revision_checks.note_key(&key);
            }
        }
        Ok(())
    }

    /// Returns what is to be stored of a module whose last revision in the stream is not `missing`: nothing if its last
    /// change is, since that one need not be the last in the stream. A deletion is stored once more then, so that it is
    /// the last one there, by which modules are found that were deleted too long ago.
    async fn to_be_stored(
        &self,
        owner: &RevisionOwner,
        missing: ModuleRevision,
    ) -> Result<Option<ModuleRevision>, RevisionLogError> {
        let stored = sorted(self.log.all_of(owner, &token(missing.key.as_str())).await?);
        Ok(match stored.last() {
            Some((_, last)) if has_same_content(last, &missing) => {
                (last.state == RevisedState::Deleted).then(|| last.clone())
            }
            _ => Some(missing),
        })
    }
}
