//! Executes erasures: finds messages, saves which, and removes them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::cut::without_texts;
use super::progress::{AfterStore, Handled, Progress};
use super::request::{ErasePrivate, EraseRequest, EraseSubject};
use super::selection::{Belongs, Wanted, event_sequence, republished_by};
use super::store::{ClearedRecord, ErasableStreams, ErasedStore, SequenceRange, StoredMessage};
use crate::clock;
use crate::delivery::{DeliveryLog, LogMessage, RemovalReason, StreamPosition};
use crate::event::codec::HeaderLookup;
use crate::event::codec::names;
use crate::recovery::jobs::{
    Job, JobCounts, JobFailure, JobId, JobKind, JobStep, JobStore, JobWork,
};
use crate::recovery::metrics;
use crate::recovery::redrive::{self, DeadLetters, LetterId, ReadError};

/// Messages of one read. The broker ends a read at 4 MiB.
const BATCH: usize = 500;
/// Messages that are found before they are removed.
const PENDING_MAX: usize = 1_000;
/// Actions of a step: reads that find nothing, or changes of the store.
const ACTIONS_MAX: usize = 16;
/// Messages of a step that are removed at once.
const CONCURRENT_MAX: usize = 16;
/// Stores that have something of each event.
const OF_EVENTS: [ErasedStore; 3] =
    [ErasedStore::Parked, ErasedStore::DeadLetters, ErasedStore::Log];

/// Removes what is stored of an account or a site.
pub struct EraseWork {
    streams: Arc<dyn ErasableStreams>,
    letters: Arc<dyn DeadLetters>,
    /// None if the log is off.
    log: Option<Arc<dyn DeliveryLog>>,
    jobs: Arc<dyn JobStore>,
}

/// What an action did.
enum ActionOutcome {
    /// It read, or began or ended a store.
    Read,
    /// It found messages, which are to be saved before they are removed.
    Found,
    /// It handled so many messages.
    Handled(u32),
    /// There is nothing to do until later.
    Paused,
    /// The job is done.
    Finished,
}

/// What a step needs to know of its job.
struct Task<'a> {
    job: &'a str,
    wanted: Wanted,
    dry_run: bool,
}

impl EraseWork {
    /// Removes from `streams` and `letters`; `log` records removed deliveries, and `jobs` has the redrives.
    #[must_use]
    pub fn new(
        streams: Arc<dyn ErasableStreams>,
        letters: Arc<dyn DeadLetters>,
        log: Option<Arc<dyn DeliveryLog>>,
        jobs: Arc<dyn JobStore>,
    ) -> Self {
        Self { streams, letters, log, jobs }
    }

    async fn step_of(&self, job: &Job, max: u32) -> Result<JobStep, JobFailure> {
        let task = task_of(job)?;
        let mut progress = match &job.cursor {
            serde_json::Value::Null => {
                let events = self.streams.bounds(ErasedStore::Events).await.map_err(later)?;
                let events_end = events.unwrap_or_default().last;
                Progress::begin(clock::broker_now_ms(), events_end)
            }
            cursor => serde_json::from_value(cursor.clone()).map_err(never)?,
        };
        if let Some(reason) = progress.waits_for(clock::broker_now_ms()) {
            return Err(JobFailure::Later(reason));
        }
        let before = progress.totals();
        let (mut handed_over, mut is_done) = (0, false);
        for _ in 0..ACTIONS_MAX {
            match self.act(&task, &mut progress, max).await? {
                ActionOutcome::Read => continue,
                ActionOutcome::Found | ActionOutcome::Paused => {}
                ActionOutcome::Handled(handled) => handed_over = handled,
                ActionOutcome::Finished => is_done = true,
            }
            break;
        }
        let counts = difference(progress.totals(), &before);
        let part = if is_done { 1.0 } else { progress.part() };
        Ok(JobStep { cursor: json!(progress), handed_over, counts, progress: part, is_done })
    }

    async fn act(
        &self,
        task: &Task<'_>,
        progress: &mut Progress,
        max: u32,
    ) -> Result<ActionOutcome, JobFailure> {
        if !progress.pending.is_empty() {
            return self.remove_pending(task, progress, max).await.map_err(later);
        }
        let Some(next) = progress.next else {
            self.open(progress).await.map_err(later)?;
            return Ok(ActionOutcome::Read);
        };
        if next > progress.end {
            return Ok(match progress.close(clock::broker_now_ms(), task.dry_run) {
                AfterStore::NextStore => ActionOutcome::Read,
                AfterStore::NextPass => ActionOutcome::Paused,
                AfterStore::End => ActionOutcome::Finished,
            });
        }
        self.read(task, progress, next).await
    }

    /// Begins a store.
    async fn open(&self, progress: &mut Progress) -> Result<(), ReadError> {
        if progress.is_at_start() {
            let mut last = BTreeMap::new();
            for store in OF_EVENTS {
                last.insert(store, self.streams.bounds(store).await?.unwrap_or_default().last);
            }
            progress.begin_pass(&last);
        }
        let acknowledged = match progress.store {
            ErasedStore::Events => self.streams.acknowledged().await?,
            _ => 0,
        };
        progress.open(self.streams.bounds(progress.store).await?, acknowledged);
        Ok(())
    }

    /// Reads messages of the present store and notes those that belong to the erasure.
    async fn read(
        &self,
        task: &Task<'_>,
        progress: &mut Progress,
        from: u64,
    ) -> Result<ActionOutcome, JobFailure> {
        let (store, range) = (progress.store, SequenceRange { from, to: progress.end });
        let batch = self.streams.read(store, range, task.wanted.site(), BATCH).await;
        let batch = batch.map_err(later)?;
        let mut redrives = None;
        for message in &batch.messages {
            let (mut belongs, mut event) = (task.wanted.selects(store, message), None);
            if belongs != Belongs::No {
                event = event_sequence(store, message);
                let is_noted = store != ErasedStore::Events
                    || !self.is_republished(&mut redrives, message).await?
                    || progress.note_republished(message.position.sequence);
                if !is_noted {
                    belongs = Belongs::TooMany;
                } else if !progress.is_old_enough(message.position.stored_ms, event) {
                    belongs = Belongs::No;
                }
            }
            progress.read(message.position, belongs, event, task.dry_run);
            if progress.pending.len() >= PENDING_MAX {
                return Ok(ActionOutcome::Found);
            }
        }
        progress.next = Some(batch.next.unwrap_or(progress.end.saturating_add(1)));
        let is_found = !progress.pending.is_empty();
        Ok(if is_found { ActionOutcome::Found } else { ActionOutcome::Read })
    }

    /// Whether a redrive published an event again, as its message id and the jobs say; `redrives` are read at most once.
    async fn is_republished(
        &self,
        redrives: &mut Option<HashSet<JobId>>,
        message: &StoredMessage,
    ) -> Result<bool, JobFailure> {
        let Some(job) = republished_by(message) else { return Ok(false) };
        let known = match redrives {
            Some(known) => known,
            None => {
                let jobs = self.jobs.list().await;
                let jobs = jobs.map_err(|error| JobFailure::Later(error.to_string()))?;
                let jobs = jobs.into_iter().map(|stored| stored.job);
                let all = jobs.filter(|job| job.kind == JobKind::Redrive).map(|job| job.id);
                redrives.insert(all.collect())
            }
        };
        Ok(known.iter().any(|one| one.as_str() == job))
    }

    /// Removes the first messages that were found.
    async fn remove_pending(
        &self,
        task: &Task<'_>,
        progress: &mut Progress,
        max: u32,
    ) -> Result<ActionOutcome, ReadError> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let pending = progress.pending.iter().take(max);
        let pending: Vec<StreamPosition> = pending.map(|one| one.position()).collect();
        let handled = match progress.store {
            ErasedStore::Log => self.remove_records(task, &pending).await?,
            store => self.remove_each(task, store, &pending).await?,
        };
        let is_removed = |one: &&Handled| matches!(one, Handled::Removed | Handled::BodyRemoved);
        metrics::bodies_removed("erased", handled.iter().filter(is_removed).count() as u64);
        progress.handle(&handled);
        Ok(ActionOutcome::Handled(u32::try_from(handled.len()).unwrap_or(u32::MAX)))
    }

    /// Removes messages of a store, a few at once.
    async fn remove_each(
        &self,
        task: &Task<'_>,
        store: ErasedStore,
        positions: &[StreamPosition],
    ) -> Result<Vec<Handled>, ReadError> {
        let acknowledged = match store {
            ErasedStore::Events => self.streams.acknowledged().await?,
            _ => u64::MAX,
        };
        // Collected first, as the compiler cannot prove that the closure is general enough for a boxed future.
        let removals: Vec<_> = positions
            .iter()
            .map(|position| async move {
                match store {
                    _ if position.sequence > acknowledged => Ok(Handled::Waits),
                    ErasedStore::DeadLetters => self.remove_letter(task, *position).await,
                    _ => self.remove_message(task, store, *position).await,
                }
            })
            .collect();
        stream::iter(removals).buffered(CONCURRENT_MAX).try_collect().await
    }

    /// Removes a message, if it belongs to the erasure as the leader of the stream has it.
    async fn remove_message(
        &self,
        task: &Task<'_>,
        store: ErasedStore,
        position: StreamPosition,
    ) -> Result<Handled, ReadError> {
        let Some(message) = self.find(task, store, position).await? else {
            return Ok(Handled::Absent);
        };
        if store != ErasedStore::Parked {
            return Ok(removed_or_absent(self.streams.remove(store, &message).await?));
        }
        Ok(match self.streams.clear_parked(&message).await? {
            ClearedRecord::Replaced => Handled::Removed,
            ClearedRecord::InFlight => Handled::Waits,
            ClearedRecord::Absent => Handled::Absent,
        })
    }

    /// Returns a message, as the leader of the stream has it; none if there is none that belongs to the erasure.
    async fn find(
        &self,
        task: &Task<'_>,
        store: ErasedStore,
        position: StreamPosition,
    ) -> Result<Option<StoredMessage>, ReadError> {
        let found = self.streams.get(store, position).await?;
        Ok(found.filter(|message| task.wanted.selects(store, message) == Belongs::Yes))
    }

    /// Removes a letter, and records that its delivery is removed.
    async fn remove_letter(
        &self,
        task: &Task<'_>,
        position: StreamPosition,
    ) -> Result<Handled, ReadError> {
        let (letters, log) = (&*self.letters, self.log.as_deref());
        let removed =
            redrive::remove(letters, log, LetterId(position), RemovalReason::Erased).await;
        if removed.map_err(|error| ReadError(error.to_string()))? {
            return Ok(Handled::Removed);
        }
        // It may be one of a form that this release does not read as a letter.
        self.remove_message(task, ErasedStore::DeadLetters, position).await
    }

    /// Removes records of the log, or what handlers said of an account in them. Before, it records which, so that
    /// the account does not report their numbers as missing. If one is not removed after all, its loss would not be
    /// reported later.
    async fn remove_records(
        &self,
        task: &Task<'_>,
        positions: &[StreamPosition],
    ) -> Result<Vec<Handled>, ReadError> {
        let store = ErasedStore::Log;
        let reads: Vec<_> = positions.iter().map(|one| self.find(task, store, *one)).collect();
        let records: Vec<Option<StoredMessage>> =
            stream::iter(reads).buffered(CONCURRENT_MAX).try_collect().await?;
        let ids = records.iter().flatten().filter_map(|record| record.get(names::MESSAGE_ID));
        let ids: Vec<&str> = ids.collect();
        if let (false, Some(log)) = (ids.is_empty(), &self.log) {
            log.store(LogMessage::of_erased(log.router(), &ids, clock::broker_now())).await;
        }
        let removals: Vec<_> =
            records.iter().map(|record| self.remove_record(task, record.as_ref())).collect();
        stream::iter(removals).buffered(CONCURRENT_MAX).try_collect().await
    }

    /// Cuts what handlers said of an account out of a record; otherwise removes it.
    async fn remove_record(
        &self,
        task: &Task<'_>,
        record: Option<&StoredMessage>,
    ) -> Result<Handled, ReadError> {
        let Some(record) = record else { return Ok(Handled::Absent) };
        let cut = task
            .wanted
            .account()
            .and_then(|account| without_texts(&record.body, account, record.position.stored_ms));
        match cut {
            None => Ok(removed_or_absent(self.streams.remove(ErasedStore::Log, record).await?)),
            Some(cut) => {
                let is_replaced = self.streams.replace_record(record, cut, task.job).await?;
                Ok(if is_replaced { Handled::BodyRemoved } else { Handled::Absent })
            }
        }
    }
}

fn removed_or_absent(is_removed: bool) -> Handled {
    if is_removed { Handled::Removed } else { Handled::Absent }
}

fn task_of(job: &Job) -> Result<Task<'_>, JobFailure> {
    let request: EraseRequest = serde_json::from_value(job.request.clone()).map_err(never)?;
    let account = match &request.account_id_sha256 {
        None => None,
        Some(_) => {
            let private: ErasePrivate =
                serde_json::from_value(job.private.clone()).map_err(never)?;
            Some(private.account_id)
        }
    };
    let subject = EraseSubject::new(request.site, account);
    let subject = subject.map_err(|error| JobFailure::Never(error.message))?;
    let (job, dry_run) = (job.id.as_str(), request.dry_run);
    Ok(Task { job, wanted: Wanted::new(&subject), dry_run })
}

fn difference(mut now: JobCounts, before: &JobCounts) -> JobCounts {
    for (name, number) in before {
        now.entry(name.clone()).and_modify(|total| *total = total.saturating_sub(*number));
    }
    now.retain(|_, number| *number > 0);
    now
}

fn later(error: ReadError) -> JobFailure {
    JobFailure::Later(error.0)
}

fn never(error: serde_json::Error) -> JobFailure {
    JobFailure::Never(format!("its document: {error}"))
}

impl JobWork for EraseWork {
    fn kind(&self) -> JobKind {
        JobKind::Erase
    }

    fn step<'a>(&'a self, job: &'a Job, max: u32) -> BoxFuture<'a, Result<JobStep, JobFailure>> {
        Box::pin(self.step_of(job, max))
    }
}
