//! Jobs as operators see them: created, listed, paused, resumed, cancelled; bounded in number.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::Notify;

use super::document::{Job, JobCounts, JobId, JobKind, JobRate, JobState, VERSION};
use super::store::{JobStore, JobStoreError, StoredJob};
use crate::clock;

/// Jobs that run or are paused at once, of all kinds. Requests at the same moment may exceed it by
/// as many as there are replicas.
pub(super) const ACTIVE_MAX: usize = 16;
/// Documents that are kept; beyond it the oldest ended or planned job is deleted.
pub(super) const KEPT_MAX: usize = 100;
/// How long an ended or planned job is kept, in milliseconds.
pub(super) const KEPT_MS: i64 = 7 * 24 * 3600 * 1000;
/// Attempts to store a new document that is not confirmed.
const CREATE_ATTEMPTS_MAX: u32 = 3;
/// Pause between them.
const CREATE_PAUSE: Duration = Duration::from_millis(200);
/// Attempts of a change while others change the document.
const ATTEMPTS_MAX: u32 = 20;

/// Whether two jobs must not run at the same time.
pub type DoOverlap = fn(&Job, &Job) -> bool;

/// Creates and changes jobs.
pub struct Jobs {
    store: Arc<dyn JobStore>,
    do_overlap: DoOverlap,
    /// Wakes the runner of this replica.
    pub(super) wake: Notify,
}

/// A job to create.
#[derive(Clone, PartialEq, Debug)]
pub struct NewJob {
    /// What it does.
    pub kind: JobKind,
    /// Entries per second.
    pub rate: JobRate,
    /// What to do, as its kind defines it.
    pub request: Value,
    /// What a dry run counted; such a job is planned, not started.
    pub plan: Option<JobCounts>,
}

/// A job with what became of what it handed over.
#[derive(Clone, PartialEq, Debug)]
pub struct JobStatus {
    /// The document.
    pub job: Job,
    /// Outcomes, see [`JobStore::outcomes`].
    pub outcomes: JobCounts,
}

/// Why a job is not created or changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum JobsError {
    /// There is no such job of this kind.
    #[error("there is no such job")]
    NotFound,
    /// As many jobs are active as may be.
    #[error("{ACTIVE_MAX} jobs run or are paused, as many as may be at once")]
    Full,
    /// A job that runs would do the same.
    #[error("{0} runs and does the same: wait until it ends, or cancel it")]
    Overlap(JobId),
    /// The job has a state that does not permit the change.
    #[error("the job is {}", .0.as_str())]
    WrongState(JobState),
    /// The store does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The store did not confirm a creation: the job, which the text names, may exist.
    #[error("{0}")]
    InDoubt(String),
}

impl From<JobStoreError> for JobsError {
    fn from(error: JobStoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl Jobs {
    /// Keeps jobs in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn JobStore>) -> Self {
        Self { store, do_overlap: |_, _| false, wake: Notify::new() }
    }

    /// Runs no two jobs at the same time that overlap.
    #[must_use]
    pub fn without_overlap(self, do_overlap: DoOverlap) -> Self {
        Self { do_overlap, ..self }
    }

    /// Returns the running job among `stored` that overlaps with `job` and goes first. Requests of the
    /// same moment may start two: one that is executed goes first, or else the older one.
    pub(super) fn goes_first<'a>(
        &self,
        job: &Job,
        stored: &'a [StoredJob],
        now_ms: i64,
    ) -> Option<&'a JobId> {
        let is_executed =
            |other: &Job| other.lease.as_ref().is_some_and(|lease| lease.until_ms > now_ms);
        let running = stored.iter().map(|one| &one.job).filter(|other| {
            other.id != job.id
                && other.state == JobState::Running
                && (is_executed(other) || other.id < job.id)
        });
        running.filter(|other| (self.do_overlap)(job, other)).map(|other| &other.id).next()
    }

    pub(super) fn store(&self) -> &dyn JobStore {
        &*self.store
    }

    /// Creates a job; any replica executes it, this one at once if it can. With a plan, the job
    /// waits until it is resumed, and the counts of its plan are those of its document until then.
    ///
    /// # Errors
    /// Too many jobs are active, or the store does not answer.
    pub async fn create(&self, new: NewJob) -> Result<Job, JobsError> {
        self.create_private(new, Value::Null).await
    }

    /// As [`Jobs::create`], with what the document keeps only until the job ends.
    ///
    /// # Errors
    /// See [`Jobs::create`].
    pub async fn create_private(&self, new: NewJob, private: Value) -> Result<Job, JobsError> {
        let now_ms = clock::broker_now_ms();
        let mut job = Job {
            version: VERSION,
            id: JobId::new(now_ms, random_bits()),
            kind: new.kind,
            state: JobState::Planned,
            rate: new.rate,
            request: new.request,
            private,
            cursor: Value::Null,
            counts: JobCounts::new(),
            progress: 0.0,
            created_ms: now_ms,
            started_ms: None,
            updated_ms: now_ms,
            progressed_ms: None,
            reason: None,
            lease: None,
            other: serde_json::Map::new(),
        };
        match new.plan {
            Some(counts) => job.counts = counts,
            None => job.set_state(JobState::Running, now_ms),
        }
        self.make_room(&job, now_ms).await?;
        self.store_new(&mut job).await?;
        self.wake.notify_one();
        Ok(job)
    }

    /// Stores a new document. One that was stored without confirmation is found again, so that a caller who
    /// gets an error has no job, unless that is [`JobsError::InDoubt`].
    async fn store_new(&self, job: &mut Job) -> Result<(), JobsError> {
        let mut may_be_stored = false;
        for attempt in 1.. {
            match self.store.create(job).await {
                Ok(_) => break,
                Err(JobStoreError::Conflict) if may_be_stored => match self.is_stored(job).await {
                    Ok(true) => break,
                    Ok(false) => {
                        job.id = JobId::new(job.created_ms, random_bits());
                        may_be_stored = false;
                    }
                    Err(error) => return Err(in_doubt(job, &error.to_string())),
                },
                // Two jobs of one moment drew the same id.
                Err(JobStoreError::Conflict) if attempt < ATTEMPTS_MAX => {
                    job.id = JobId::new(job.created_ms, random_bits());
                    may_be_stored = false;
                }
                Err(JobStoreError::Unavailable(reason)) if attempt < CREATE_ATTEMPTS_MAX => {
                    tracing::debug!(job = %job.id, reason, "creation of a job is not confirmed yet");
                    may_be_stored = true;
                    tokio::time::sleep(CREATE_PAUSE).await;
                }
                Err(JobStoreError::Unavailable(reason)) => return Err(in_doubt(job, &reason)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether the stored document is the one of `job`, which a replica may execute already.
    async fn is_stored(&self, job: &Job) -> Result<bool, JobsError> {
        let found = self.store.get(&job.id).await?.map(|stored| stored.job);
        Ok(found.is_some_and(|found| found.kind == job.kind && found.request == job.request))
    }

    /// Returns the jobs of a kind, newest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self, kind: JobKind) -> Result<Vec<Job>, JobsError> {
        let stored = self.store.list().await?;
        let mut jobs: Vec<Job> =
            stored.into_iter().map(|one| one.job).filter(|job| job.kind == kind).collect();
        jobs.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(jobs)
    }

    /// Returns a job of a kind with its outcomes.
    ///
    /// # Errors
    /// There is none, or the store does not answer.
    pub async fn get(&self, kind: JobKind, id: &JobId) -> Result<JobStatus, JobsError> {
        let stored = self.find(kind, id).await?;
        Ok(JobStatus { outcomes: self.store.outcomes(id).await?, job: stored.job })
    }

    /// Stops a job after its present step.
    ///
    /// # Errors
    /// See [`JobsError`].
    pub async fn pause(&self, kind: JobKind, id: &JobId) -> Result<Job, JobsError> {
        self.change(kind, id, JobState::Paused).await
    }

    /// Continues a paused job, or starts a planned one.
    ///
    /// # Errors
    /// See [`JobsError`].
    pub async fn resume(&self, kind: JobKind, id: &JobId) -> Result<Job, JobsError> {
        let job = self.change(kind, id, JobState::Running).await?;
        self.wake.notify_one();
        Ok(job)
    }

    /// Ends a job after its present step. What it handed over is attempted nevertheless.
    ///
    /// # Errors
    /// See [`JobsError`].
    pub async fn cancel(&self, kind: JobKind, id: &JobId) -> Result<Job, JobsError> {
        self.change(kind, id, JobState::Cancelled).await
    }

    async fn find(&self, kind: JobKind, id: &JobId) -> Result<StoredJob, JobsError> {
        let stored = self.store.get(id).await?;
        stored.filter(|stored| stored.job.kind == kind).ok_or(JobsError::NotFound)
    }

    async fn change(&self, kind: JobKind, id: &JobId, next: JobState) -> Result<Job, JobsError> {
        for attempt in 1.. {
            let StoredJob { mut job, revision } = self.find(kind, id).await?;
            let state = job.state;
            if !state.may_become(next) {
                return Err(JobsError::WrongState(state));
            }
            if state == next {
                return Ok(job);
            }
            let now_ms = clock::broker_now_ms();
            job.set_state(next, now_ms);
            if next == JobState::Running {
                self.make_room(&job, now_ms).await?;
            }
            if state == JobState::Planned && next == JobState::Running {
                // From now on its steps count.
                job.counts.clear();
            }
            match self.store.replace(&job, revision).await {
                Ok(_) => return Ok(job),
                Err(JobStoreError::Conflict) if attempt < ATTEMPTS_MAX => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(JobsError::Unavailable("the document changes all the time".into()))
    }

    /// Deletes documents beyond the bounds; fails if `job` may not be active now.
    async fn make_room(&self, job: &Job, now_ms: i64) -> Result<(), JobsError> {
        let mut stored = self.store.list().await?;
        stored.retain(|one| one.job.id != job.id);
        if job.state.is_active() {
            // One that is created or resumed now goes last.
            let running = stored.iter().map(|one| &one.job);
            let mut running = running.filter(|other| other.state == JobState::Running);
            if let Some(other) = running.find(|other| (self.do_overlap)(job, other)) {
                return Err(JobsError::Overlap(other.id.clone()));
            }
            if stored.iter().filter(|one| one.job.state.is_active()).count() >= ACTIVE_MAX {
                return Err(JobsError::Full);
            }
        }
        self.delete_old(stored, KEPT_MAX - 1, now_ms).await
    }

    /// Deletes the jobs that do not run if they are too old or too many.
    pub(super) async fn delete_old(
        &self,
        mut stored: Vec<StoredJob>,
        kept_max: usize,
        now_ms: i64,
    ) -> Result<(), JobsError> {
        stored.sort_by(|a, b| b.job.id.cmp(&a.job.id));
        let mut kept = stored.iter().filter(|one| one.job.state.is_active()).count();
        for StoredJob { job, .. } in stored.iter().filter(|one| !one.job.state.is_active()) {
            let is_old = now_ms.saturating_sub(job.updated_ms) > KEPT_MS;
            if is_old || kept >= kept_max {
                self.store.delete(&job.id).await?;
            } else {
                kept += 1;
            }
        }
        Ok(())
    }
}

fn in_doubt(job: &Job, reason: &str) -> JobsError {
    let (id, note) = (&job.id, "may have been created: list the jobs before you send it again");
    JobsError::InDoubt(format!("{reason}; {id} {note}"))
}

fn random_bits() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}
