//! How far the store has got, asked by many at once and answered together.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::store::{Store, StoreError};
use crate::clock;

/// Least time between two questions, so that callers whom nobody knows cannot keep the store busy.
const ASK_INTERVAL: Duration = Duration::from_millis(1);

/// The last answer, for all who asked before the question was put.
#[derive(Debug, Default)]
pub(super) struct ReadBarrier {
    last: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    asked: Instant,
    revision: u64,
}

impl ReadBarrier {
    /// A revision that covers every write confirmed before this call, by whichever replica.
    pub(super) async fn revision(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let called = clock::tick();
        // One question at a time: whoever waited for it finds an answer that is new enough.
        let mut last = self.last.lock().await;
        if let Some(seen) = *last {
            if seen.asked >= called {
                return Ok(seen.revision);
            }
            sleep(ASK_INTERVAL.saturating_sub(clock::since(seen.asked))).await;
        }
        let asked = clock::tick();
        let revision = store.last_revision().await?;
        *last = Some(Seen { asked, revision });
        Ok(revision)
    }
}
