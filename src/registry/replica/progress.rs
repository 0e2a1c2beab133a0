//! Progress of this replica in applying the store.
//!
//! Changes of different sites are applied side by side, so a later one may be applied before an
//! earlier one. The *revision* of this replica is the last one up to which everything is applied;
//! documents *ahead* of it are known by key, so that a change waits for itself only.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// How far this replica has applied the store, for any number of waiting tasks.
#[derive(Debug, Default)]
pub(crate) struct ApplyProgress {
    position: watch::Sender<Position>,
    open: Mutex<OpenChanges>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    revision: u64,
    is_loaded: bool,
    /// Number of changes applied, in any order.
    changes: u64,
}

/// Changes that were received and are not applied, and those applied before an earlier one. As many
/// as the queue of changes has.
#[derive(Debug, Default)]
struct OpenChanges {
    /// The last revision that was received.
    received: u64,
    /// The documents by revision.
    open: BTreeMap<u64, String>,
    /// By document: its last revision that is applied, if that is ahead.
    ahead: HashMap<String, u64>,
}

impl OpenChanges {
    /// The last revision up to which everything is applied.
    fn revision(&self) -> u64 {
        self.open.first_key_value().map_or(self.received, |(first, _)| first - 1)
    }
}

impl ApplyProgress {
    /// Returns the revision up to which everything is applied.
    pub(crate) fn revision(&self) -> u64 {
        self.position.borrow().revision
    }

    /// Returns the number of changes applied so far.
    pub(crate) fn changes(&self) -> u64 {
        self.position.borrow().changes
    }

    /// Whether the initial load is complete.
    pub(crate) fn is_loaded(&self) -> bool {
        self.position.borrow().is_loaded
    }

    /// Waits until the initial load is complete.
    pub(crate) async fn wait_until_loaded(&self) {
        self.wait(|position| position.is_loaded).await;
    }

    /// Waits until everything up to `revision` is applied.
    pub(crate) async fn wait_until_applied(&self, revision: u64) {
        self.wait(|position| position.revision >= revision).await;
    }

    /// Waits until `revision` of the document `key` is applied, or a later one.
    pub(crate) async fn wait_until_document_applied(&self, key: &str, revision: u64) {
        self.wait(|position| {
            position.revision >= revision
                || self.open().ahead.get(key).is_some_and(|applied| *applied >= revision)
        })
        .await;
    }

    async fn wait(&self, is_reached: impl FnMut(&Position) -> bool) {
        // Waiting fails only when the sender is dropped, which lives as long as `self`.
        let _ = self.position.subscribe().wait_for(is_reached).await;
    }

    /// Records that `revision` of a document was received.
    pub(super) fn begin(&self, key: &str, revision: u64) {
        let mut open = self.open();
        open.received = open.received.max(revision);
        open.open.insert(revision, key.to_owned());
    }

    /// Records that these revisions are applied.
    pub(super) fn finish(&self, revisions: &[u64]) {
        let mut open = self.open();
        for revision in revisions {
            let key = open.open.remove(revision);
            debug_assert!(key.is_some(), "the change was received");
            if let Some(key) = key {
                let ahead = open.ahead.entry(key).or_default();
                *ahead = (*ahead).max(*revision);
            }
        }
        let applied = open.revision();
        open.ahead.retain(|_, revision| *revision > applied);
        drop(open);
        self.advance_to(applied);
    }

    /// Records that everything up to `revision` was received, and that everything but the open
    /// changes is applied.
    pub(super) fn advance(&self, revision: u64) {
        let mut open = self.open();
        open.received = open.received.max(revision);
        let applied = open.revision();
        drop(open);
        self.advance_to(applied);
    }

    /// Publishes a revision; it never falls, unless by [`ApplyProgress::restart`].
    fn advance_to(&self, revision: u64) {
        self.position.send_modify(|position| {
            position.revision = position.revision.max(revision);
            position.changes += 1;
        });
    }

    /// Restarts at revision 0, because the store was recreated. No change is open.
    pub(super) fn restart(&self) {
        *self.open() = OpenChanges::default();
        self.position.send_modify(|position| position.revision = 0);
    }

    /// Records that the initial load is complete.
    pub(super) fn mark_loaded(&self) {
        self.position.send_modify(|position| position.is_loaded = true);
    }

    fn open(&self) -> MutexGuard<'_, OpenChanges> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl ApplyProgress {
    /// Whether a change of this document was received and is not applied.
    pub(crate) fn is_open(&self, key: &str) -> bool {
        self.open().open.values().any(|open| open == key)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(pin!(future).poll(&mut context), Poll::Ready(_))
    }

    #[test]
    fn the_revision_waits_for_earlier_changes_and_a_document_for_itself() {
        let progress = ApplyProgress::default();
        progress.advance(3);
        progress.begin("slow", 4);
        progress.begin("quick", 5);
        progress.advance(6);
        assert_eq!(progress.revision(), 3);
        progress.finish(&[5]);
        assert_eq!(progress.revision(), 3);
        assert!(is_ready(progress.wait_until_document_applied("quick", 5)));
        assert!(!is_ready(progress.wait_until_document_applied("slow", 4)));
        assert!(!is_ready(progress.wait_until_applied(5)));
        progress.finish(&[4]);
        assert_eq!(progress.revision(), 6);
        assert!(is_ready(progress.wait_until_document_applied("slow", 4)));
        assert!(progress.open().ahead.is_empty() && progress.open().open.is_empty());
        progress.begin("quick", 7);
        progress.begin("quick", 8);
        progress.finish(&[7, 8]);
        assert_eq!(progress.revision(), 8);
    }
}
