//! Read barrier: the revision a read must wait for, with concurrent queries coalesced into one.
//!
//! Design: `docs/design/registry-watch.md`.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::clock;
use crate::registry::store::{Store, StoreError};

/// Shortest interval between two queries, so that unauthenticated callers cannot overload the
/// store.
const QUERY_INTERVAL: Duration = Duration::from_millis(1);

/// The last result, shared by all callers that arrived before its query was sent.
#[derive(Debug, Default)]
pub(crate) struct ReadBarrier {
    last: Mutex<Option<Query>>,
}

#[derive(Clone, Copy, Debug)]
struct Query {
    sent: Instant,
    revision: u64,
}

impl ReadBarrier {
    /// Returns a revision that covers every write confirmed before this call, by any replica.
    pub(crate) async fn revision(&self, store: &dyn Store) -> Result<u64, StoreError> {
        let called = clock::tick();
        // One query at a time: a caller that waited for the lock finds a sufficiently new result.
        let mut last = self.last.lock().await;
        if let Some(last_query) = *last {
            if last_query.sent >= called {
                return Ok(last_query.revision);
            }
            sleep(QUERY_INTERVAL.saturating_sub(clock::since(last_query.sent))).await;
        }
        let sent = clock::tick();
        let revision = store.last_revision().await?;
        *last = Some(Query { sent, revision });
        Ok(revision)
    }
}
