//! The way of one replay through the event stream, and what it knows of the deliveries there.
//!
//! It is kept in memory between the steps of a job. After a restart it begins where the job is.

use std::collections::VecDeque;

use super::examine::{EventQuery, EventReader, Examined};
use super::handed_over::HandedOver;
use super::letter_view::LetterView;
use super::log_view::LogView;
use super::streams::{EventBounds, EventMessage, ReplayStreams, StartAt};
use crate::domain::{CloudId, InstallationId};
use crate::recovery::redrive::{DeadLetters, ReadError};

/// Events of one read: a millisecond of this process and the broker, which live events wait for.
const BATCH: usize = 64;

/// A walk through the events of a site.
#[derive(Debug)]
pub struct Walk {
    site: CloudId,
    installation: Option<InstallationId>,
    /// The next sequence to examine.
    next: u64,
    /// The last sequence to examine.
    last: u64,
    /// Events that were read and are not examined yet.
    read: VecDeque<EventMessage>,
    bounds: EventBounds,
    /// What the log knows; none before the first event.
    view: Option<LogView>,
    /// The dead letters of the deliveries.
    letters: LetterView,
    /// What the job handed over, as far as it is known.
    handed_over: HandedOver,
    /// Whether there is a log.
    has_log: bool,
    /// Sequences that were deleted before they were examined.
    expired: u64,
}

/// How far a walk came.
#[derive(Debug)]
pub(super) enum Advanced {
    /// These events are examined; never empty.
    Examined(Vec<Examined>),
    /// It is still reading the log.
    Busy,
    /// The event with this sequence is not acknowledged yet: what becomes of its deliveries is open.
    Unsettled(u64),
    /// No event is left.
    Done,
}

impl Walk {
    /// Begins a walk through the events of `site` from `next` to `last`, for the deliveries to one
    /// installation, or to all of the site. `handed_over` says for which job.
    #[must_use]
    pub fn new(
        site: CloudId,
        installation: Option<InstallationId>,
        (next, last): (u64, u64),
        handed_over: HandedOver,
        has_log: bool,
    ) -> Self {
        let letters = LetterView::new(site.clone(), installation.clone(), next);
        Self {
            site,
            installation,
            next,
            last,
            read: VecDeque::new(),
            bounds: EventBounds::default(),
            view: None,
            letters,
            handed_over,
            has_log,
            expired: 0,
        }
    }

    /// The next sequence to examine.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What the log knows; none without a log.
    pub(super) fn view(&mut self) -> Option<&mut LogView> {
        self.view.as_mut()
    }

    /// Returns the dead letters of the deliveries of the event `sequence`, as they are stored since the last
    /// call of [`Walk::advance`] or later.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn letters(
        &mut self,
        sequence: u64,
        letters: &dyn DeadLetters,
    ) -> Result<&LetterView, ReadError> {
        self.letters.forget_before(self.next);
        self.letters.read_for(sequence, letters).await?;
        Ok(&self.letters)
    }

    /// Returns what the job handed over.
    pub(super) fn handed_over(&mut self) -> &mut HandedOver {
        &mut self.handed_over
    }

    /// Removes and returns the number of sequences that were deleted before they were examined.
    pub(super) fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }

    /// Goes on after what is done with the event `sequence`.
    pub(super) fn pass(&mut self, sequence: u64) {
        self.next = sequence.saturating_add(1);
    }

    /// Goes back to the next sequence, if events after it were examined and nothing was done with them.
    pub(super) fn rewind(&mut self) {
        self.read.clear();
    }

    /// Examines the next events.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn advance(
        &mut self,
        streams: &dyn ReplayStreams,
        reader: &EventReader,
        query: &EventQuery,
    ) -> Result<Advanced, ReadError> {
        let Some((first, first_ms)) = self.fill(streams).await? else {
            self.next = self.last.saturating_add(1);
            return Ok(Advanced::Done);
        };
        if self.read.back().is_some_and(|event| event.sequence > self.bounds.settled) {
            self.bounds = streams.event_bounds().await?;
        }
        if first > self.bounds.settled {
            return Ok(Advanced::Unsettled(first));
        }
        // After the events are known to be acknowledged: so the log has their records.
        if self.has_log && !self.follow_log(streams, (first, first_ms)).await? {
            return Ok(Advanced::Busy);
        }
        let view = self.view.as_ref();
        let is_known = |event: &&EventMessage| {
            event.sequence <= self.bounds.settled && view.is_none_or(|v| v.covers(event.sequence))
        };
        let known = self.read.iter().take_while(is_known).count();
        let mut rest = self.read.split_off(known);
        let examined = reader.examine(&mut self.read, query).await;
        self.letters.expire();
        self.read.append(&mut rest);
        if examined.is_empty() {
            self.rewind();
            return Ok(Advanced::Busy);
        }
        Ok(Advanced::Examined(examined))
    }

    /// Reads events unless some are read; returns sequence and time of the next one.
    async fn fill(&mut self, streams: &dyn ReplayStreams) -> Result<Option<(u64, i64)>, ReadError> {
        if self.next > self.last {
            return Ok(None);
        }
        if self.read.is_empty() {
            let batch =
                streams.read_events(&self.site, StartAt::Sequence(self.next), BATCH).await?;
            self.bounds = streams.event_bounds().await?;
            // Events that were read may have been deleted since; they are examined nevertheless.
            let read_from = batch.events.first().map_or(u64::MAX, |event| event.sequence);
            let kept_from = self.bounds.first.min(read_from).min(self.last.saturating_add(1));
            self.expired += kept_from.saturating_sub(self.next);
            self.next = self.next.max(kept_from);
            let last = self.last;
            self.read.extend(batch.events.into_iter().take_while(|one| one.sequence <= last));
        }
        Ok(self.read.front().map(|event| (event.sequence, event.stored_ms)))
    }

    /// Reads the log for the events from `first` on; returns whether all is read.
    async fn follow_log(
        &mut self,
        streams: &dyn ReplayStreams,
        first: (u64, i64),
    ) -> Result<bool, ReadError> {
        let view = match self.view.take() {
            Some(view) if view.covers(first.0) => view,
            _ => LogView::new(self.site.clone(), self.installation.clone(), first),
        };
        let view = self.view.insert(view);
        view.forget_before(first.0);
        // What it learnt may have ended it before the event; then the next call begins another one.
        Ok(view.follow(streams, &mut self.handed_over).await? && view.covers(first.0))
    }
}
