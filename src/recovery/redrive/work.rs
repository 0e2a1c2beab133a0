//! Executes redrive jobs: hands dead letters over, oldest first.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::letter::{LetterId, LetterKind, StoredLetter};
use super::metrics;
use super::plan::{Action, MATCHED, PARKED, PUBLISHED, Skipped, decide};
use super::query::LetterQuery;
use super::request::{RedriveRequest, Selection};
use super::store::{DeadLetters, LetterRange, ReadError, Republished};
use crate::clock;
use crate::delivery::{ParkError, ParkingLot, SubscriptionDirectory};
use crate::recovery::jobs::{Job, JobCounts, JobFailure, JobKind, JobStep, JobWork};

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
    /// Redrives `letters` through `parking`, to the subscriptions of `directory`.
    #[must_use]
    pub fn new(
        letters: Arc<dyn DeadLetters>,
        parking: Arc<dyn ParkingLot>,
        directory: Arc<dyn SubscriptionDirectory>,
    ) -> Self {
        Self { letters, parking, directory }
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
        while let Some((letter, _)) = letters.get(done) {
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
            let handled: Vec<Handled> =
                stream::iter(run).buffer_unordered(CONCURRENT_MAX).collect().await;
            done += handled.len();
            handled.into_iter().for_each(|handled| count(&mut counts, handled));
        }
        let is_whole = done == letters.len();
        let reached = done.checked_sub(1).and_then(|last| letters.get(last));
        let after = reached.filter(|_| !is_whole).map_or(chosen.after, |(_, after)| *after);
        Ok((counts, after, is_whole))
    }

    /// Parks the delivery of a letter.
    async fn park(&self, job: &Job, letter: Option<&StoredLetter>) -> Handled {
        let Some(letter) = letter else { return Handled::Skipped(Skipped::NotFound) };
        let now = clock::broker_now();
        match decide(letter, &*self.directory, job.id.as_str(), now) {
            Action::Park(record) => match self.parking.park(*record).await {
                Ok(()) => Handled::Parked,
                Err(ParkError::TooLarge) => Handled::Skipped(Skipped::TooLarge),
                Err(ParkError::ShareUsed(_)) => Handled::Skipped(Skipped::ShareUsed),
            },
            Action::Skip(why) => Handled::Skipped(why),
            // Events are published, see `hand_over`.
            Action::Publish => Handled::Skipped(Skipped::Unreadable),
        }
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

/// Returns how much of the way from `start` to `end` is done at `now`.
#[expect(clippy::cast_precision_loss, reason = "a progress needs no more than 53 bits")]
fn part(start: u64, now: u64, end: u64) -> f64 {
    match end.saturating_sub(start) {
        0 => 1.0,
        all => now.saturating_sub(start) as f64 / all as f64,
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
