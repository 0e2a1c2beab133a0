//! Turns of changes of one document: those made here wait for each other, and for those of no other
//! document.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Locks = HashMap<String, Arc<AsyncMutex<()>>>;

/// A lock for each document that is being changed.
#[derive(Debug, Default)]
pub(super) struct DocumentTurns(Mutex<Locks>);

/// The turn of one change; ends on drop.
#[derive(Debug)]
pub(super) struct DocumentTurn<'t> {
    turns: &'t DocumentTurns,
    key: &'t str,
    lock: Arc<AsyncMutex<()>>,
    /// None while it waits.
    guard: Option<OwnedMutexGuard<()>>,
}

impl DocumentTurns {
    /// Waits for the turn to change the document `key`.
    pub(super) async fn wait<'t>(&'t self, key: &'t str) -> DocumentTurn<'t> {
        let lock = Arc::clone(self.locks().entry(key.to_owned()).or_default());
        // Made first, so that a caller that stops waiting leaves nothing behind.
        let mut turn = DocumentTurn { turns: self, key, lock, guard: None };
        turn.guard = Some(Arc::clone(&turn.lock).lock_owned().await);
        turn
    }

    fn locks(&self) -> std::sync::MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DocumentTurn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.turns.locks();
        // The table and this turn have a reference each; a change that waits has another.
        if Arc::strong_count(&self.lock) <= 2 {
            locks.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn changes_of_one_document_wait_and_nothing_remains() {
        let turns = DocumentTurns::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(turns.wait("a"));
        let Poll::Ready(turn) = first.as_mut().poll(&mut context) else { panic!("it is free") };
        let mut second = Box::pin(turns.wait("a"));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(pin!(turns.wait("b")).poll(&mut context).is_ready(), "another document");
        let mut third = Box::pin(turns.wait("a"));
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(second);
        drop(turn);
        assert!(third.as_mut().poll(&mut context).is_ready());
        drop((first, third));
        assert!(turns.locks().is_empty());
    }
}
