//! Test double of the store of jobs: compare-and-set over a map, with scripted failures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use super::control::{Jobs, NewJob};
use super::document::{Job, JobCounts, JobId, JobKind, JobRate};
use super::store::{JobStore, JobStoreError, StoredJob};

/// A store in memory.
#[derive(Default)]
pub(crate) struct MemoryJobs {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, StoredJob>,
    revision: u64,
    /// Writes that are stored and not confirmed.
    unconfirmed: u32,
    /// Writes before those.
    confirmed: u32,
}

/// Creates a job of a kind.
pub(crate) async fn job_of(store: &Arc<MemoryJobs>, kind: JobKind) -> Job {
    let request = serde_json::json!({});
    let new = NewJob { kind, rate: JobRate::default(), request, plan: None };
    Jobs::new(Arc::clone(store) as _).create(new).await.unwrap()
}

impl MemoryJobs {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Stores the next `writes` writes without confirming them.
    pub(crate) fn leave_unconfirmed(&self, writes: u32) {
        self.state.lock().unwrap().unconfirmed = writes;
    }

    /// As [`MemoryJobs::leave_unconfirmed`], after `confirmed` more writes.
    pub(crate) fn leave_unconfirmed_after(&self, confirmed: u32, writes: u32) {
        let mut state = self.state.lock().unwrap();
        (state.confirmed, state.unconfirmed) = (confirmed, writes);
    }

    /// Lets the lease of a job expire, as that of a killed replica does.
    pub(crate) fn expire_lease(&self, id: &JobId) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let revision = state.revision;
        let stored = state.jobs.get_mut(id).unwrap();
        stored.job.lease.as_mut().unwrap().until_ms = 0;
        stored.revision = revision;
    }

    pub(crate) fn job(&self, id: &JobId) -> Job {
        self.state.lock().unwrap().jobs[id].job.clone()
    }

    fn write(&self, job: &Job, expected: u64) -> Result<u64, JobStoreError> {
        let mut state = self.state.lock().unwrap();
        if state.jobs.get(&job.id).map_or(0, |stored| stored.revision) != expected {
            return Err(JobStoreError::Conflict);
        }
        state.revision += 1;
        let revision = state.revision;
        state.jobs.insert(job.id.clone(), StoredJob { job: job.clone(), revision });
        if state.confirmed > 0 {
            state.confirmed -= 1;
        } else if state.unconfirmed > 0 {
            state.unconfirmed -= 1;
            return Err(JobStoreError::Unavailable("scripted".into()));
        }
        Ok(revision)
    }
}

impl JobStore for MemoryJobs {
    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredJob>, JobStoreError>> {
        let all = self.state.lock().unwrap().jobs.values().cloned().collect();
        Box::pin(async { Ok(all) })
    }

    fn get<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<StoredJob>, JobStoreError>> {
        let found = self.state.lock().unwrap().jobs.get(id).cloned();
        Box::pin(async { Ok(found) })
    }

    fn create<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<u64, JobStoreError>> {
        Box::pin(async { self.write(job, 0) })
    }

    fn replace<'a>(
        &'a self,
        job: &'a Job,
        revision: u64,
    ) -> BoxFuture<'a, Result<u64, JobStoreError>> {
        Box::pin(async move { self.write(job, revision) })
    }

    fn delete<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<(), JobStoreError>> {
        self.state.lock().unwrap().jobs.remove(id);
        Box::pin(async { Ok(()) })
    }

    fn outcomes<'a>(&'a self, _: &'a JobId) -> BoxFuture<'a, Result<JobCounts, JobStoreError>> {
        Box::pin(async { Ok(JobCounts::new()) })
    }
}
