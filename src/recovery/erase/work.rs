//! Executes erasures: finds messages, saves which, and removes them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::cut::without_texts;
use super::progress::{Followed, Handled, Progress};
use super::request::{ErasePrivate, EraseRequest, EraseSubject};
use super::selection::{Wanted, event_sequence};
use super::store::{ClearedRecord, ErasableStreams, ErasedStore, SequenceRange};
use crate::clock;
use crate::delivery::{DeliveryLog, LogMessage, RemovalReason, StreamPosition};
use crate::recovery::jobs::{Job, JobCounts, JobFailure, JobKind, JobStep, JobWork};
use crate::recovery::metrics;
use crate::recovery::redrive::{DeadLetters, LetterId, ReadError, record_removed};

/// Messages of one read. The broker ends a read at 4 MiB.
const BATCH: usize = 500;
/// Messages that are found before they are removed.
const PENDING_MAX: usize = 1_000;
/// Actions of a step: reads that find nothing, or changes of the store.
const ACTIONS_MAX: usize = 16;
/// Messages of a step that are removed at once.
const CONCURRENT_MAX: usize = 16;

/// Removes what is stored of an account or a site.
pub struct EraseWork {
    streams: Arc<dyn ErasableStreams>,
    letters: Arc<dyn DeadLetters>,
    /// None if the log is off.
    log: Option<Arc<dyn DeliveryLog>>,
}

/// What an action did.
enum Done {
    /// It read, or went on to the next store.
    Looked,
    /// It found messages, which are to be saved before they are removed.
    Found,
    /// It handled so many messages.
    Handled(u32),
    /// There is nothing to do until later.
    Paused,
    /// The job is done.
    All,
}

/// What a step needs to know of its job.
struct Task<'a> {
    job: &'a str,
    wanted: Wanted,
    dry_run: bool,
}

impl EraseWork {
    /// Removes from `streams` and `letters`; `log` records removed deliveries.
    #[must_use]
    pub fn new(
        streams: Arc<dyn ErasableStreams>,
        letters: Arc<dyn DeadLetters>,
        log: Option<Arc<dyn DeliveryLog>>,
    ) -> Self {
        Self { streams, letters, log }
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
            match self.act(&task, &mut progress, max).await.map_err(later)? {
                Done::Looked => continue,
                Done::Found | Done::Paused => {}
                Done::Handled(handled) => handed_over = handled,
                Done::All => is_done = true,
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
    ) -> Result<Done, ReadError> {
        if !progress.pending.is_empty() {
            return self.remove_pending(task, progress, max).await;
        }
        let Some(next) = progress.next else {
            let bounds = self.streams.bounds(progress.store).await?;
            progress.open(bounds);
            return Ok(Done::Looked);
        };
        if next > progress.end {
            return Ok(match progress.close(clock::broker_now_ms(), task.dry_run) {
                Followed::Store => Done::Looked,
                Followed::Pass => Done::Paused,
                Followed::End => Done::All,
            });
        }
        let (store, range) = (progress.store, SequenceRange { from: next, to: progress.end });
        let batch = self.streams.read(store, range, task.wanted.site(), BATCH).await?;
        for message in &batch.messages {
            let is_selected = task.wanted.selects(store, message)
                && progress
                    .is_old_enough(message.position.stored_ms, || event_sequence(store, message));
            progress.read(message.position, is_selected, task.dry_run);
            if progress.pending.len() >= PENDING_MAX {
                return Ok(Done::Found);
            }
        }
        progress.next = Some(batch.next.unwrap_or(progress.end.saturating_add(1)));
        Ok(if progress.pending.is_empty() { Done::Looked } else { Done::Found })
    }

    /// Removes the first messages that were found.
    async fn remove_pending(
        &self,
        task: &Task<'_>,
        progress: &mut Progress,
        max: u32,
    ) -> Result<Done, ReadError> {
        let store = progress.store;
        let acknowledged = match store {
            ErasedStore::Events => self.streams.acknowledged().await?,
            _ => 0,
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let pending = progress.pending.iter().take(max);
        let pending = pending.map(|(sequence, stored_ms)| StreamPosition {
            sequence: *sequence,
            stored_ms: *stored_ms,
        });
        let pending: Vec<StreamPosition> = pending.collect();
        if store == ErasedStore::Log {
            self.record_erased(&pending).await?;
        }
        let removals: Vec<_> = pending
            .into_iter()
            .map(|position| async move {
                match store {
                    ErasedStore::Events if position.sequence > acknowledged => Ok(Handled::Waits),
                    ErasedStore::Events => self.remove(store, position).await,
                    ErasedStore::Parked => self.clear_parked(position).await,
                    ErasedStore::DeadLetters => self.remove_letter(position).await,
                    ErasedStore::Log => self.remove_record(task, position).await,
                    // Never pending.
                    ErasedStore::Registry => Ok(Handled::Left),
                }
            })
            .collect();
        let handled: Vec<Result<Handled, ReadError>> =
            stream::iter(removals).buffered(CONCURRENT_MAX).collect().await;
        let handled: Vec<Handled> = handled.into_iter().collect::<Result<_, _>>()?;
        let is_removed = |one: &&Handled| matches!(one, Handled::Removed | Handled::BodyRemoved);
        metrics::bodies_removed("erased", handled.iter().filter(is_removed).count() as u64);
        progress.handle(&handled);
        Ok(Done::Handled(u32::try_from(handled.len()).unwrap_or(u32::MAX)))
    }

    /// Records which records of the log are about to be removed or replaced, so that the account does not
    /// miss their numbers. What is not removed after all is only not missed later.
    async fn record_erased(&self, pending: &[StreamPosition]) -> Result<(), ReadError> {
        let Some(log) = &self.log else { return Ok(()) };
        // Collected first, as the compiler cannot prove that the closure is general enough for a boxed future.
        let reads = pending.iter().map(|position| self.streams.get(ErasedStore::Log, *position));
        let reads: Vec<_> = reads.collect();
        let read: Vec<_> = stream::iter(reads).buffered(CONCURRENT_MAX).try_collect().await?;
        let headers = read.iter().flatten().flat_map(|record| &record.headers);
        let ids = headers.filter(|(name, _)| name.eq_ignore_ascii_case("Nats-Msg-Id"));
        let ids: Vec<&str> = ids.map(|(_, id)| &**id).collect();
        if !ids.is_empty() {
            log.store(LogMessage::of_erased(log.router(), &ids, clock::broker_now())).await;
        }
        Ok(())
    }

    async fn remove(
        &self,
        store: ErasedStore,
        position: StreamPosition,
    ) -> Result<Handled, ReadError> {
        let is_removed = self.streams.remove(store, position).await?;
        Ok(if is_removed { Handled::Removed } else { Handled::Left })
    }

    async fn clear_parked(&self, position: StreamPosition) -> Result<Handled, ReadError> {
        Ok(match self.streams.clear_parked(position).await? {
            ClearedRecord::Replaced => Handled::Removed,
            ClearedRecord::InFlight => Handled::Waits,
            ClearedRecord::Gone => Handled::Left,
        })
    }

    /// Records that the delivery of a letter is removed, then deletes the letter. A step that is repeated
    /// may record it twice, as the log records the deliveries of an event twice that is redelivered.
    async fn remove_letter(&self, position: StreamPosition) -> Result<Handled, ReadError> {
        let id = LetterId(position);
        let Some(letter) = self.letters.get(id).await? else { return Ok(Handled::Left) };
        if let Some(log) = &self.log {
            record_removed(&**log, &letter, RemovalReason::Erased).await;
        }
        let is_removed = self.letters.delete(id).await?;
        Ok(if is_removed { Handled::Removed } else { Handled::Left })
    }

    /// Cuts what handlers said of an account out of a record; otherwise removes it.
    async fn remove_record(
        &self,
        task: &Task<'_>,
        position: StreamPosition,
    ) -> Result<Handled, ReadError> {
        let store = ErasedStore::Log;
        let Some(account) = task.wanted.account() else {
            return self.remove(store, position).await;
        };
        let Some(record) = self.streams.get(store, position).await? else {
            return Ok(Handled::Left);
        };
        let Some(cut) = without_texts(&record.body, account, position.stored_ms) else {
            return self.remove(store, position).await;
        };
        let is_replaced = self.streams.replace_record(position, cut, task.job).await?;
        Ok(if is_replaced { Handled::BodyRemoved } else { Handled::Left })
    }
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
