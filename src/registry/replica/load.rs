//! Progress of a load: which keys it has not seen yet, and how fast it is.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::info;

use crate::clock;

/// Documents applied together; later changes wait for the batch.
pub(crate) const BATCH_MAX: usize = 1024;
/// Interval of progress logs.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// A document as the store sent it.
#[derive(Clone, Debug)]
pub(crate) struct DocumentWrite {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
}

/// Progress of a running load.
#[derive(Debug)]
pub(crate) struct LoadProgress {
    /// Keys applied before the load and not seen in it yet; their documents were deleted.
    pub(crate) unseen: HashSet<String>,
    documents: usize,
    started: Instant,
    last_logged: Duration,
}

impl LoadProgress {
    /// Starts a load with the keys that are applied.
    pub(crate) fn start(unseen: HashSet<String>) -> Self {
        Self { unseen, documents: 0, started: clock::tick(), last_logged: Duration::ZERO }
    }

    /// Records applied documents and logs the progress once per interval.
    pub(crate) fn record_applied(&mut self, batch: &[DocumentWrite], modules: i64) {
        for document in batch {
            self.unseen.remove(&document.key);
        }
        self.documents += batch.len();
        let taken = clock::since(self.started);
        if taken >= self.last_logged + LOG_INTERVAL {
            self.last_logged = taken;
            let per_second = self.per_second();
            info!(documents = self.documents, modules, per_second, "registry is loading");
        }
    }

    /// Number of applied documents.
    pub(crate) fn documents(&self) -> usize {
        self.documents
    }

    /// Documents per second so far.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate for people, far below 2^52"
    )]
    pub(crate) fn per_second(&self) -> u64 {
        let seconds = clock::since(self.started).as_secs_f64().max(f64::EPSILON);
        (self.documents as f64 / seconds) as u64
    }
}
