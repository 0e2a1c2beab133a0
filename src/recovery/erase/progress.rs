//! Where an erasure is, and what it found so far: the cursor of its job (a stored format). Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::report::{EraseReport, KeptReason, StoreReport};
use super::store::{ErasedStore, StoreBounds};
use crate::delivery::StreamPosition;
use crate::recovery::jobs::{Job, JobCounts};

/// Pause between two passes, in milliseconds.
const PASS_PAUSE_MS: i64 = 2_000;
/// How long after the first pass further ones begin, in milliseconds.
const PASSES_MS_MAX: i64 = 3_600_000;

/// Where an erasure is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Number of the pass, from 1.
    pass: u32,
    /// The store that it goes over.
    pub(super) store: ErasedStore,
    /// The next sequence to read, up to `end`; none if the store is not begun.
    pub(super) next: Option<u64>,
    pub(super) end: u64,
    /// Messages that were found and not handled yet: sequence and time.
    pub(super) pending: Vec<(u64, i64)>,
    /// When the job started.
    started_ms: i64,
    /// The last event at that time.
    events_end: u64,
    /// Nothing is done before this time.
    resume_ms: i64,
    /// End of the first pass.
    #[serde(default)]
    first_ended_ms: Option<i64>,
    /// Whether this pass found nothing so far.
    is_clean: bool,
    pub(super) stores: BTreeMap<ErasedStore, StoreProgress>,
}

/// Where it is in one store.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct StoreProgress {
    /// The first sequence of the pass.
    from: u64,
    /// Messages up to here were counted by an earlier pass.
    counted_to: u64,
    /// The first message of the pass that the job waits for.
    #[serde(default)]
    first_waiting: Option<u64>,
    waiting: u64,
    #[serde(default)]
    denies_delete: bool,
    pub(super) report: StoreReport,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handled {
    Removed,
    BodyRemoved,
    Left,
    /// It is tried again in the next pass.
    Waits,
}

/// What follows after the last message of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Followed {
    Store,
    Pass,
    End,
}

impl Progress {
    /// Begins at a time, with the last event of that time.
    pub(super) fn begin(now_ms: i64, events_end: u64) -> Self {
        Self {
            pass: 1,
            store: ErasedStore::Events,
            next: None,
            end: 0,
            pending: Vec::new(),
            started_ms: now_ms,
            events_end,
            resume_ms: now_ms,
            first_ended_ms: None,
            is_clean: true,
            stores: BTreeMap::new(),
        }
    }

    /// Returns what the job waits for at a time; none if it does not wait.
    pub(super) fn waits_for(&self, now_ms: i64) -> Option<String> {
        let waiting = |store| self.stores.get(&store).map_or(0, StoreProgress::waiting);
        (self.resume_ms > now_ms).then(|| {
            let (events, parked) = (waiting(ErasedStore::Events), waiting(ErasedStore::Parked));
            format!("{events} events are not acknowledged, {parked} deliveries are attempted now")
        })
    }

    /// Begins the present store.
    pub(super) fn open(&mut self, bounds: Option<StoreBounds>) {
        let is_skipped = self.pass > 1 && self.store == ErasedStore::Registry;
        let bounds = bounds.filter(|_| !is_skipped).unwrap_or_default();
        self.end = match self.store {
            ErasedStore::Events => self.events_end,
            _ => bounds.last,
        };
        let state = self.stores.entry(self.store).or_default();
        state.denies_delete = bounds.denies_delete;
        (state.waiting, state.first_waiting) = (0, None);
        self.next = Some(state.from.max(1));
    }

    /// Whether a message of the present store belongs to the erasure by its age: it was stored before
    /// the job started, or its event was.
    pub(super) fn is_old_enough(
        &self,
        stored_ms: i64,
        event: impl FnOnce() -> Option<u64>,
    ) -> bool {
        self.store == ErasedStore::Events
            || stored_ms <= self.started_ms
            || event().is_some_and(|sequence| sequence <= self.events_end)
    }

    /// Counts a message that was read; returns whether it has to be handled.
    pub(super) fn read(&mut self, position: StreamPosition, is_selected: bool, dry: bool) -> bool {
        let store = self.store;
        let state = self.stores.entry(store).or_default();
        let is_new = position.sequence > state.counted_to;
        self.next = Some(position.sequence.saturating_add(1));
        state.report.read += u64::from(is_new);
        if !is_selected {
            return false;
        }
        state.report.matched += u64::from(is_new);
        let kept = match store {
            ErasedStore::Registry => Some(KeptReason::Registry),
            _ => state.denies_delete.then_some(KeptReason::DenyDelete),
        };
        if let Some(reason) = kept {
            *state.report.kept.entry(reason).or_default() += u64::from(is_new);
            return false;
        }
        if dry {
            return false;
        }
        self.is_clean = false;
        self.pending.push((position.sequence, position.stored_ms));
        true
    }

    /// Counts what became of the first pending messages.
    pub(super) fn handle(&mut self, handled: &[Handled]) {
        let state = self.stores.entry(self.store).or_default();
        let taken: Vec<_> = self.pending.drain(..handled.len().min(self.pending.len())).collect();
        for ((sequence, _), handled) in taken.into_iter().zip(handled) {
            let report = &mut state.report;
            match handled {
                Handled::Removed => report.removed += 1,
                Handled::BodyRemoved => report.body_removed += 1,
                Handled::Left => report.left += 1,
                Handled::Waits => {
                    state.waiting += 1;
                    state.first_waiting.get_or_insert(sequence);
                }
            }
        }
    }

    /// Ends the present store at a time.
    pub(super) fn close(&mut self, now_ms: i64, dry: bool) -> Followed {
        let (store, end) = (self.store, self.end);
        if let Some(state) = self.stores.get_mut(&store) {
            state.close(store, end);
        }
        self.next = None;
        let stores = ErasedStore::ALL;
        let at = stores.iter().position(|one| *one == store).unwrap_or_default();
        if let Some(next) = stores.get(at + 1) {
            self.store = *next;
            return Followed::Store;
        }
        let first_ended_ms = *self.first_ended_ms.get_or_insert(now_ms);
        let waited_ms = now_ms.saturating_sub(first_ended_ms);
        if dry || self.is_clean && self.pass > 1 || waited_ms >= PASSES_MS_MAX {
            return Followed::End;
        }
        self.pass += 1;
        self.store = ErasedStore::Events;
        self.is_clean = true;
        self.resume_ms = now_ms.saturating_add(PASS_PAUSE_MS);
        Followed::Pass
    }

    /// Whether it is after the first pass, or how much of that is done.
    #[expect(clippy::cast_precision_loss, reason = "a progress needs no more than 53 bits")]
    pub(super) fn part(&self) -> f64 {
        if self.pass > 1 {
            return 0.99;
        }
        let stores = ErasedStore::ALL;
        let before = stores.iter().take_while(|store| **store != self.store).count();
        let read = self.next.unwrap_or(0).saturating_sub(1).min(self.end);
        let within = if self.end == 0 { 0.0 } else { read as f64 / self.end as f64 };
        (before as f64 + within) / stores.len() as f64 * 0.99
    }

    /// Returns the sums over all stores.
    pub(super) fn totals(&self) -> JobCounts {
        let mut totals = JobCounts::new();
        let reports = self.stores.values().map(|state| &state.report);
        for report in reports {
            for (name, number) in [
                ("read", report.read),
                ("matched", report.matched),
                ("removed", report.removed),
                ("bodyRemoved", report.body_removed),
                ("left", report.left),
            ] {
                *totals.entry(name.to_owned()).or_default() += number;
            }
        }
        totals
    }
}

impl StoreProgress {
    fn waiting(&self) -> u64 {
        self.waiting
    }

    fn close(&mut self, store: ErasedStore, end: u64) {
        self.counted_to = self.counted_to.max(end);
        // The next pass reads what this one waits for, and what was stored since.
        self.from = self.first_waiting.unwrap_or(self.counted_to.saturating_add(1));
        let reason = match store {
            ErasedStore::Events => KeptReason::NotAcknowledged,
            _ => KeptReason::InFlight,
        };
        match self.waiting {
            0 => self.report.kept.remove(&reason),
            waiting => self.report.kept.insert(reason, waiting),
        };
    }
}

/// Returns the report of an erasure; none before its first step.
#[must_use]
pub fn report_of(job: &Job) -> Option<EraseReport> {
    let progress: Progress = serde_json::from_value(job.cursor.clone()).ok()?;
    Some(progress.stores.into_iter().map(|(store, state)| (store, state.report)).collect())
}
