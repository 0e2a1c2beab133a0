//! Loading: many documents at once, worked out on all cores, and how far it is.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{iter, panic, thread};

use bytes::Bytes;
use tracing::info;

use crate::clock;

/// Documents that are applied together; changes that come meanwhile wait for all of them.
pub(super) const BATCH_MAX: usize = 1024;
/// How often the log tells how far a load is.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// A document as the store sent it.
#[derive(Clone, Debug)]
pub(super) struct DocumentWrite {
    pub(super) key: String,
    pub(super) value: Bytes,
    pub(super) revision: u64,
}

/// A load under way.
#[derive(Debug)]
pub(super) struct LoadProgress {
    /// Keys that were applied before and were not met yet: their documents are gone.
    pub(super) unseen: HashSet<String>,
    documents: usize,
    started: Instant,
    last_logged: Duration,
}

impl LoadProgress {
    /// Begins one, with the keys that are applied.
    pub(super) fn start(unseen: HashSet<String>) -> Self {
        Self { unseen, documents: 0, started: clock::tick(), last_logged: Duration::ZERO }
    }

    /// Takes note of documents that were applied, and tells now and then.
    pub(super) fn record_applied(&mut self, batch: &[DocumentWrite], modules: i64) {
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

    /// How many documents were applied.
    pub(super) fn documents(&self) -> usize {
        self.documents
    }

    /// Documents per second so far.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate for people, far below 2^52"
    )]
    pub(super) fn per_second(&self) -> u64 {
        let seconds = clock::since(self.started).as_secs_f64().max(f64::EPSILON);
        (self.documents as f64 / seconds) as u64
    }
}

/// What `work` makes of each item, in their order; worked out on all cores.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
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
    fn results_stand_in_the_order_of_the_items() {
        for count in [0, 1, 2, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = in_parallel(&items, |item| item * 2);
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
