//! Initial load: applies many documents in parallel and logs its progress.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{iter, panic, thread};

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

/// Applies `work` to each item on all cores; results are in the order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    if cores <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let share = || -> Vec<(usize, R)> {
        let mut taken = iter::repeat_with(|| next.fetch_add(1, Relaxed));
        iter::from_fn(|| taken.next().and_then(|at| Some((at, work(items.get(at)?))))).collect()
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(share)).collect();
        let mut all = share();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)));
        }
        all
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 2, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = in_parallel(&items, |item| item * 2);
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
