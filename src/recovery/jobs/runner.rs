//! Executes jobs: takes those that no replica holds, and steps them at their rate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::task::JoinSet;

use super::control::{Jobs, KEPT_MAX};
use super::document::{Job, JobCounts, JobId, JobKind, JobState, Lease};
use super::pacer::Pacer;
use super::progress::ProgressWatch;
use super::store::{JobStoreError, StoredJob};
use crate::clock;

/// Interval at which a replica looks for jobs that no replica holds.
const POLL: Duration = Duration::from_secs(2);
/// How long a lease is valid, in milliseconds. A job of a killed replica waits this long.
const LEASE_MS: i64 = 10_000;
/// Interval at which a lease is renewed while a step takes long.
const RENEW: Duration = Duration::from_secs(3);
/// Pause after a step that could not be done now.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest text of a reason, in characters.
const REASON_CHARS_MAX: usize = 512;

/// What a kind of job does.
pub trait JobWork: Send + Sync {
    /// The kind.
    fn kind(&self) -> JobKind;

    /// Continues after the cursor of `job` and hands over at most `max` entries. A step ends within
    /// seconds: one that finds few entries returns how far it looked.
    ///
    /// A step may be repeated with the same cursor, here or on another replica, after it was done
    /// wholly or in part: what it hands over needs ids by which repeats are recognised.
    fn step<'a>(&'a self, job: &'a Job, max: u32) -> BoxFuture<'a, Result<JobStep, JobFailure>>;

    /// Frees what is kept in memory between the steps of a job, which this process executes no longer.
    fn release(&self, _job: &JobId) {}
}

/// What a step did.
#[derive(Clone, PartialEq, Debug)]
pub struct JobStep {
    /// Where the next step continues.
    pub cursor: Value,
    /// Entries that count to the rate.
    pub handed_over: u32,
    /// What became of entries.
    pub counts: JobCounts,
    /// How much of the job is done, from 0.0 to 1.0.
    pub progress: f64,
    /// Whether it was the last step.
    pub is_done: bool,
}

/// Returns how much of the way from `start` to `end` is done at `now`, as [`JobStep::progress`].
#[expect(clippy::cast_precision_loss, reason = "a progress needs no more than 53 bits")]
#[must_use]
pub fn part(start: u64, now: u64, end: u64) -> f64 {
    match end.saturating_sub(start) {
        0 => 1.0,
        all => now.saturating_sub(start) as f64 / all as f64,
    }
}

/// Why a step was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobFailure {
    /// It may be done later; one sentence.
    Later(String),
    /// It can never be done; one sentence.
    Never(String),
}

/// Executes the jobs of this process.
pub struct JobRunner {
    jobs: Arc<Jobs>,
    works: Vec<Arc<dyn JobWork>>,
    /// Names this process in leases, unique over restarts.
    replica: Arc<str>,
}

/// A job that this process executes.
struct HeldJob {
    jobs: Arc<Jobs>,
    work: Arc<dyn JobWork>,
    replica: Arc<str>,
    stored: StoredJob,
}

/// What follows from a save.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Continue,
    Stop,
}

impl Next {
    fn of(job: &Job) -> Self {
        if job.state == JobState::Running { Self::Continue } else { Self::Stop }
    }
}

/// What the document is when it is read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reloaded {
    /// It has the progress of before the write.
    Before,
    /// It has the progress that was written.
    Written,
    /// It was deleted, or another replica executes it or did so.
    Lost,
}

impl JobRunner {
    /// Creates a runner of `works`, at most one for each kind.
    #[must_use]
    pub fn new(jobs: Arc<Jobs>, works: Vec<Arc<dyn JobWork>>) -> Self {
        Self { jobs, works, replica: uuid::Uuid::new_v4().simple().to_string().into() }
    }

    /// Executes jobs until the future is dropped.
    pub async fn run(self) {
        let mut running = JoinSet::new();
        let mut held: HashMap<tokio::task::Id, JobId> = HashMap::new();
        let mut progress = ProgressWatch::default();
        let mut interval = tokio::time::interval(POLL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.jobs.wake.notified() => {}
                Some(ended) = running.join_next_with_id() => {
                    match ended {
                        Ok((id, ())) => held.remove(&id),
                        Err(error) => {
                            let job = held.remove(&error.id());
                            tracing::error!(?job, %error, "job panicked; it is taken again later");
                            job
                        }
                    };
                    continue;
                }
            }
            match self.take_free(held.values(), &mut progress).await {
                Ok(taken) => {
                    for one in taken {
                        let id = one.stored.job.id.clone();
                        held.insert(running.spawn(one.execute()).id(), id);
                    }
                }
                Err(error) => tracing::debug!(%error, "jobs not available"),
            }
            progress.publish(clock::broker_now_ms());
        }
    }

    /// Takes every job that no replica holds and this one does not execute.
    async fn take_free(
        &self,
        held: impl Iterator<Item = &JobId> + Clone,
        progress: &mut ProgressWatch,
    ) -> Result<Vec<HeldJob>, JobStoreError> {
        let (stored, now_ms) = (self.jobs.store().list().await?, clock::broker_now_ms());
        progress.take(stored.iter().map(|one| &one.job));
        let mut taken = Vec::new();
        for mut one in stored.clone() {
            let work = self.works.iter().find(|work| work.kind() == one.job.kind);
            let Some(work) = work.filter(|_| one.job.is_free(now_ms)) else { continue };
            if held.clone().any(|id| *id == one.job.id) {
                continue;
            }
            if let Some(first) = self.jobs.goes_first(&one.job, &stored, now_ms) {
                if let Err(error) = self.wait_for(one, first).await {
                    // Those that are leased are executed now, before their leases end.
                    tracing::debug!(%error, "a job does not say yet what it waits for");
                    return Ok(taken);
                }
                continue;
            }
            let from = one.job.lease.take();
            one.job.lease = Some(lease(&self.replica, now_ms));
            match self.jobs.store().replace(&one.job, one.revision).await {
                Ok(revision) => one.revision = revision,
                // Another replica took it, or an operator changed it.
                Err(JobStoreError::Conflict) => continue,
                // It may be leased, and is free again when that ends.
                Err(error) => {
                    tracing::debug!(job = %one.job.id, %error, "job not taken");
                    return Ok(taken);
                }
            }
            tracing::info!(
                job = %one.job.id,
                kind = one.job.kind.as_str(),
                is_taken_over = from.is_some(),
                "job taken"
            );
            let (jobs, replica) = (Arc::clone(&self.jobs), Arc::clone(&self.replica));
            taken.push(HeldJob { jobs, work: Arc::clone(work), replica, stored: one });
        }
        if let Err(error) = self.jobs.delete_old(stored, KEPT_MAX, now_ms).await {
            tracing::debug!(%error, "old jobs not deleted");
        }
        Ok(taken)
    }

    /// Says in the document of a job that it waits for another one.
    async fn wait_for(&self, waiting: StoredJob, first: &JobId) -> Result<(), JobStoreError> {
        let StoredJob { mut job, revision } = waiting;
        let reason = Some(format!("{first} does the same and goes first"));
        if job.reason == reason {
            return Ok(());
        }
        job.reason = reason;
        match self.jobs.store().replace(&job, revision).await {
            // It was changed; the next look says it again.
            Ok(_) | Err(JobStoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn lease(replica: &str, now_ms: i64) -> Lease {
    Lease { replica: replica.to_owned(), until_ms: now_ms.saturating_add(LEASE_MS) }
}

impl HeldJob {
    /// Executes the job until it ends, an operator stops it, or another replica took it over.
    async fn execute(mut self) {
        let (work, job) = (Arc::clone(&self.work), self.stored.job.id.clone());
        self.execute_steps().await;
        work.release(&job);
    }

    async fn execute_steps(&mut self) {
        let mut pacer = Pacer::new(self.stored.job.rate, clock::uptime_ms());
        loop {
            let admitted = match pacer.admitted(clock::uptime_ms()) {
                Ok(admitted) => admitted,
                Err(wait_ms) => {
                    let wait = tokio::time::sleep(Duration::from_millis(wait_ms));
                    match self.while_renewing(wait).await {
                        Some(()) => continue,
                        None => return,
                    }
                }
            };
            let (work, job) = (Arc::clone(&self.work), self.stored.job.clone());
            let Some(stepped) = self.while_renewing(work.step(&job, admitted)).await else {
                return;
            };
            let next = match stepped {
                Ok(step) => {
                    pacer.spend(step.handed_over);
                    self.save(|job| apply(job, &step)).await
                }
                Err(JobFailure::Later(reason)) => {
                    let next = self.save(|job| job.reason = Some(cut(&reason))).await;
                    if next == Next::Continue
                        && self.while_renewing(tokio::time::sleep(RETRY_PAUSE)).await.is_none()
                    {
                        return;
                    }
                    next
                }
                Err(JobFailure::Never(reason)) => {
                    tracing::warn!(job = %job.id, reason, "job failed");
                    self.save(|job| {
                        job.reason = Some(cut(&reason));
                        job.set_state(JobState::Failed, clock::broker_now_ms());
                    })
                    .await
                }
            };
            if next == Next::Stop {
                return;
            }
        }
    }

    /// Waits for `work` and renews the lease until then; none if this process may not execute the job
    /// any more, which drops `work`.
    async fn while_renewing<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                _ = renewal.tick() => {
                    if self.save(|_| {}).await == Next::Stop {
                        return None;
                    }
                }
            }
        }
    }

    /// Applies `change` to the document and stores it with a new lease. If an operator changed the
    /// document, the change is made to that one: what was done is counted, and then the job stops.
    async fn save(&mut self, change: impl Fn(&mut Job)) -> Next {
        loop {
            let now_ms = clock::broker_now_ms();
            let mut job = self.stored.job.clone();
            change(&mut job);
            job.updated_ms = now_ms;
            let is_running = job.state == JobState::Running;
            job.lease = is_running.then(|| lease(&self.replica, now_ms));
            match self.jobs.store().replace(&job, self.stored.revision).await {
                Ok(revision) => {
                    self.stored = StoredJob { job, revision };
                    return Next::of(&self.stored.job);
                }
                Err(JobStoreError::Conflict) => {}
                Err(error @ JobStoreError::Unavailable(_)) => {
                    tracing::debug!(job = %job.id, %error, "state of a job not stored yet");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
            match self.reload(&job).await {
                Reloaded::Before => {}
                Reloaded::Written => return Next::of(&self.stored.job),
                Reloaded::Lost => return Next::Stop,
            }
        }
    }

    /// Reads the document again after `written` may have been stored, until the store answers.
    async fn reload(&mut self, written: &Job) -> Reloaded {
        let found = loop {
            match self.jobs.store().get(&written.id).await {
                Ok(Some(found)) => break found,
                Ok(None) => return Reloaded::Lost,
                Err(error) => {
                    tracing::debug!(job = %written.id, %error, "job not available");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        };
        if found.job.lease.is_some() && !found.job.is_leased_to(&self.replica) {
            tracing::info!(job = %written.id, "job is executed by another replica");
            return Reloaded::Lost;
        }
        let has_progress_of =
            |job: &Job| found.job.cursor == job.cursor && found.job.counts == job.counts;
        let reloaded = if has_progress_of(&self.stored.job) {
            Reloaded::Before
        } else if has_progress_of(written) {
            Reloaded::Written
        } else {
            return Reloaded::Lost;
        };
        self.stored = found;
        reloaded
    }
}

/// Applies a step to the document.
fn apply(job: &mut Job, step: &JobStep) {
    if job.cursor != step.cursor || !step.counts.is_empty() || step.is_done {
        job.progressed_ms = Some(clock::broker_now_ms());
    }
    job.cursor = step.cursor.clone();
    job.count(&step.counts);
    job.progress = step.progress.clamp(0.0, 1.0);
    job.reason = None;
    if step.is_done && job.state == JobState::Running {
        job.set_state(JobState::Done, clock::broker_now_ms());
    }
}

fn cut(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}
