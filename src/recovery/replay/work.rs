//! Executes replay jobs: hands deliveries of stored events over, oldest event first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchyard_expr::{CheckProfile, Program, compile};
use url::Url;

use super::choose::{Chooser, Chosen, PARKED, add, add_expired};
use super::decide::Skipped;
use super::examine::{EventReader, Question};
use super::request::ReplayRequest;
use super::streams::ReplayStreams;
use super::walk::{Advanced, Walk};
use crate::clock;
use crate::delivery::{
    Delivery, DeliveryLog, DeliveryReport, LogCollector, Origin, ParkError, ParkedRecord,
    ParkingLot, SubscriptionDirectory,
};
use crate::matcher::Subscription;
use crate::recovery::jobs::{
    Job, JobCounts, JobFailure, JobId, JobKind, JobStep, JobStore, JobStoreError, JobWork,
};
use crate::recovery::redrive::{DeadLetters, ReadError};

/// Deliveries of a job that may wait for their handler at once. Beyond it the job waits, so that it
/// leaves the parking share of the installation to live events.
const OUTSTANDING_MAX: u64 = 1_000;
/// How long a step looks for deliveries to hand over.
const STEP_TIME_MAX: Duration = Duration::from_secs(1);
/// Events whose deliveries are handed over at once.
const EVENTS_AT_ONCE: usize = 8;
/// Deliveries of one event that are handed over at once.
const DELIVERIES_AT_ONCE: usize = 8;
/// Walks that are kept in memory.
const WALKS_MAX: usize = 16;

/// What replays need.
#[derive(Clone)]
pub struct ReplayParts {
    /// Reads events, the log and schedules.
    pub streams: Arc<dyn ReplayStreams>,
    /// Reads dead letters.
    pub letters: Arc<dyn DeadLetters>,
    /// Parks deliveries.
    pub parking: Arc<dyn ParkingLot>,
    /// Records that they are handed over; none if the log is off.
    pub log: Option<Arc<dyn DeliveryLog>>,
    /// Which subscriptions exist.
    pub directory: Arc<dyn SubscriptionDirectory>,
    /// Reads and matches events.
    pub reader: EventReader,
    /// What became of the deliveries of a job.
    pub jobs: Arc<dyn JobStore>,
}

/// Replays events.
pub struct ReplayWork {
    parts: ReplayParts,
    walks: Mutex<BTreeMap<JobId, Walk>>,
}

/// Where a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Cursor {
    /// The next sequence.
    next: u64,
}

/// What a step did with chosen events.
struct HandedOver {
    counts: JobCounts,
    handed_over: u64,
    /// Why an event could not be done; the next step takes it again.
    stopped: Option<String>,
}

impl ReplayWork {
    /// Creates the work.
    #[must_use]
    pub fn new(parts: ReplayParts) -> Self {
        Self { parts, walks: Mutex::default() }
    }

    async fn step_of(&self, job: &Job, max: u32) -> Result<JobStep, JobFailure> {
        let never = |error: serde_json::Error| JobFailure::Never(format!("its document: {error}"));
        let request: ReplayRequest = serde_json::from_value(job.request.clone()).map_err(never)?;
        let start = request.window.first_sequence;
        let cursor = match &job.cursor {
            serde_json::Value::Null => Cursor { next: start },
            cursor => serde_json::from_value(cursor.clone()).map_err(never)?,
        };
        self.wait_for_handlers(job).await?;
        let mut question = question(&request, &*self.parts.directory)?;
        question.deliveries_max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut walk = self.take_walk(job, &request, cursor);
        let stepped = self.hand_over_next(job, &request, &question, &mut walk).await;
        let next = walk.next();
        self.put_walk(job, walk);
        let (HandedOver { counts, handed_over, .. }, is_done) = stepped?;
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
        question: &Question,
        walk: &mut Walk,
    ) -> Result<(HandedOver, bool), JobFailure> {
        let (started, before) = (clock::tick(), walk.next());
        let mut all = HandedOver { counts: JobCounts::new(), handed_over: 0, stopped: None };
        loop {
            let ReplayParts { streams, letters, reader, .. } = &self.parts;
            let advanced = walk.advance(&**streams, reader, question).await.map_err(later)?;
            add_expired(&mut all.counts, walk);
            match advanced {
                Advanced::Done => return Ok((all, true)),
                Advanced::Open(sequence) if walk.next() == before => {
                    let reason = format!(
                        "event {sequence} is not acknowledged yet: what becomes of its deliveries is open"
                    );
                    return Err(JobFailure::Later(reason));
                }
                Advanced::Busy | Advanced::Open(_) => return Ok((all, false)),
                Advanced::Examined(examined) => {
                    let (streams, letters) = (&**streams, &**letters);
                    let job_id = Some(job.id.as_str());
                    let target = target(request)?;
                    let chooser = Chooser { streams, letters, request, target, job: job_id };
                    let chosen = match chooser.choose(examined, walk).await {
                        Ok(chosen) => chosen,
                        Err(error) => {
                            walk.rewind();
                            return Err(later(error));
                        }
                    };
                    self.hand_over(chosen, walk, &mut all).await;
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

    /// Hands over the deliveries of chosen events, and passes those that are done.
    async fn hand_over(&self, chosen: Vec<Chosen>, walk: &mut Walk, all: &mut HandedOver) {
        let events: Vec<_> = chosen.into_iter().map(|one| self.hand_over_event(one)).collect();
        let done: Vec<_> = stream::iter(events).buffered(EVENTS_AT_ONCE).collect().await;
        for event in done {
            match event {
                Ok((sequence, counts)) => {
                    all.handed_over += counts.get(PARKED).copied().unwrap_or(0);
                    counts.iter().for_each(|(name, number)| add(&mut all.counts, name, *number));
                    walk.pass(sequence);
                }
                // The later ones are chosen again; what they handed over is found then.
                Err(error) => {
                    all.stopped = Some(format!("{error}; it goes on when there is room"));
                    walk.rewind();
                    return;
                }
            }
        }
    }

    /// Parks the deliveries of an event, then records that. Returns its sequence and its counts.
    async fn hand_over_event(&self, mut chosen: Chosen) -> Result<(u64, JobCounts), ParkError> {
        let sequence = chosen.sequence;
        let due = clock::broker_now();
        let deliveries = std::mem::take(&mut chosen.deliveries);
        let mut handed_over: Vec<Delivery> = std::mem::take(&mut chosen.repeated);
        let parking: Vec<_> = deliveries
            .into_iter()
            .map(async |delivery| {
                let record = ParkedRecord::replayed(&delivery, due);
                (self.parts.parking.park(record).await, delivery)
            })
            .collect();
        let mut parked = stream::iter(parking).buffer_unordered(DELIVERIES_AT_ONCE);
        let mut stopped = None;
        while let Some((result, delivery)) = parked.next().await {
            match result {
                Ok(()) => handed_over.push(delivery),
                Err(ParkError::TooLarge) => chosen.skip(Skipped::TooLarge),
                Err(error @ ParkError::ShareUsed(_)) => stopped = Some(error),
            }
        }
        drop(parked);
        if let Some(prepared) = &chosen.prepared {
            let origin = Origin::replayed(chosen.stored_ms);
            let log = LogCollector::new(self.parts.log.as_deref(), &prepared.event, origin);
            // Those that continue a dead-lettered delivery are not made once more.
            for delivery in handed_over.iter().filter(|one| is_made_again(one)) {
                log.add(DeliveryReport::of_replayed(delivery, due)).await;
            }
            log.store().await;
        }
        if let Some(error) = stopped {
            return Err(error);
        }
        add(&mut chosen.counts, PARKED, handed_over.len() as u64);
        Ok((sequence, chosen.counts))
    }

    /// Checks that few enough deliveries of the job wait for their handlers.
    async fn wait_for_handlers(&self, job: &Job) -> Result<(), JobFailure> {
        let parked = job.counts.get(PARKED).copied().unwrap_or(0);
        if parked < OUTSTANDING_MAX {
            return Ok(());
        }
        let outcomes = self
            .parts
            .jobs
            .outcomes(&job.id)
            .await
            .map_err(|error: JobStoreError| JobFailure::Later(error.to_string()))?;
        let outstanding = parked.saturating_sub(outcomes.values().sum());
        match outstanding < OUTSTANDING_MAX {
            true => Ok(()),
            false => Err(JobFailure::Later(format!(
                "{outstanding} of its deliveries wait for their handler; it goes on when they are fewer than {OUTSTANDING_MAX}"
            ))),
        }
    }

    /// Returns the walk of a job, if it is where the job is, or begins one there.
    fn take_walk(&self, job: &Job, request: &ReplayRequest, cursor: Cursor) -> Walk {
        let kept = self.lock().remove(&job.id);
        kept.filter(|walk| walk.next() == cursor.next).unwrap_or_else(|| {
            let window = (cursor.next, request.window.last_sequence);
            let installation = Some(request.installation.clone());
            Walk::new(request.site.clone(), installation, window, self.parts.log.is_some())
        })
    }

    fn put_walk(&self, job: &Job, walk: Walk) {
        let mut walks = self.lock();
        if walks.len() >= WALKS_MAX {
            walks.pop_first();
        }
        walks.insert(job.id.clone(), walk);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, Walk>> {
        self.walks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the replay makes a delivery once more.
fn is_made_again(delivery: &Delivery) -> bool {
    let progress = &delivery.progress;
    progress.repeated_by().is_some() && progress.repeated_by() == progress.replay_job()
}

/// Returns what is asked about the events of a request, by the subscriptions that exist now.
pub(super) fn question(
    request: &ReplayRequest,
    directory: &dyn SubscriptionDirectory,
) -> Result<Question, JobFailure> {
    let installation = &request.installation;
    if directory.is_waiting(installation) {
        let reason = "a document of the installation, or of its app, cannot be read";
        return Err(JobFailure::Later(reason.to_owned()));
    }
    let mut subscriptions = directory.subscriptions_of(installation);
    subscriptions.retain(|one| is_of(one, request));
    if subscriptions.is_empty() {
        return Err(JobFailure::Never("there is no live subscription to replay for".to_owned()));
    }
    let condition = match &request.filter {
        Some(source) => Some(Arc::new(condition(source)?)),
        None => None,
    };
    Ok(Question { subscriptions: subscriptions.into(), condition, deliveries_max: usize::MAX })
}

fn is_of(subscription: &Subscription, request: &ReplayRequest) -> bool {
    let is_key = request.key.as_ref().is_none_or(|key| subscription.key == *key);
    is_key && subscription.owner.id == request.installation
}

/// Returns the endpoint that deliveries are sent to in place of their handler.
pub(super) fn target(request: &ReplayRequest) -> Result<Option<Url>, JobFailure> {
    let url = request.target.as_deref().map(Url::parse).transpose();
    url.map_err(|error| JobFailure::Never(format!("its target: {error}")))
}

fn condition(source: &str) -> Result<Program, JobFailure> {
    let compiled = compile(source, CheckProfile::Filter);
    let reason = "its filter is not accepted by this release";
    compiled.map(|compiled| compiled.program).map_err(|_| JobFailure::Never(reason.to_owned()))
}

fn later(error: ReadError) -> JobFailure {
    JobFailure::Later(error.0)
}

/// Returns how much of the way from `start` to `end` is done at `now`.
#[expect(clippy::cast_precision_loss, reason = "a progress needs no more than 53 bits")]
fn part(start: u64, now: u64, end: u64) -> f64 {
    match end.saturating_sub(start) {
        0 => 1.0,
        all => now.saturating_sub(start) as f64 / all as f64,
    }
}

impl JobWork for ReplayWork {
    fn kind(&self) -> JobKind {
        JobKind::Replay
    }

    fn step<'a>(&'a self, job: &'a Job, max: u32) -> BoxFuture<'a, Result<JobStep, JobFailure>> {
        Box::pin(self.step_of(job, max))
    }
}
