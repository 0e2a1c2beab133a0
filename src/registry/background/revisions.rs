//! Comparison of documents with the revisions of their modules: writes what is missing, deletes what is
//! obsolete. Every replica compares what it applied; `expected` makes one of them write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::clock;
use crate::domain::token;
use crate::registry::commands::{Context, live_modules_of};
use crate::registry::metrics;
use crate::registry::model::{AppRecord, Document, InstallationRecord};
use crate::registry::revisions::{
    Change, ModuleRevision, RevisionLog, RevisionLogError, RevisionOwner, RevisionWrite,
    StoredRevision, compare, has_same_content, sorted,
};

/// Pause between two looks at what is due.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Pause between two batches, which bounds the reads: at a start all documents are due.
const BATCH_PAUSE: Duration = Duration::from_millis(100);
/// Documents compared at once.
const BATCH_DOCUMENTS: usize = 32;
/// Pause after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// Longest wait until this replica has applied the changes of the revisions.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval at which owners without a document are looked for: deletions of which no replica that runs knows.
const OWNERS_INTERVAL_MS: i64 = 24 * 3600 * 1000;

/// Compares until the future is dropped.
pub(super) async fn run(context: &Context) {
    context.replica.progress.wait_until_loaded().await;
    let Some(log) = context.transactions.recorder().log().map(Arc::clone) else { return };
    let mut owners_due_ms = clock::uptime_ms();
    loop {
        if clock::uptime_ms() >= owners_due_ms {
            match note_owners_without_document(context, log.as_ref()).await {
                Ok(()) => owners_due_ms = clock::uptime_ms().saturating_add(OWNERS_INTERVAL_MS),
                Err(error) => recover(context, log.as_ref(), &error).await,
            }
        }
        let now_ms = clock::broker_now_ms();
        let due = std::iter::from_fn(|| context.replica.revision_checks.pop_due(now_ms));
        let keys: Vec<Box<str>> = due.take(BATCH_DOCUMENTS).collect();
        metrics::revision_checks(context.replica.revision_checks.waiting());
        if keys.is_empty() {
            sleep(POLL_INTERVAL).await;
            continue;
        }
        if let Err(error) = compare_documents(context, log.as_ref(), &keys).await {
            keys.iter().for_each(|key| context.replica.revision_checks.note_key(key));
            recover(context, log.as_ref(), &error).await;
        }
        sleep(BATCH_PAUSE).await;
    }
}

/// Waits after a failure, and creates the stream again if it is missing: then every document is due.
async fn recover(context: &Context, log: &dyn RevisionLog, error: &RevisionLogError) {
    metrics::revision_check_failed();
    debug!(%error, "documents not compared with their revisions, retrying");
    sleep(FAILURE_PAUSE).await;
    match log.ensure().await {
        Ok(true) => {
            warn!(
                "the stream of revisions was missing and is created again; only present revisions are restored"
            );
            note_all(context);
        }
        Ok(false) => {}
        Err(error) => debug!(%error, "the stream of revisions is not available"),
    }
}

fn note_all(context: &Context) {
    let checks = &context.replica.revision_checks;
    for id in context.state().installation_ids() {
        checks.note_key(&InstallationRecord::key(id.as_str()));
    }
    for id in context.state().app_ids() {
        checks.note_key(&AppRecord::key(id.as_str()));
    }
}

/// Notes the owners of revisions whose document does not exist.
async fn note_owners_without_document(
    context: &Context,
    log: &dyn RevisionLog,
) -> Result<(), RevisionLogError> {
    let live: BTreeSet<RevisionOwner> = context
        .state()
        .installation_ids()
        .iter()
        .map(|id| RevisionOwner::Installation(id.token().into()))
        .chain(context.state().app_ids().iter().map(|id| RevisionOwner::App(id.token().into())))
        .collect();
    for owner in log.owners().await?.difference(&live) {
        context.replica.revision_checks.note_key(&owner.document_key());
    }
    Ok(())
}

/// Compares documents, by their keys, with the last revisions of their modules.
async fn compare_documents(
    context: &Context,
    log: &dyn RevisionLog,
    keys: &[Box<str>],
) -> Result<(), RevisionLogError> {
    let owners: Vec<RevisionOwner> =
        keys.iter().filter_map(|key| RevisionOwner::of_document(key)).collect();
    let mut by_owner: BTreeMap<RevisionOwner, Vec<StoredRevision>> =
        owners.iter().map(|owner| (owner.clone(), Vec::new())).collect();
    for stored in log.last_of(&owners).await? {
        by_owner.entry(stored.owner.clone()).or_default().push(stored);
    }
    // The changes of these revisions must be applied here, or a later change would be taken for a deletion. Read
    // before the documents, so that these are at least as new.
    let stored = by_owner.values().flatten();
    let newest = stored.filter_map(|one| Some(one.revision.as_ref().ok()?.document)).max();
    let newest = newest.unwrap_or(0);
    if timeout(APPLY_TIMEOUT, context.replica.progress.wait_until_applied(newest)).await.is_err() {
        let last = context.transactions.last_revision().await;
        let last = last.map_err(|error| RevisionLogError(error.to_string()))?;
        if newest > last {
            metrics::revision_check_failed();
            warn!(
                newest,
                last,
                "revisions of modules are of another registry bucket: purge their stream, it is filled again at the next start"
            );
            return Ok(());
        }
        return Err(RevisionLogError("changes with revisions are not applied here".into()));
    }
    for (owner, last) in by_owner {
        repair(context, log, &owner, last).await?;
    }
    Ok(())
}

/// Writes the revisions that the modules of one document lack.
async fn repair(
    context: &Context,
    log: &dyn RevisionLog,
    owner: &RevisionOwner,
    last: Vec<StoredRevision>,
) -> Result<(), RevisionLogError> {
    let key = owner.document_key();
    let change =
        Change { document: context.replica.progress.revision(), now_ms: clock::broker_now_ms() };
    // The applied document is not the stored one: it is compared when it can be read.
    let Some(live) = live_modules_of(context, owner, change) else { return Ok(()) };
    let found = compare(&live, &last, change);
    let mut writes = Vec::new();
    for (missing, sequence) in found.missing {
        if sequence > 0 && !is_missing(log, owner, &missing).await? {
            continue;
        }
        let write = RevisionWrite::of(&missing, Some(sequence));
        writes.push(write.map_err(|error| RevisionLogError(error.to_string()))?);
    }
    if !writes.is_empty() {
        let appended = log.append(&writes).await?;
        metrics::revisions_stored("repair", appended.stored);
        info!(%key, stored = appended.stored, "missing revisions of modules stored");
        if appended.conflicts > 0 {
            context.replica.revision_checks.note_key(&key);
        }
    }
    for module in found.obsolete {
        log.purge(owner, Some(&module)).await?;
        debug!(%key, %module, "revisions of a deleted module removed");
    }
    Ok(())
}

/// Whether no revision of a module says what `missing` does, or a later one says otherwise: the last one in the
/// stream need not be the last change.
async fn is_missing(
    log: &dyn RevisionLog,
    owner: &RevisionOwner,
    missing: &ModuleRevision,
) -> Result<bool, RevisionLogError> {
    let stored = sorted(log.all_of(owner, &token(missing.key.as_str())).await?);
    Ok(!stored.last().is_some_and(|last| has_same_content(last, missing)))
}
