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
mod memory;
pub(in crate::bus) mod metrics;
mod notes;
mod recorder;
mod report;
mod run;
mod sites;
mod stream_reader;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use self::id::RepeatId;
use self::memory::Runs;
use self::notes::Notes;
use crate::domain::CloudId;
use crate::event::RepeatStatus;

pub use recorder::RepeatRecorder;

/// What publishers and the recorder of one replica share.
#[derive(Debug, Default)]
pub struct Repeats {
    runs: ArcSwap<Runs>,
    notes: Mutex<Notes>,
    status: ArcSwap<RepeatStatus>,
}

/// An id that the memory was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedId(Option<RepeatId>);

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
        // In this order, since a note is removed once the runs have its id.
        let noted = asked.and_then(|id| self.notes().find(id));
        let found = noted.or_else(|| self.runs.load().find(asked?));
        (AskedId(asked), found)
    }

    /// Remembers an event whose publish the broker confirmed.
    pub(super) fn note(&self, sequence: u64, AskedId(id): AskedId, site: CloudId) {
        self.notes().add(sequence, id, site);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_runs(&self, runs: Runs) {
        self.runs.store(Arc::new(runs));
    }
}
