//! For how long running jobs have made no progress, as a gauge of each replica.

use std::collections::BTreeMap;

use metrics::gauge;

use super::document::{Job, JobKind, JobState};

/// The job of each kind that made no progress for longest, as the store showed it last. While the store
/// does not answer, its age grows.
#[derive(Debug, Default)]
pub(super) struct ProgressWatch {
    /// When that job made progress, in milliseconds of the broker's clock.
    oldest_ms: BTreeMap<&'static str, i64>,
}

impl ProgressWatch {
    /// Takes the documents as the store has them now.
    pub(super) fn take<'a>(&mut self, jobs: impl Iterator<Item = &'a Job>) {
        self.oldest_ms.clear();
        for job in jobs.filter(|job| job.state == JobState::Running) {
            let progressed_ms = job.progressed_ms.or(job.started_ms).unwrap_or(job.created_ms);
            let oldest_ms = self.oldest_ms.entry(job.kind.as_str()).or_insert(progressed_ms);
            *oldest_ms = progressed_ms.min(*oldest_ms);
        }
    }

    /// Returns the age of the last progress of a kind at `now_ms`, in seconds; 0 if no job of it runs.
    fn age_s(&self, kind: JobKind, now_ms: i64) -> f64 {
        let oldest_ms = self.oldest_ms.get(kind.as_str());
        let age_ms = oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(*oldest_ms).max(0));
        std::time::Duration::from_millis(age_ms.unsigned_abs()).as_secs_f64()
    }

    /// Sets the gauges.
    pub(super) fn publish(&self, now_ms: i64) {
        for kind in JobKind::ALL {
            let age_s = self.age_s(kind, now_ms);
            gauge!("switchyard_job_progress_age_seconds", "kind" => kind.as_str()).set(age_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::jobs::testing::{MemoryJobs, job_of};

    #[tokio::test]
    async fn age_is_that_of_the_job_that_is_stuck_for_longest_and_grows_without_the_store() {
        let store = MemoryJobs::new();
        let job = async |state, progressed_ms| Job {
            state,
            progressed_ms,
            ..job_of(&store, JobKind::Replay).await
        };
        let jobs = [
            job(JobState::Running, Some(9_000)).await,
            job(JobState::Running, Some(4_000)).await,
            job(JobState::Paused, Some(1_000)).await,
            job(JobState::Done, Some(1_000)).await,
        ];
        let mut watch = ProgressWatch::default();
        watch.take(jobs.iter());
        let age_s = |watch: &ProgressWatch, kind, now_ms| format!("{}", watch.age_s(kind, now_ms));
        assert_eq!(age_s(&watch, JobKind::Replay, 10_000), "6");
        assert_eq!(age_s(&watch, JobKind::Redrive, 10_000), "0");
        assert_eq!(age_s(&watch, JobKind::Replay, 70_500), "66.5");
        watch.take(jobs[2..].iter());
        assert_eq!(age_s(&watch, JobKind::Replay, 70_000), "0", "no job runs");
    }
}
