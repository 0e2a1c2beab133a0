//! Progress of this replica in applying the store.

use tokio::sync::watch;

/// How far this replica has applied the store, for any number of waiting tasks.
#[derive(Debug, Default)]
pub(crate) struct ApplyProgress(watch::Sender<Position>);

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    revision: u64,
    is_loaded: bool,
}

impl ApplyProgress {
    /// Returns the revision applied last.
    pub(crate) fn revision(&self) -> u64 {
        self.0.borrow().revision
    }

    /// Whether the initial load is complete.
    pub(crate) fn is_loaded(&self) -> bool {
        self.0.borrow().is_loaded
    }

    /// Waits until the initial load is complete.
    pub(crate) async fn wait_until_loaded(&self) {
        self.wait(|position| position.is_loaded).await;
    }

    /// Waits until `revision` is applied.
    pub(crate) async fn wait_until_applied(&self, revision: u64) {
        self.wait(|position| position.revision >= revision).await;
    }

    async fn wait(&self, is_reached: impl FnMut(&Position) -> bool) {
        // Waiting fails only when the sender is dropped, which lives as long as `self`.
        let _ = self.0.subscribe().wait_for(is_reached).await;
    }

    /// Records that everything up to `revision` is applied; revisions never fall otherwise.
    pub(super) fn advance(&self, revision: u64) {
        self.0.send_modify(|position| position.revision = position.revision.max(revision));
    }

    /// Restarts at revision 0, because the store was recreated.
    pub(super) fn restart(&self) {
        self.0.send_modify(|position| position.revision = 0);
    }

    /// Records that the initial load is complete.
    pub(super) fn mark_loaded(&self) {
        self.0.send_modify(|position| position.is_loaded = true);
    }
}
