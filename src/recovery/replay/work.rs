//! Executes replay jobs: hands deliveries of stored events over, oldest event first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::choose::{Chooser, Chosen, PARKED, add, add_expired};
use super::decide::ReplayMode;
use super::examine::EventQuery;
use super::hand_over::{self, DoneEvent};
use super::handed_over::HandedOver;
use super::pace::ReplayPace;
use super::parts::{CompiledRequest, ReplayParts, event_query, later, target};
use super::request::ReplayRequest;
use super::walk::{Advanced, Walk};
use crate::clock;
use crate::recovery::jobs::{
    Job, JobCounts, JobFailure, JobId, JobKind, JobStep, JobStoreError, JobWork, part,
};

/// Deliveries of a job that may wait for their handler at once. Beyond it the job waits, so that it
/// leaves the parking share of the installation to live events.
const OUTSTANDING_MAX: u64 = 1_000;
/// How long a step looks for deliveries to hand over.
const STEP_TIME_MAX: Duration = Duration::from_secs(1);
/// Events whose deliveries are handed over at once.
const EVENTS_AT_ONCE: usize = 64;
/// Pause between two looks at how many deliveries of a job wait.
const OUTCOMES_PAUSE: Duration = Duration::from_millis(50);
/// Jobs whose walk is kept in memory. Those that are executed here are fewer, see `recovery::jobs`.
const KEPT_MAX: usize = 16;

/// Replays events.
pub struct ReplayWork {
    parts: ReplayParts,
    kept: Mutex<BTreeMap<JobId, KeptReplay>>,
}

/// What is kept in memory between the steps of a job.
struct KeptReplay {
    walk: Walk,
    compiled: CompiledRequest,
    pace: ReplayPace,
}

/// Where a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Cursor {
    /// The next sequence.
    next: u64,
}

/// What a step did with chosen events.
struct Step {
    counts: JobCounts,
    handed_over: u64,
    /// Why an event could not be done; the next step takes it again.
    stopped: Option<String>,
}

impl ReplayWork {
    /// Creates the work.
    #[must_use]
    pub fn new(parts: ReplayParts) -> Self {
        Self { parts, kept: Mutex::default() }
    }

    async fn step_of(&self, job: &Job, max: u32) -> Result<JobStep, JobFailure> {
        let never = |error: serde_json::Error| JobFailure::Never(format!("its document: {error}"));
        let request: ReplayRequest = serde_json::from_value(job.request.clone()).map_err(never)?;
        let start = request.window.first_sequence;
        let cursor = match &job.cursor {
            serde_json::Value::Null => Cursor { next: start },
            cursor => serde_json::from_value(cursor.clone()).map_err(never)?,
        };
        if self.parts.log.is_none() && request.mode != ReplayMode::All {
            let reason = "the delivery log is off (delivery.log) at the router that executes the job, so nothing says what was delivered; it goes on when the log is on";
            return Err(JobFailure::Later(reason.to_owned()));
        }
        self.wait_for_handlers(job).await?;
        let KeptReplay { mut walk, mut compiled, mut pace } = self.take(job, &request, cursor)?;
        let mut query = match event_query(&self.parts, &request, &mut compiled).await {
            Ok(query) => query,
            Err(failure) => {
                // What it read and handed over is known to the next step.
                self.keep(job, KeptReplay { walk, compiled, pace });
                return Err(failure);
            }
        };
        query.deliveries_max = usize::try_from(max).unwrap_or(usize::MAX);
        query.deliveries_max = query.deliveries_max.min(pace.within(STEP_TIME_MAX, job.rate));
        let stepped = self.hand_over_next(job, &request, &query, (&mut walk, &mut pace)).await;
        let next = walk.next();
        self.keep(job, KeptReplay { walk, compiled, pace });
        let (Step { counts, handed_over, .. }, is_done) = stepped?;
        Ok(JobStep {
            cursor: json!(Cursor { next }),
            handed_over: u32::try_from(handed_over).unwrap_or(u32::MAX),
            counts,
            progress: part(start, next, request.window.last_sequence.saturating_add(1)),
            is_done,
        })
    }

    /// Hands over the deliveries of the next events that have some, for a second at most; returns
    /// whether no event is left.
    async fn hand_over_next(
        &self,
        job: &Job,
        request: &ReplayRequest,
        query: &EventQuery,
        (walk, pace): (&mut Walk, &mut ReplayPace),
    ) -> Result<(Step, bool), JobFailure> {
        let (started, before) = (clock::tick(), walk.next());
        let mut all = Step { counts: JobCounts::new(), handed_over: 0, stopped: None };
        loop {
            let ReplayParts { streams, letters, directory, reader, .. } = &self.parts;
            let advanced = walk.advance(&**streams, reader, query).await.map_err(later)?;
            add_expired(&mut all.counts, walk);
            match advanced {
                Advanced::Done => return Ok((all, true)),
                Advanced::Unsettled(sequence) if walk.next() == before => {
                    let reason = format!(
                        "event {sequence} is not acknowledged yet: what becomes of its deliveries is open"
                    );
                    return Err(JobFailure::Later(reason));
                }
                Advanced::Busy | Advanced::Unsettled(_) => return Ok((all, false)),
                Advanced::Examined(examined) => {
                    let (streams, letters) = (&**streams, &**letters);
                    let job_id = Some(job.id.as_str());
                    let target = target(request)?;
                    let directory = &**directory;
                    let chooser =
                        Chooser { streams, letters, directory, request, target, job: job_id };
                    let chosen = match chooser.choose(examined, walk).await {
                        Ok(chosen) => chosen,
                        Err(error) => {
                            walk.rewind();
                            return Err(later(error));
                        }
                    };
                    let delays = self.hand_over(pace.pause(job.rate), chosen, walk, &mut all).await;
                    pace.observe(&delays);
                }
            }
            if let Some(reason) = all.stopped.take() {
                return match walk.next() == before {
                    true => Err(JobFailure::Later(reason)),
                    false => Ok((all, false)),
                };
            }
            if all.handed_over > 0 || clock::since(started) >= STEP_TIME_MAX {
                return Ok((all, false));
            }
        }
    }

    /// Hands over the deliveries of chosen events, with a pause after the beginning of each, and passes those that
    /// are done. Returns how much later than planned each event began that has some.
    async fn hand_over(
        &self,
        pause: Duration,
        chosen: Vec<Chosen>,
        walk: &mut Walk,
        all: &mut Step,
    ) -> Vec<Duration> {
        let (mut next_start, delays) = (Instant::now(), Mutex::default());
        let events: Vec<_> = chosen
            .into_iter()
            .map(|one| {
                let start = next_start;
                let deliveries = u32::try_from(one.deliveries.len()).unwrap_or(u32::MAX);
                next_start += pause.saturating_mul(deliveries);
                let delays: &Mutex<Vec<Duration>> = &delays;
                async move {
                    tokio::time::sleep_until(start).await;
                    if deliveries > 0 {
                        let mut delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
                        delays.push(start.elapsed());
                    }
                    hand_over::of_event(&self.parts, one).await
                }
            })
            .collect();
        let done: Vec<_> = stream::iter(events).buffered(EVENTS_AT_ONCE).collect().await;
        for DoneEvent { sequence, counts, ids, stopped } in done {
            // The log may be off: then nothing else says that they were handed over.
            ids.iter().for_each(|id| walk.handed_over().note(id, sequence));
            if all.stopped.is_some() {
                continue;
            }
            if stopped.is_some() {
                // This event and the later ones are chosen again; what they handed over is counted then.
                all.stopped = stopped;
                walk.rewind();
                continue;
            }
            all.handed_over += counts.get(PARKED).copied().unwrap_or(0);
            counts.iter().for_each(|(name, number)| add(&mut all.counts, name, *number));
            walk.pass(sequence);
        }
        delays.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until few enough deliveries of the job wait for their handlers, for a second at most.
    async fn wait_for_handlers(&self, job: &Job) -> Result<(), JobFailure> {
        let parked = job.counts.get(PARKED).copied().unwrap_or(0);
        if parked < OUTSTANDING_MAX {
            return Ok(());
        }
        let started = clock::tick();
        loop {
            let outcomes = self.parts.jobs.outcomes(&job.id).await;
            let outcomes =
                outcomes.map_err(|error: JobStoreError| JobFailure::Later(error.to_string()))?;
            let outstanding = parked.saturating_sub(outcomes.values().sum());
            if outstanding < OUTSTANDING_MAX {
                return Ok(());
            }
            if clock::since(started) >= STEP_TIME_MAX {
                return Err(JobFailure::Later(format!(
                    "{outstanding} of its deliveries wait for their handler; it goes on when they are fewer than {OUTSTANDING_MAX}"
                )));
            }
            tokio::time::sleep(OUTCOMES_PAUSE).await;
        }
    }

    /// Returns what is kept of a job, if it is where the job is, or begins there.
    fn take(
        &self,
        job: &Job,
        request: &ReplayRequest,
        cursor: Cursor,
    ) -> Result<KeptReplay, JobFailure> {
        let kept = self.lock().remove(&job.id);
        let begin = || {
            let window = (cursor.next, request.window.last_sequence);
            let (site, installation) = (request.site.clone(), Some(request.installation.clone()));
            let handed_over = HandedOver::new(Some(job.id.as_str()));
            Walk::new(site, installation, window, handed_over, self.parts.log.is_some())
        };
        match kept {
            Some(kept) if kept.walk.next() == cursor.next => Ok(kept),
            Some(kept) => Ok(KeptReplay { walk: begin(), ..kept }),
            None => {
                let compiled = CompiledRequest::of(request)?;
                Ok(KeptReplay { walk: begin(), compiled, pace: ReplayPace::new() })
            }
        }
    }

    fn keep(&self, job: &Job, kept: KeptReplay) {
        let mut all = self.lock();
        if all.len() >= KEPT_MAX {
            all.pop_first();
        }
        all.insert(job.id.clone(), kept);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, KeptReplay>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the further filter of a job that is kept in memory.
    #[cfg(test)]
    pub(super) fn condition_of(
        &self,
        job: &JobId,
    ) -> Option<std::sync::Arc<switchyard_expr::Program>> {
        self.lock().get(job)?.compiled.condition.clone()
    }
}

impl JobWork for ReplayWork {
    fn kind(&self) -> JobKind {
        JobKind::Replay
    }

    fn step<'a>(&'a self, job: &'a Job, max: u32) -> BoxFuture<'a, Result<JobStep, JobFailure>> {
        Box::pin(self.step_of(job, max))
    }

    fn release(&self, job: &JobId) {
        self.lock().remove(job);
    }
}
