//! Remembers the ids of stored events for `events.repeat_memory_h`, so that what a source repeats
//! after the deduplication window of the broker is not stored again.
//!
//! The memory is a function of the event stream: an id is remembered because an event with it is
//! stored, by any publisher. [`Repeats`] is what a publisher asks and reports to;
//! [`RepeatRecorder`] keeps it equal to the stream, through [`block`]s that replicas share in a
//! stream of their own. An id that is not remembered yet is younger than the window of the broker,
//! which then recognises it.
//!
//! Design: `docs/design/repeats.md`.

mod block;
mod block_stream;
mod coverage;
mod event_headers;
mod history;
mod id;
mod lost_events;
mod memory;
pub(in crate::bus) mod metrics;
mod notes;
mod recorder;
mod report;
mod run;
mod sites;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use self::id::RepeatId;
use self::memory::Runs;
use self::notes::Notes;
use crate::domain::CloudId;
use crate::event::{Published, RepeatStatus};

pub(super) use lost_events::LostEvents;
pub use recorder::RepeatRecorder;

/// What publishers and the recorder of one replica share.
#[derive(Debug, Default)]
pub struct Repeats {
    runs: ArcSwap<Runs>,
    notes: Mutex<Notes>,
    status: ArcSwap<RepeatStatus>,
    /// The highest sequence that the event stream is known to have had.
    last: AtomicU64,
    /// Whether the stream lost events, such as when it gives a sequence again: nothing is known until
    /// the recorder has forgotten their ids.
    has_lost_events: AtomicBool,
    /// Whether the stream may have lost events: nothing is known until the recorder has looked again.
    is_suspended: AtomicBool,
}

/// An id that the memory was asked for, and the last known sequence before its event is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedId(Option<RepeatId>, u64);

impl Repeats {
    /// Returns the state of the memory, for operators.
    #[must_use]
    pub fn status(&self) -> RepeatStatus {
        (**self.status.load()).clone()
    }

    /// Returns the sequence of the stored event with this message id, if it is remembered, and the
    /// id for [`Repeats::note`].
    pub(super) fn find(&self, message_id: &str) -> (AskedId, Option<u64>) {
        let asked = RepeatId::of(message_id);
        let last = self.last.load(SeqCst);
        // In this order, since a note is removed once the runs have its id.
        let noted = asked.and_then(|id| self.notes().find(id));
        let found = noted.or_else(|| self.runs.load().find(asked?));
        let is_trusted = !self.has_lost_events() && !self.is_suspended.load(SeqCst);
        (AskedId(asked, last), found.filter(|_| is_trusted))
    }

    /// Remembers an event whose publish the broker confirmed.
    pub(super) fn note(&self, published: Published, AskedId(id, last): AskedId, site: CloudId) {
        if !published.duplicate && published.sequence <= last {
            self.has_lost_events.store(true, SeqCst);
        }
        self.saw(published.sequence);
        self.notes().add(published.sequence, id, site);
    }

    /// Notes that the event stream has, or had, this sequence.
    fn saw(&self, sequence: u64) {
        self.last.fetch_max(sequence, SeqCst);
    }

    /// Stops or resumes answers, while it is not known whether the stream lost events.
    fn suspend(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, SeqCst);
    }

    /// Whether the stream lost events whose ids are not forgotten yet.
    fn has_lost_events(&self) -> bool {
        self.has_lost_events.load(SeqCst)
    }

    /// Forgets all ids and sequences.
    fn clear(&self) {
        self.publish_runs(Runs::default());
        self.notes().clear();
        self.last.store(0, SeqCst);
        self.has_lost_events.store(false, SeqCst);
        self.suspend(false);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_runs(&self, runs: Runs) {
        self.runs.store(Arc::new(runs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(repeats: &Repeats, id: &str, sequence: u64) -> bool {
        let (asked, found) = repeats.find(id);
        if found.is_none() {
            repeats.note(Published { sequence, duplicate: false }, asked, "c1".into());
        }
        found.is_some()
    }

    #[test]
    fn nothing_is_known_once_the_stream_gives_a_sequence_again() {
        let repeats = Repeats::default();
        assert!(!publish(&repeats, "c1/a", 7));
        assert!(publish(&repeats, "c1/a", 8), "it is stored");
        assert!(!publish(&repeats, "c1/b", 6), "the broker lost 6 and 7");
        assert!(repeats.has_lost_events());
        assert!(!publish(&repeats, "c1/a", 7), "it is stored again");
        repeats.clear();
        assert!(!repeats.has_lost_events());
        assert!(!publish(&repeats, "c1/a", 8));
    }

    #[test]
    fn nothing_is_known_while_a_loss_is_possible() {
        let repeats = Repeats::default();
        assert!(!publish(&repeats, "c1/a", 7));
        repeats.suspend(true);
        assert_eq!(repeats.find("c1/a").1, None);
        repeats.suspend(false);
        assert_eq!(repeats.find("c1/a").1, Some(7), "there was none");
    }

    #[test]
    fn publishes_that_overlap_and_repetitions_are_no_loss() {
        let repeats = Repeats::default();
        let (first, _) = repeats.find("c1/a");
        let (second, _) = repeats.find("c1/b");
        repeats.note(Published { sequence: 2, duplicate: false }, second, "c1".into());
        repeats.note(Published { sequence: 1, duplicate: false }, first, "c1".into());
        repeats.saw(40);
        let (again, _) = repeats.find("c1/c");
        repeats.note(Published { sequence: 30, duplicate: true }, again, "c1".into());
        assert!(!repeats.has_lost_events());
        assert!(publish(&repeats, "c1/a", 9));
    }
}
