//! Executes redrive jobs: hands dead letters over, oldest first.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::letter::{LetterId, LetterKind, StoredLetter};
use super::metrics;
use super::plan::{Action, MATCHED, PARKED, PUBLISHED, Redriven, Skipped, decide};
use super::query::LetterQuery;
use super::request::{RedriveRequest, Selection};
use super::store::{DeadLetters, LetterRange, ReadError, Republished};
use crate::clock;
use crate::delivery::{
    DeliveryLog, DeliveryReport, HandOver, LogCollector, Origin, ParkError, ParkedDelivery,
    ParkingLot, SubscriptionDirectory,
};
use crate::recovery::jobs::{Job, JobCounts, JobFailure, JobKind, JobStep, JobWork, part};

/// Letters of one read, at least.
const BATCH_MIN: usize = 16;
/// Letters of one read, at most.
const BATCH_MAX: usize = 500;
/// Letters that a step reads at most, if the query selects few of them.
const SCANNED_MAX: usize = 2_000;
/// Letters of a step that are handed over at once.
const CONCURRENT_MAX: usize = 32;

/// Redrives dead letters.
pub struct RedriveWork {
    letters: Arc<dyn DeadLetters>,
    parking: Arc<dyn ParkingLot>,
    directory: Arc<dyn SubscriptionDirectory>,
    /// None if the log is off.
    log: Option<Arc<dyn DeliveryLog>>,
}

/// Where a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Cursor {
    /// The next sequence of a query, or the next index of a list of ids.
    next: u64,
}

/// The letters of a step.
struct Chosen {
    /// Each with the cursor after it.
    letters: Vec<(LetterId, Cursor)>,
    /// The cursor after all of them.
    after: Cursor,
    is_last: bool,
}

/// What became of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handled {
    Parked,
    Published,
    Skipped(Skipped),
}

impl Handled {
    fn count_name(self) -> &'static str {
        match self {
            Self::Parked => PARKED,
            Self::Published => PUBLISHED,
            Self::Skipped(why) => why.count_name(),
        }
    }
}

impl RedriveWork {
    /// Redrives `letters` through `parking`, to the subscriptions of `directory`; `log` records that.
    #[must_use]
    pub fn new(
        letters: Arc<dyn DeadLetters>,
        parking: Arc<dyn ParkingLot>,
        directory: Arc<dyn SubscriptionDirectory>,
        log: Option<Arc<dyn DeliveryLog>>,
    ) -> Self {
        Self { letters, parking, directory, log }
    }

    async fn step_of(&self, job: &Job, max: u32) -> Result<JobStep, JobFailure> {
        let never = |error: serde_json::Error| JobFailure::Never(format!("its document: {error}"));
        let request: RedriveRequest = serde_json::from_value(job.request.clone()).map_err(never)?;
        let start = match &request.selection {
            Selection::Ids(_) => Cursor { next: 0 },
            Selection::Query(_) => Cursor { next: request.first.max(1) },
        };
        let cursor = match &job.cursor {
            serde_json::Value::Null => start,
            cursor => serde_json::from_value(cursor.clone()).map_err(never)?,
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let chosen = match &request.selection {
            Selection::Ids(ids) => choose_ids(ids, cursor, max),
            Selection::Query(query) => {
                self.choose(query, &request, cursor, max).await.map_err(later)?
            }
        };
        let end = match &request.selection {
            Selection::Ids(ids) => ids.len() as u64,
            Selection::Query(_) => request.last.saturating_add(1),
        };
        let (counts, after, is_whole) = self.hand_over(job, &chosen).await?;
        Ok(JobStep {
            cursor: json!(after),
            handed_over: u32::try_from(
                counts.get(PARKED).unwrap_or(&0) + counts.get(PUBLISHED).unwrap_or(&0),
            )
            .unwrap_or(u32::MAX),
            counts,
            progress: part(start.next, after.next, end),
            is_done: is_whole && chosen.is_last,
        })
    }

    /// Chooses at most `max` letters that a query selects.
    async fn choose(
        &self,
        query: &LetterQuery,
        request: &RedriveRequest,
        cursor: Cursor,
        max: usize,
    ) -> Result<Chosen, ReadError> {
        let batch_max = max.saturating_mul(2).clamp(BATCH_MIN, BATCH_MAX);
        let mut chosen = Chosen { letters: Vec::new(), after: cursor, is_last: false };
        let mut scanned = 0;
        while scanned < SCANNED_MAX {
            let range = LetterRange { from: chosen.after.next, to: request.last };
            if range.from > range.to {
                chosen.is_last = true;
                break;
            }
            let batch = self.letters.read(range, &query.scope(), batch_max).await?;
            scanned += batch.letters.len().max(1);
            for letter in &batch.letters {
                let after = Cursor { next: letter.id.0.sequence.saturating_add(1) };
                if query.selects(letter) {
                    chosen.letters.push((letter.id, after));
                }
                chosen.after = after;
                if chosen.letters.len() == max {
                    return Ok(chosen);
                }
            }
            let end = request.last.saturating_add(1);
            chosen.after = Cursor { next: batch.next.unwrap_or(end).max(chosen.after.next) };
        }
        Ok(chosen)
    }

    /// Hands letters over: deliveries concurrently, events one after the other, since the event stream
    /// may have no room for the next one. Returns the counts, the cursor after the last letter that was
    /// handled, and whether all were.
    async fn hand_over(
        &self,
        job: &Job,
        chosen: &Chosen,
    ) -> Result<(JobCounts, Cursor, bool), JobFailure> {
        let found: Vec<_> = chosen.letters.iter().map(|(id, _)| self.letters.get(*id)).collect();
        let found: Vec<_> = stream::iter(found).buffered(CONCURRENT_MAX).collect().await;
        let mut letters = Vec::with_capacity(found.len());
        for (letter, (_, after)) in found.into_iter().zip(&chosen.letters) {
            letters.push((letter.map_err(later)?, *after));
        }
        let (mut counts, mut done) = (JobCounts::new(), 0);
        'all: while let Some((letter, _)) = letters.get(done) {
            if let Some(event) = letter.as_ref().filter(|letter| is_event(letter)) {
                match self.publish(job, event).await {
                    Ok(handled) => count(&mut counts, handled),
                    Err(failure) if done == 0 => return Err(failure),
                    // The next step tries again; what is done is not repeated.
                    Err(_) => break,
                }
                done += 1;
                continue;
            }
            let run = letters.iter().skip(done).map(|(letter, _)| letter.as_ref());
            let run = run.take_while(|letter| !letter.is_some_and(is_event));
            let run: Vec<_> = run.map(|letter| self.park(job, letter)).collect();
            let run: Vec<_> = stream::iter(run).buffered(CONCURRENT_MAX).collect().await;
            for handled in run {
                match handled {
                    Ok(handled) => count(&mut counts, handled),
                    Err(failure) if done == 0 => return Err(failure),
                    // The next step finds what is parked after it.
                    Err(_) => break 'all,
                }
                done += 1;
            }
        }
        let is_whole = done == letters.len();
        let reached = done.checked_sub(1).and_then(|last| letters.get(last));
        let after = reached.filter(|_| !is_whole).map_or(chosen.after, |(_, after)| *after);
        Ok((counts, after, is_whole))
    }

    /// Parks the delivery of a letter unless it waits already, by whatever was first, and then records that.
    async fn park(&self, job: &Job, letter: Option<&StoredLetter>) -> Result<Handled, JobFailure> {
        let Some(letter) = letter else { return Ok(Handled::Skipped(Skipped::NotFound)) };
        let due = clock::broker_now();
        let Redriven { delivery, record } =
            match decide(letter, &*self.directory, job.id.as_str(), due) {
                Action::Park(redriven) => *redriven,
                Action::Skip(why) => return Ok(Handled::Skipped(why)),
                // Events are published, see `hand_over`.
                Action::Publish => return Ok(Handled::Skipped(Skipped::Unreadable)),
            };
        match self.parking.hand_over(record).await {
            Ok(HandOver::Stored) => {}
            // By a step that was not saved. Another letter of the delivery may have been first.
            Ok(HandOver::Occupied(Some(by)))
                if *by.job == *job.id.as_str() && by.dead_letters.contains(&letter.id.0) => {}
            Ok(HandOver::Occupied(_)) => return Ok(Handled::Skipped(Skipped::Pending)),
            Ok(HandOver::NotNow(reason)) => return Err(JobFailure::Later(reason)),
            Err(ParkError::TooLarge) => return Ok(Handled::Skipped(Skipped::TooLarge)),
            Err(ParkError::ShareUsed(_)) => return Ok(Handled::Skipped(Skipped::ShareUsed)),
        }
        self.record(job, letter, &delivery, due).await;
        Ok(Handled::Parked)
    }

    /// Records that the delivery of a letter was parked until `due`; completes once the record is stored. An
    /// event that is not matched yet is no delivery.
    async fn record(
        &self,
        job: &Job,
        letter: &StoredLetter,
        delivery: &ParkedDelivery,
        due: Timestamp,
    ) {
        if delivery.subscriptions.is_empty() {
            return;
        }
        let log =
            LogCollector::new(self.log.as_deref(), delivery.event(), Origin::dead_letter(letter));
        let log = log.began(saved_at(job));
        log.add(DeliveryReport::of_redriven(delivery, due)).await;
        log.store().await;
    }

    /// Publishes the event of a letter again.
    async fn publish(&self, job: &Job, letter: &StoredLetter) -> Result<Handled, JobFailure> {
        if letter.is_body_omitted() {
            return Ok(Handled::Skipped(Skipped::BodyOmitted));
        }
        match self.letters.republish(letter, job.id.as_str()).await {
            Ok(Republished::Stored) => Ok(Handled::Published),
            Ok(Republished::TooLarge) => Ok(Handled::Skipped(Skipped::TooLarge)),
            Ok(Republished::Full(reason)) => Err(JobFailure::Later(reason)),
            Err(error) => Err(later(error)),
        }
    }
}

/// Returns when the position of a job was saved last. What a step does begins then in the log: a step that is
/// repeated after a crash must not seem to follow the end of what it handed over before.
fn saved_at(job: &Job) -> Timestamp {
    let saved_ms = job.progressed_ms.or(job.started_ms).unwrap_or(job.created_ms);
    Timestamp::from_millisecond(saved_ms).unwrap_or_else(|_| clock::broker_now())
}

fn later(error: ReadError) -> JobFailure {
    JobFailure::Later(error.0)
}

fn is_event(letter: &StoredLetter) -> bool {
    matches!(letter.kind, LetterKind::Event { .. })
}

fn choose_ids(ids: &[LetterId], cursor: Cursor, max: usize) -> Chosen {
    let start = usize::try_from(cursor.next).unwrap_or(usize::MAX).min(ids.len());
    let after = |index: usize| Cursor { next: index as u64 + 1 };
    let letters: Vec<_> = ids
        .iter()
        .enumerate()
        .skip(start)
        .take(max)
        .map(|(index, id)| (*id, after(index)))
        .collect();
    let last = letters.last().map_or(cursor, |(_, after)| *after);
    let is_last = last.next >= ids.len() as u64;
    Chosen { letters, after: last, is_last }
}

fn count(counts: &mut JobCounts, handled: Handled) {
    for name in [MATCHED, handled.count_name()] {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    match handled {
        // Its outcome is counted when it is known.
        Handled::Parked => {}
        Handled::Published => metrics::redriven("published", 1),
        Handled::Skipped(_) => metrics::redriven("skipped", 1),
    }
}

impl JobWork for RedriveWork {
    fn kind(&self) -> JobKind {
        JobKind::Redrive
    }

    fn step<'a>(&'a self, job: &'a Job, max: u32) -> BoxFuture<'a, Result<JobStep, JobFailure>> {
        Box::pin(self.step_of(job, max))
    }
}
