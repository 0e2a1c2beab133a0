//! Jobs as operators see them: created, listed, paused, resumed, cancelled; bounded in number.

use std::sync::Arc;

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
/// Attempts of a change while others change the document.
const ATTEMPTS_MAX: u32 = 20;

/// Creates and changes jobs.
pub struct Jobs {
    store: Arc<dyn JobStore>,
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
    /// The job has a state that does not permit the change.
    #[error("the job is {}", .0.as_str())]
    WrongState(JobState),
    /// The store does not answer.
    #[error("{0}")]
    Unavailable(String),
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
        Self { store, wake: Notify::new() }
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
        self.make_room(now_ms, new.plan.is_none()).await?;
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
            reason: None,
            lease: None,
            other: serde_json::Map::new(),
        };
        match new.plan {
            Some(counts) => job.counts = counts,
            None => job.set_state(JobState::Running, now_ms),
        }
        for attempt in 1.. {
            match self.store.create(&job).await {
                Ok(_) => break,
                // Two jobs of one moment drew the same id.
                Err(JobStoreError::Conflict) if attempt < ATTEMPTS_MAX => {
                    job.id = JobId::new(now_ms, random_bits());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.wake.notify_one();
        Ok(job)
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
            if state == JobState::Planned && next == JobState::Running {
                self.make_room(now_ms, true).await?;
                // From now on its steps count.
                job.counts.clear();
            }
            job.set_state(next, now_ms);
            match self.store.replace(&job, revision).await {
                Ok(_) => return Ok(job),
                Err(JobStoreError::Conflict) if attempt < ATTEMPTS_MAX => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(JobsError::Unavailable("the document changes all the time".into()))
    }

    /// Deletes documents beyond the bounds; fails if no further job may be active.
    async fn make_room(&self, now_ms: i64, will_be_active: bool) -> Result<(), JobsError> {
        let stored = self.store.list().await?;
        let active = stored.iter().filter(|one| one.job.state.is_active()).count();
        if will_be_active && active >= ACTIVE_MAX {
            return Err(JobsError::Full);
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

fn random_bits() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}
