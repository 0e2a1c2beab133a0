//! Where an erasure is, and what it found so far: the cursor of its job (a stored format). Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::report::{EraseReport, KeptReason, StoreReport};
use super::selection::Belongs;
use super::store::{ErasedStore, StoreBounds};
use crate::delivery::StreamPosition;
use crate::recovery::jobs::{Job, JobCounts};

/// Pause after the first pass, in milliseconds; each further one is twice as long.
const PASS_PAUSE_MS: i64 = 2_000;
/// Longest pause between two passes, in milliseconds.
const PASS_PAUSE_MS_MAX: i64 = 60_000;
/// How long after the first pass further ones begin, in milliseconds.
const PASSES_MS_MAX: i64 = 3_600_000;
/// Events that redrives publish again while the job runs, at most.
pub(super) const REPUBLISHED_MAX: usize = 4_000;

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
    /// Messages that were found and not handled yet.
    pub(super) pending: Vec<PendingMessage>,
    /// When the job started.
    started_ms: i64,
    /// The last event at that time.
    events_end: u64,
    /// Later events of the erasure: redrives published them again.
    republished: Vec<u64>,
    /// How many of them were known before this pass.
    republished_before: usize,
    /// Nothing is done before this time.
    resume_ms: i64,
    /// End of the first pass.
    first_ended_ms: Option<i64>,
    /// Whether this pass found nothing so far.
    is_clean: bool,
    stores: BTreeMap<ErasedStore, StoreProgress>,
}

/// A message that was found: sequence, time, and whether it was counted as found now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct PendingMessage(u64, i64, bool);

impl PendingMessage {
    pub(super) fn position(self) -> StreamPosition {
        StreamPosition { sequence: self.0, stored_ms: self.1 }
    }
}

/// Where it is in one store.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct StoreProgress {
    /// Messages up to here were counted by an earlier pass.
    counted_to: u64,
    /// The last message at the start of this pass.
    pass_start: u64,
    /// The last message at the start of the pass before.
    pass_start_before: u64,
    /// The first message that the job waits for.
    first_waiting: Option<u64>,
    /// How many messages it waits for.
    waiting: u64,
    /// How many of an earlier pass this one looks for again.
    expected: u64,
    /// How many of them it found.
    found_again: u64,
    denies_delete: bool,
    report: StoreReport,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handled {
    Removed,
    BodyRemoved,
    /// There is none at this position any more.
    Absent,
    /// It is tried again in the next pass.
    Waits,
}

/// What follows after the last message of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterStore {
    NextStore,
    NextPass,
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
            republished: Vec::new(),
            republished_before: 0,
            resume_ms: now_ms,
            first_ended_ms: None,
            is_clean: true,
            stores: BTreeMap::new(),
        }
    }

    /// Returns what the job waits for at a time; none if it does not wait.
    pub(super) fn waits_for(&self, now_ms: i64) -> Option<String> {
        let waiting = |store| self.stores.get(&store).map_or(0, |state| state.waiting);
        (self.resume_ms > now_ms).then(|| {
            let (events, parked) = (waiting(ErasedStore::Events), waiting(ErasedStore::Parked));
            format!("{events} events are not acknowledged, {parked} deliveries are attempted now")
        })
    }

    /// Whether a pass begins.
    pub(super) fn is_at_start(&self) -> bool {
        self.next.is_none() && self.store == ErasedStore::Events
    }

    /// Begins a pass; `last` has the last sequences of the stores. What is stored of an event that is above the one
    /// of the event stream is above the others, too: the one of the event stream was read last.
    pub(super) fn begin_pass(&mut self, last: &BTreeMap<ErasedStore, u64>) {
        self.republished_before = self.republished.len();
        for (store, last) in last {
            let state = self.stores.entry(*store).or_default();
            state.pass_start_before = state.pass_start;
            state.pass_start = *last;
        }
    }

    /// Begins the present store; events up to `acknowledged` can be removed.
    pub(super) fn open(&mut self, bounds: Option<StoreBounds>, acknowledged: u64) {
        let store = self.store;
        let is_skipped = self.pass > 1 && is_counted_only(store).is_some();
        let bounds = bounds.filter(|_| !is_skipped).unwrap_or_default();
        let has_new_republished = self.republished.len() > self.republished_before;
        let state = self.stores.entry(store).or_default();
        self.end = bounds.last;
        state.denies_delete = bounds.denies_delete;
        (state.expected, state.found_again) = (0, 0);
        let mut from = state.counted_to.saturating_add(1);
        // As long as the first event is not acknowledged, none after it can be removed: they are not read again.
        let is_blocked = store == ErasedStore::Events
            && state.first_waiting.is_some_and(|first| first > acknowledged);
        if !is_blocked {
            from = state.first_waiting.take().unwrap_or(from);
            state.expected = std::mem::take(&mut state.waiting);
        }
        // What is stored of these events was not known to belong to the erasure in the pass before.
        if has_new_republished && store != ErasedStore::Events {
            from = from.min(state.pass_start_before.saturating_add(1));
        }
        self.next = Some(from.max(1));
    }

    /// Whether a message of the present store belongs to the erasure by its age: it was stored before the job
    /// started, or its event was. So does a message that does not name its event: nothing says that it is newer.
    pub(super) fn is_old_enough(&self, stored_ms: i64, event: Option<u64>) -> bool {
        let is_old = |event: u64| event <= self.events_end || self.republished.contains(&event);
        (stored_ms <= self.started_ms && self.store != ErasedStore::Events)
            || event.is_none_or(is_old)
    }

    /// Notes an event that a redrive published again after the start; returns whether there is room for it.
    pub(super) fn note_republished(&mut self, event: u64) -> bool {
        if event <= self.events_end || self.republished.contains(&event) {
            return true;
        }
        let has_room = self.republished.len() < REPUBLISHED_MAX;
        if has_room {
            self.republished.push(event);
        }
        has_room
    }

    /// Counts a message that was read and is about `event`.
    pub(super) fn read(
        &mut self,
        position: StreamPosition,
        belongs: Belongs,
        event: Option<u64>,
        dry: bool,
    ) {
        let store = self.store;
        let new_events = self.republished.get(self.republished_before..).unwrap_or_default();
        let state = self.stores.entry(store).or_default();
        let is_first_read = position.sequence > state.counted_to;
        self.next = Some(position.sequence.saturating_add(1));
        if belongs == Belongs::No {
            // Later events are only looked at for those that a redrive published again.
            let is_later = store == ErasedStore::Events && position.sequence > self.events_end;
            state.report.read += u64::from(is_first_read && !is_later);
            return;
        }
        state.report.read += u64::from(is_first_read);
        let is_new = is_first_read || event.is_some_and(|event| new_events.contains(&event));
        state.report.matched += u64::from(is_new);
        let kept = match belongs {
            Belongs::Unknown => Some(KeptReason::UnknownSite),
            Belongs::TooMany => Some(KeptReason::Republished),
            Belongs::Yes | Belongs::No => is_counted_only(store)
                .or_else(|| state.denies_delete.then_some(KeptReason::DenyDelete)),
        };
        if let Some(reason) = kept {
            *state.report.kept.entry(reason).or_default() += u64::from(is_new);
        } else if !dry {
            self.is_clean = false;
            self.pending.push(PendingMessage(position.sequence, position.stored_ms, is_new));
        }
    }

    /// Counts what became of the first pending messages.
    pub(super) fn handle(&mut self, handled: &[Handled]) {
        let state = self.stores.entry(self.store).or_default();
        let first: Vec<_> = self.pending.drain(..handled.len().min(self.pending.len())).collect();
        for (PendingMessage(sequence, _, is_new), handled) in first.into_iter().zip(handled) {
            let report = &mut state.report;
            match handled {
                Handled::Removed => report.removed += 1,
                Handled::BodyRemoved => report.body_removed += 1,
                Handled::Absent if is_new => report.left += 1,
                // Counted once the pass knows how many of the expected ones it did not find.
                Handled::Absent => continue,
                Handled::Waits => {
                    state.waiting += 1;
                    state.first_waiting.get_or_insert(sequence);
                }
            }
            state.found_again += u64::from(!is_new);
        }
    }

    /// Ends the present store at a time.
    pub(super) fn close(&mut self, now_ms: i64, dry: bool) -> AfterStore {
        let (store, end) = (self.store, self.end);
        if let Some(state) = self.stores.get_mut(&store) {
            // A delivery that ended may have left something in a store that comes later.
            self.is_clean &= state.expected <= state.found_again;
            state.close(store, end);
        }
        self.next = None;
        let stores = ErasedStore::ALL;
        let at = stores.iter().position(|one| *one == store).unwrap_or_default();
        if let Some(next) = stores.get(at + 1) {
            self.store = *next;
            return AfterStore::NextStore;
        }
        let first_ended_ms = *self.first_ended_ms.get_or_insert(now_ms);
        let waited_ms = now_ms.saturating_sub(first_ended_ms);
        let is_finished = self.is_clean && self.stores.values().all(|state| state.waiting == 0);
        if dry || is_finished && self.pass > 1 || waited_ms >= PASSES_MS_MAX {
            return AfterStore::End;
        }
        let doublings = self.pass.saturating_sub(1).min(16);
        let pause_ms = (PASS_PAUSE_MS << doublings).min(PASS_PAUSE_MS_MAX);
        self.pass += 1;
        self.store = ErasedStore::Events;
        self.is_clean = true;
        self.resume_ms = now_ms.saturating_add(pause_ms);
        AfterStore::NextPass
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

/// Returns why the messages of a store are only counted; none if they are removed.
fn is_counted_only(store: ErasedStore) -> Option<KeptReason> {
    match store {
        ErasedStore::Registry => Some(KeptReason::Registry),
        ErasedStore::Revisions => Some(KeptReason::Revisions),
        ErasedStore::Events | ErasedStore::Parked | ErasedStore::DeadLetters | ErasedStore::Log => {
            None
        }
    }
}

impl StoreProgress {
    fn close(&mut self, store: ErasedStore, end: u64) {
        self.counted_to = self.counted_to.max(end);
        // What the job waited for was acknowledged or removed since.
        self.report.left += self.expected.saturating_sub(self.found_again);
        (self.expected, self.found_again) = (0, 0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_passes_grow_up_to_a_bound_and_passes_end() {
        let (mut progress, mut now_ms, mut pauses) = (Progress::begin(0, 0), 0, Vec::new());
        loop {
            progress.is_clean = false;
            progress.open(None, 0);
            match progress.close(now_ms, false) {
                AfterStore::NextStore => continue,
                AfterStore::End => break,
                AfterStore::NextPass => {}
            }
            assert!(progress.waits_for(now_ms).is_some());
            pauses.push(progress.resume_ms - now_ms);
            now_ms = progress.resume_ms;
            assert_eq!(progress.waits_for(now_ms), None);
        }
        assert_eq!(pauses[..6], [2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
        assert!(pauses[6..].iter().all(|pause| *pause == PASS_PAUSE_MS_MAX));
        assert!(now_ms >= PASSES_MS_MAX && pauses.len() < 70, "{}", pauses.len());
    }
}
