//! Tests of jobs over a store in memory: states, bounds, steps, takeover.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::control::{ACTIVE_MAX, KEPT_MAX};
use super::testing::MemoryJobs;
use super::*;

/// Counts from 0 to `request.until`, and records each number that it hands over.
struct Counting {
    handed_over: Mutex<Vec<u64>>,
    /// Steps wait for a permit.
    permits: Semaphore,
    /// Whether steps can be done later only.
    waits: AtomicBool,
    released: Mutex<Vec<JobId>>,
}

impl Counting {
    fn new(permits: usize) -> Arc<Self> {
        let permits = Semaphore::new(permits);
        let (handed_over, waits, released) = Default::default();
        Arc::new(Self { handed_over, permits, waits, released })
    }

    fn numbers(&self) -> Vec<u64> {
        self.handed_over.lock().unwrap().clone()
    }
}

impl JobWork for Counting {
    fn kind(&self) -> JobKind {
        JobKind::Redrive
    }

    fn step<'a>(&'a self, job: &'a Job, max: u32) -> BoxFuture<'a, Result<JobStep, JobFailure>> {
        Box::pin(async move {
            self.permits.acquire().await.unwrap().forget();
            let until = job.request["until"].as_u64().unwrap();
            if job.request["fails"] == json!(true) {
                return Err(JobFailure::Never("no such thing".into()));
            }
            if self.waits.load(Relaxed) {
                return Err(JobFailure::Later("not now".into()));
            }
            let from = job.cursor.as_u64().unwrap_or(0);
            let to = until.min(from + u64::from(max));
            self.handed_over.lock().unwrap().extend(from..to);
            Ok(JobStep {
                cursor: json!(to),
                handed_over: u32::try_from(to - from).unwrap(),
                counts: JobCounts::from([("numbers".to_owned(), to - from)]),
                progress: 0.5,
                is_done: to == until,
            })
        })
    }

    fn release(&self, job: &JobId) {
        self.released.lock().unwrap().push(job.clone());
    }
}

/// A store that never confirms a write.
struct Unconfirming;

impl JobStore for Unconfirming {
    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredJob>, JobStoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn get<'a>(&'a self, _: &'a JobId) -> BoxFuture<'a, Result<Option<StoredJob>, JobStoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn create<'a>(&'a self, _: &'a Job) -> BoxFuture<'a, Result<u64, JobStoreError>> {
        Box::pin(async { Err(JobStoreError::Unavailable("scripted".into())) })
    }

    fn replace<'a>(&'a self, job: &'a Job, _: u64) -> BoxFuture<'a, Result<u64, JobStoreError>> {
        self.create(job)
    }

    fn delete<'a>(&'a self, _: &'a JobId) -> BoxFuture<'a, Result<(), JobStoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn outcomes<'a>(&'a self, _: &'a JobId) -> BoxFuture<'a, Result<JobCounts, JobStoreError>> {
        Box::pin(async { Ok(JobCounts::new()) })
    }
}

fn counting_to(until: u64) -> NewJob {
    NewJob {
        kind: JobKind::Redrive,
        rate: JobRate::new(1_000).unwrap(),
        request: json!({ "until": until }),
        plan: None,
    }
}

/// A replica that executes jobs until it is aborted, which is like a kill.
fn replica(jobs: &Arc<Jobs>, work: &Arc<Counting>) -> JoinHandle<()> {
    let work: Arc<dyn JobWork> = Arc::clone(work) as _;
    tokio::spawn(JobRunner::new(Arc::clone(jobs), vec![work]).run())
}

/// Waits for a condition in paused time.
async fn until(check: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition does not hold");
}

#[tokio::test(start_paused = true)]
async fn job_counts_every_entry_once_and_ends() {
    let (store, work) = (MemoryJobs::new(), Counting::new(usize::MAX >> 4));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let replicas = [replica(&jobs, &work), replica(&jobs, &work)];
    let job = jobs.create(counting_to(5)).await.unwrap();
    assert_eq!(job.state, JobState::Running);
    until(|| store.job(&job.id).state == JobState::Done).await;
    assert_eq!(work.numbers(), [0, 1, 2, 3, 4]);
    let ended = store.job(&job.id);
    assert_eq!((ended.counts["numbers"], ended.lease), (5, None));
    replicas.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn step_that_is_stored_without_confirmation_counts_once() {
    let (store, work) = (MemoryJobs::new(), Counting::new(0));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let run = replica(&jobs, &work);
    let job = jobs.create(counting_to(1)).await.unwrap();
    until(|| store.job(&job.id).lease.is_some()).await;
    store.leave_unconfirmed(1);
    work.permits.add_permits(1);
    until(|| store.job(&job.id).state == JobState::Done).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((work.numbers(), store.job(&job.id).counts["numbers"]), (vec![0], 1));
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn pause_stops_after_the_present_step_and_resume_continues_after_it() {
    let (store, work) = (MemoryJobs::new(), Counting::new(0));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let run = replica(&jobs, &work);
    let job = jobs.create(counting_to(3)).await.unwrap();
    until(|| store.job(&job.id).lease.is_some()).await;
    jobs.pause(JobKind::Redrive, &job.id).await.unwrap();
    work.permits.add_permits(100);
    until(|| !work.numbers().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let paused = store.job(&job.id);
    assert_eq!(
        (paused.state, paused.cursor, work.numbers().len()),
        (JobState::Paused, json!(1), 1)
    );
    jobs.resume(JobKind::Redrive, &job.id).await.unwrap();
    until(|| store.job(&job.id).state == JobState::Done).await;
    assert_eq!(work.numbers(), [0, 1, 2]);
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn cancelled_job_keeps_what_it_did_and_does_no_more() {
    let (store, work) = (MemoryJobs::new(), Counting::new(0));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let run = replica(&jobs, &work);
    let job = jobs.create(counting_to(3)).await.unwrap();
    until(|| store.job(&job.id).lease.is_some()).await;
    jobs.cancel(JobKind::Redrive, &job.id).await.unwrap();
    work.permits.add_permits(100);
    until(|| store.job(&job.id).counts.contains_key("numbers")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((store.job(&job.id).state, work.numbers().len()), (JobState::Cancelled, 1));
    let resumed = jobs.resume(JobKind::Redrive, &job.id).await;
    assert_eq!(resumed, Err(JobsError::WrongState(JobState::Cancelled)));
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn another_replica_takes_over_after_a_kill_and_leaves_nothing_out() {
    let (store, first, second) = (MemoryJobs::new(), Counting::new(2), Counting::new(1_000));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let killed = replica(&jobs, &first);
    let job = jobs.create(counting_to(60)).await.unwrap();
    until(|| first.permits.available_permits() == 0).await;
    killed.abort();
    let run = replica(&jobs, &second);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(second.numbers().is_empty(), "the lease of the killed replica is valid");
    store.expire_lease(&job.id);
    until(|| store.job(&job.id).state == JobState::Done).await;
    let mut numbers = [first.numbers(), second.numbers()].concat();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn replica_that_lost_its_lease_changes_nothing_any_more() {
    let (store, slow, other) = (MemoryJobs::new(), Counting::new(0), Counting::new(1));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let run = replica(&jobs, &slow);
    let job = jobs.create(counting_to(500)).await.unwrap();
    until(|| store.job(&job.id).lease.is_some()).await;
    // It does not run while its lease expires, as after SIGSTOP.
    store.expire_lease(&job.id);
    let second = replica(&jobs, &other);
    until(|| store.job(&job.id).cursor != Value::Null).await;
    let before = store.job(&job.id);
    slow.permits.add_permits(1);
    until(|| !slow.numbers().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = store.job(&job.id);
    assert_eq!((after.cursor, after.counts), (before.cursor, before.counts));
    [run, second].iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn job_that_can_never_be_done_fails_with_its_reason() {
    let (store, work) = (MemoryJobs::new(), Counting::new(10));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let run = replica(&jobs, &work);
    let request = json!({ "until": 1, "fails": true });
    let job = jobs.create(NewJob { request, ..counting_to(1) }).await.unwrap();
    until(|| store.job(&job.id).state == JobState::Failed).await;
    assert_eq!(store.job(&job.id).reason.as_deref(), Some("no such thing"));
    run.abort();
}

#[tokio::test]
async fn planned_job_is_not_executed_before_it_is_resumed() {
    let store = MemoryJobs::new();
    let jobs = Jobs::new(store.clone());
    let plan = Some(JobCounts::from([("matched".to_owned(), 7)]));
    let job = jobs.create(NewJob { plan, ..counting_to(1) }).await.unwrap();
    assert_eq!((job.state, job.counts["matched"]), (JobState::Planned, 7));
    assert!(!store.job(&job.id).is_free(i64::MAX));
    let kind = JobKind::Redrive;
    assert_eq!(jobs.pause(kind, &job.id).await, Err(JobsError::WrongState(JobState::Planned)));
    let resumed = jobs.resume(kind, &job.id).await.unwrap();
    assert_eq!((resumed.state, resumed.counts.len()), (JobState::Running, 0));
    assert_eq!(jobs.resume(kind, &job.id).await, Ok(resumed), "a repeated request is harmless");
    assert_eq!(jobs.get(JobKind::Replay, &job.id).await.err(), Some(JobsError::NotFound));
}

#[tokio::test]
async fn job_that_is_created_without_confirmation_is_created_once() {
    let store = MemoryJobs::new();
    let jobs = Jobs::new(store.clone());
    store.leave_unconfirmed(2);
    let job = jobs.create(counting_to(1)).await.unwrap();
    let all = jobs.list(JobKind::Redrive).await.unwrap();
    assert_eq!(all.iter().map(|one| &one.id).collect::<Vec<_>>(), [&job.id]);
    store.leave_unconfirmed(1);
    jobs.create(counting_to(1)).await.unwrap();
    assert_eq!(jobs.list(JobKind::Redrive).await.unwrap().len(), 2, "another one has another id");
}

#[tokio::test(start_paused = true)]
async fn job_is_refused_while_one_runs_that_overlaps() {
    let store = MemoryJobs::new();
    let jobs = Jobs::new(store.clone()).without_overlap(|one, other| one.request == other.request);
    let first = jobs.create(counting_to(1)).await.unwrap();
    let overlap = Err(JobsError::Overlap(first.id.clone()));
    assert_eq!(jobs.create(counting_to(1)).await, overlap);
    assert!(jobs.create(counting_to(2)).await.is_ok());
    let plan = Some(JobCounts::new());
    let planned = jobs.create(NewJob { plan, ..counting_to(1) }).await.unwrap();
    let kind = JobKind::Redrive;
    assert_eq!(jobs.resume(kind, &planned.id).await, overlap);
    jobs.pause(kind, &first.id).await.unwrap();
    jobs.resume(kind, &planned.id).await.unwrap();
    assert_eq!(jobs.resume(kind, &first.id).await, Err(JobsError::Overlap(planned.id.clone())));
    jobs.cancel(kind, &planned.id).await.unwrap();
    assert!(jobs.resume(kind, &first.id).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn jobs_of_one_moment_that_overlap_are_executed_one_after_the_other() {
    let (store, work) = (MemoryJobs::new(), Counting::new(0));
    // Two replicas whose requests did not see each other.
    let apart = Jobs::new(store.clone());
    let ids = [(); 2].map(|()| apart.create(counting_to(1)));
    let [first, second] = ids.map(|creating| creating.now_or_never().unwrap().unwrap().id);
    let jobs = Arc::new(Jobs::new(store.clone()).without_overlap(|_, _| true));
    let runs = [replica(&jobs, &work), replica(&jobs, &work)];
    let (older, newer) = (first.clone().min(second.clone()), first.max(second));
    until(|| store.job(&older).lease.is_some()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(store.job(&newer).lease.is_none());
    let reason = store.job(&newer).reason;
    assert!(reason.as_deref().is_some_and(|reason| reason.contains(older.as_str())), "{reason:?}");
    work.permits.add_permits(2);
    until(|| store.job(&newer).state == JobState::Done).await;
    assert_eq!(store.job(&older).state, JobState::Done);
    runs.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn job_that_was_just_leased_is_executed_whatever_happens_to_the_next_one() {
    let (store, work) = (MemoryJobs::new(), Counting::new(usize::MAX >> 4));
    let apart = Jobs::new(store.clone());
    let ids = [(); 2].map(|()| apart.create(counting_to(1)).now_or_never().unwrap().unwrap().id);
    let first = ids.iter().min().unwrap();
    let jobs = Arc::new(Jobs::new(store.clone()).without_overlap(|_, _| true));
    // The second one waits for the first; that it says so is not confirmed.
    store.leave_unconfirmed_after(1, 1);
    let run = replica(&jobs, &work);
    // The clock of leases is not that of the test: no lease expires.
    until(|| store.job(first).state == JobState::Done).await;
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn error_of_a_creation_that_is_never_confirmed_names_the_job() {
    let jobs = Jobs::new(Arc::new(Unconfirming));
    let Err(JobsError::InDoubt(text)) = jobs.create(counting_to(1)).await else {
        panic!("it is in doubt")
    };
    assert!(text.contains("job_") && text.contains("may have been created"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn waiting_is_no_progress_and_an_ended_job_is_released() {
    let (store, work) = (MemoryJobs::new(), Counting::new(0));
    let jobs = Arc::new(Jobs::new(store.clone()));
    let run = replica(&jobs, &work);
    let job = jobs.create(counting_to(1)).await.unwrap();
    until(|| store.job(&job.id).lease.is_some()).await;
    let started_ms = store.job(&job.id).progressed_ms;
    assert!(started_ms.is_some() && started_ms == store.job(&job.id).started_ms);
    work.waits.store(true, Relaxed);
    work.permits.add_permits(3);
    until(|| store.job(&job.id).reason.is_some()).await;
    assert_eq!(store.job(&job.id).progressed_ms, started_ms);
    work.waits.store(false, Relaxed);
    work.permits.add_permits(10);
    until(|| store.job(&job.id).state == JobState::Done).await;
    until(|| *work.released.lock().unwrap() == [job.id.clone()]).await;
    run.abort();
}

#[tokio::test]
async fn number_of_jobs_is_bounded() {
    let jobs = Jobs::new(MemoryJobs::new());
    let mut last = None;
    for _ in 0..ACTIVE_MAX {
        last = Some(jobs.create(counting_to(1)).await.unwrap());
    }
    assert_eq!(jobs.create(counting_to(1)).await, Err(JobsError::Full));
    let plan = || NewJob { plan: Some(JobCounts::new()), ..counting_to(1) };
    for _ in 0..KEPT_MAX {
        jobs.create(plan()).await.unwrap();
    }
    let all = jobs.list(JobKind::Redrive).await.unwrap();
    assert_eq!(all.len(), KEPT_MAX);
    let active = all.iter().filter(|job| job.state.is_active()).count();
    assert_eq!(active, ACTIVE_MAX, "only jobs that do not run are deleted");
    assert!(all.is_sorted_by(|a, b| a.id >= b.id), "newest first");
    jobs.cancel(JobKind::Redrive, &last.unwrap().id).await.unwrap();
    assert!(jobs.create(counting_to(1)).await.is_ok());
}

#[test]
fn document_of_a_job_is_a_stored_format() {
    let text = json!({
        "v": 1, "id": "job_1", "kind": "redrive", "state": "running", "rate": 50,
        "request": {"query": {}}, "cursor": 7, "counts": {"parked": 3}, "progress": 0.25,
        "created_ms": 1_000, "started_ms": 1_000, "updated_ms": 3_000,
        "lease": {"replica": "r", "until_ms": 9}, "of_a_later_release": [1],
    });
    let job: Job = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&job).unwrap(), text);
    assert_eq!(job.eta_s(), Some(6));
    assert!(job.is_free(9) && !job.is_free(8) && job.is_leased_to("r"));
    let later = Job { version: 2, ..job };
    assert!(!later.is_free(9), "a later format is left to later releases");
}

#[test]
fn id_of_a_job_sorts_by_time_and_is_one_token() {
    let ids = [JobId::new(9, 7), JobId::new(10, 0), JobId::new(1_764_489_000_000, u32::MAX)];
    assert!(ids.is_sorted());
    for id in &ids {
        assert_eq!(JobId::parse(id.as_str()).as_ref(), Some(id));
    }
    for bad in ["", "job_", "job_A", "job_a.b", "job_>", "dlv_1", &format!("job_{:040}", 1)] {
        assert_eq!(JobId::parse(bad), None, "{bad}");
    }
}

#[test]
fn rate_has_bounds() {
    assert_eq!(JobRate::default().per_second(), 50);
    assert!(JobRate::new(1).is_ok() && JobRate::new(1_000).is_ok());
    assert_eq!((JobRate::new(0), JobRate::new(1_001)), (Err(BadRate), Err(BadRate)));
}

#[test]
fn part_of_a_way_is_between_its_ends() {
    let parts = [(5, 5, 5), (0, 0, 4), (0, 1, 4), (10, 14, 14)]
        .map(|(start, now, end)| part(start, now, end));
    assert_eq!(parts.map(|part| format!("{part}")), ["1", "0", "0.25", "1"]);
}
