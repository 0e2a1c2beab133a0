//! Counts the events of the shadows: for a request, and in the background.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use thiserror::Error;
use tokio::sync::Mutex;

use super::compare::Comparison;
use super::port::{ShadowDirectory, TallyStore, TallyStoreError};
use super::tally::Tally;
use crate::clock;
use crate::domain::SubscriptionId;
use crate::recovery::explain::Deadline;
use crate::recovery::redrive::ReadError;
use crate::recovery::replay::{
    EventBounds, EventMessage, EventReader, ReplayStreams, StartAt, rest_after,
};

/// Events of one read.
const BATCH: usize = 256;
/// Pause between two looks at all shadows.
const INTERVAL: Duration = Duration::from_secs(5);
/// A tally that was stored so recently is not due, in milliseconds: mostly another replica counted.
const DUE_MS: i64 = 4_500;
/// Longest turn of one shadow in the background.
const TURN_MAX: Duration = Duration::from_secs(2);
/// A tally without news is stored again after so long, in milliseconds, since the store forgets it.
const RENEWED_MS: i64 = 24 * 60 * 60 * 1_000;
/// A position that only events of other sites moved is stored after so long, in milliseconds.
const MOVED_MS: i64 = 60_000;
/// Pause between two looks at the tallies of shadows that cannot be compiled now.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// For so long a tally of a later change of the registry is not replaced, in milliseconds: the replica that
/// stored it counts again sooner.
const LATER_MS: i64 = 60_000;
/// How long a request waits for the count of another shadow.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Pause before a stream that ends before the position of a count is looked at again.
const BEHIND_WAIT: Duration = Duration::from_millis(500);
/// How often that is. Then the broker lost its last events.
const BEHIND_WAITS: usize = 6;
/// How often a count is made again because another replica stored its own first.
const ATTEMPTS: usize = 3;

/// Counts what shadows would deliver.
pub struct ShadowFollower {
    streams: Arc<dyn ReplayStreams>,
    reader: EventReader,
    store: Arc<dyn TallyStore>,
    directory: Arc<dyn ShadowDirectory>,
    /// Lets this router count for one shadow at a time.
    turn: Mutex<()>,
}

/// What is counted of a shadow.
#[derive(Clone, PartialEq, Debug)]
pub struct Counted {
    /// The count.
    pub tally: Tally,
    /// Whether every event is in it that was stored when the count began.
    pub is_up_to_date: bool,
}

/// Why a shadow is not counted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CountError {
    /// Its filters cannot be compiled now; one sentence.
    #[error("{0}")]
    NotCompiled(String),
    /// Another replica counts with a later change of the registry, which is not applied here yet.
    #[error("this replica has not applied the last change of the module yet")]
    Outdated,
    /// The broker does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl From<TallyStoreError> for CountError {
    fn from(error: TallyStoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<ReadError> for CountError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.0)
    }
}

impl ShadowFollower {
    /// Reads events from `streams` with `reader`, for the shadows of `directory`.
    #[must_use]
    pub fn new(
        streams: Arc<dyn ReplayStreams>,
        reader: EventReader,
        store: Arc<dyn TallyStore>,
        directory: Arc<dyn ShadowDirectory>,
    ) -> Self {
        Self { streams, reader, store, directory, turn: Mutex::default() }
    }

    /// Returns the sequence of the last event that is stored, and when its stream was created: a shadow that
    /// is set now begins after it.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn last_event(&self) -> Result<(u64, i64), ReadError> {
        let bounds = self.streams.event_bounds().await?;
        Ok((bounds.last, bounds.created_ms))
    }

    /// Returns what is compared for a subscription; none if it has no shadow.
    ///
    /// # Errors
    /// Its filters cannot be compiled now; one sentence.
    pub fn comparison(&self, id: &SubscriptionId) -> Result<Option<Arc<Comparison>>, String> {
        self.directory.find(id)
    }

    /// Counts the events of the shadow of a subscription for at most `max`; none if it has no shadow. While
    /// this router counts for others, what is stored is returned.
    ///
    /// # Errors
    /// Its filters cannot be compiled now, or the broker does not answer.
    pub async fn count(
        &self,
        id: &SubscriptionId,
        max: Duration,
    ) -> Result<Option<Counted>, CountError> {
        let Some(comparison) = self.directory.find(id).map_err(CountError::NotCompiled)? else {
            return Ok(None);
        };
        let Ok(_turn) = tokio::time::timeout(WAIT_MAX, self.turn.lock()).await else {
            let (stored, _) = self.stored(&comparison).await?;
            let tally = stored.unwrap_or_else(|| comparison.begin());
            return Ok(Some(Counted { tally, is_up_to_date: false }));
        };
        self.count_from(&comparison, Deadline::after(max), 0).await.map(Some)
    }

    /// Reads the count of a comparison, none if there is none yet, and the revision of its document.
    async fn stored(&self, comparison: &Comparison) -> Result<(Option<Tally>, u64), CountError> {
        let (stored, revision) = self.store.read(&comparison.id).await?;
        let since_ms = clock::broker_now_ms().saturating_sub(LATER_MS);
        match stored {
            Some(stored) if stored.comparison == comparison.name => Ok((Some(stored), revision)),
            Some(other) if other.is_later(comparison.revision, since_ms) => {
                Err(CountError::Outdated)
            }
            _ => Ok((None, revision)),
        }
    }

    /// Counts in the background until the future is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut turns = tokio::time::interval(INTERVAL);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_error = None;
        let mut renewal_due = tokio::time::Instant::now();
        loop {
            let now = turns.tick().await;
            let mut error = None;
            let is_renewal = renewal_due <= now;
            if is_renewal {
                renewal_due = now + RENEWAL_INTERVAL;
            }
            for id in self.directory.all() {
                let comparison = match self.directory.find(&id) {
                    Ok(Some(comparison)) => comparison,
                    Ok(None) => continue,
                    // What cannot be compiled now is shown to who asks for it.
                    Err(_) => {
                        let renewed = if is_renewal { self.renew(&id).await } else { Ok(()) };
                        error = renewed.err().map(|failed| format!("{id}: {failed}")).or(error);
                        continue;
                    }
                };
                let _turn = self.turn.lock().await;
                let deadline = Deadline::after(TURN_MAX);
                let counted = self.count_from(&comparison, deadline, DUE_MS).await;
                if let Err(failed) = counted {
                    error = Some(format!("{id}: {failed}"));
                }
            }
            match (&error, &last_error) {
                (Some(error), None) => tracing::warn!(error, "shadow not counted"),
                (Some(error), Some(_)) => tracing::debug!(error, "shadow not counted"),
                (None, Some(_)) => tracing::info!("shadows are counted again"),
                (None, None) => {}
            }
            last_error = error;
        }
    }

    /// Stores the tally of a subscription again that is not counted now, before the store forgets it.
    pub(super) async fn renew(&self, id: &SubscriptionId) -> Result<(), CountError> {
        let (Some(mut tally), revision) = self.store.read(id).await? else { return Ok(()) };
        let now_ms = clock::broker_now_ms();
        if tally.at_ms >= now_ms.saturating_sub(RENEWED_MS) {
            return Ok(());
        }
        tally.at_ms = now_ms;
        match self.store.replace(id, &tally, revision).await {
            Ok(()) | Err(TallyStoreError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts from where the stored tally is, unless that was stored less than `due_ms` ago.
    async fn count_from(
        &self,
        comparison: &Arc<Comparison>,
        deadline: Deadline,
        due_ms: i64,
    ) -> Result<Counted, CountError> {
        let mut attempts = 1;
        loop {
            let (stored, revision) = self.stored(comparison).await?;
            let now_ms = clock::broker_now_ms();
            let recent_ms = now_ms.saturating_sub(due_ms);
            if let Some(stored) = stored.as_ref().filter(|one| one.at_ms > recent_ms) {
                return Ok(Counted { tally: stored.clone(), is_up_to_date: false });
            }
            let mut tally = stored.clone().unwrap_or_else(|| comparison.begin());
            tally.revision = tally.revision.max(comparison.revision);
            let bounds = self.bounds(&tally).await?;
            let (is_up_to_date, read) =
                self.advance(comparison, &mut tally, bounds, deadline).await?;
            let is_stored = stored.as_ref().is_none_or(|stored| {
                let since_ms = now_ms.saturating_sub(stored.at_ms);
                let is_moved = stored.counted != tally.counted && since_ms > MOVED_MS;
                read > 0 || stored.has_less_losses_than(&tally) || is_moved || since_ms > RENEWED_MS
            });
            if !is_stored {
                return Ok(Counted { tally, is_up_to_date });
            }
            tally.at_ms = clock::broker_now_ms();
            match self.store.replace(&comparison.id, &tally, revision).await {
                Ok(()) => {
                    let known = stored.map_or(0, |stored| stored.shadow.matched);
                    let matched = tally.shadow.matched.saturating_sub(known);
                    counter!("switchyard_shadow_matches_total").increment(matched);
                    return Ok(Counted { tally, is_up_to_date });
                }
                Err(TallyStoreError::Conflict) if attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns what the stream has; a server of the broker that does not know the last events yet has some
    /// time to learn of them, so that none is counted twice.
    async fn bounds(&self, tally: &Tally) -> Result<EventBounds, ReadError> {
        let mut bounds = self.streams.event_bounds().await?;
        let mut waits = 0;
        while tally.is_ahead_of(&bounds) && waits < BEHIND_WAITS {
            waits += 1;
            tokio::time::sleep(BEHIND_WAIT).await;
            bounds = self.streams.event_bounds().await?;
        }
        Ok(bounds)
    }

    /// Adds the events between the position of a tally and the last one of `bounds`. Returns whether all
    /// of them are counted, and how many of the site were read.
    async fn advance(
        &self,
        comparison: &Arc<Comparison>,
        tally: &mut Tally,
        bounds: EventBounds,
        deadline: Deadline,
    ) -> Result<(bool, usize), CountError> {
        let mut read = 0;
        let last = bounds.last;
        tally.note_stream(&bounds);
        while tally.counted < last {
            let from = StartAt::Sequence(tally.counted + 1);
            let batch = self.streams.read_events(&comparison.site, from, BATCH).await?;
            // What was deleted until now may have been deleted before it was read.
            let first = self.streams.event_bounds().await?.first;
            let next = batch.events.first().map_or(last + 1, |event| event.sequence);
            tally.note_deleted(first, next.min(last + 1));
            let read_to_end = !batch.has_more;
            let mut rest: VecDeque<EventMessage> = batch.events.into();
            let is_later = rest.back().is_some_and(|event| event.sequence > last);
            rest.retain(|event| event.sequence <= last);
            read += rest.len();
            while !rest.is_empty() {
                rest = self.count_some(comparison, tally, rest).await?;
                if deadline.is_over() && !rest.is_empty() {
                    return Ok((false, read));
                }
            }
            if read_to_end || is_later {
                tally.counted = last;
            } else if deadline.is_over() {
                return Ok((tally.counted >= last, read));
            }
        }
        Ok((true, read))
    }

    /// Counts at least one message; returns the others.
    async fn count_some(
        &self,
        comparison: &Arc<Comparison>,
        tally: &mut Tally,
        mut messages: VecDeque<EventMessage>,
    ) -> Result<VecDeque<EventMessage>, CountError> {
        let (comparison, reader) = (Arc::clone(comparison), self.reader.clone());
        let mut counted = std::mem::take(tally);
        let started = clock::tick();
        let work = tokio::task::spawn_blocking(move || {
            comparison.count(&reader, &mut messages, &mut counted);
            (counted, messages)
        });
        // Fails only while the process ends.
        let (counted, rest) =
            work.await.map_err(|error| CountError::Unavailable(error.to_string()))?;
        *tally = counted;
        rest_after(started).await;
        Ok(rest)
    }
}
