//! The slow lane: evaluations that take too long for a thread of the runtime, on a thread of their
//! own with a low priority.
//!
//! Events wait here in fair turns of their owners: a site for an event that was examined in part, an
//! installation for a postponed one.
//!
//! Design: `docs/design/evaluation-share.md`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use metrics::{counter, gauge};
use tokio::sync::oneshot;

use crate::domain::FairTurns;
use crate::matcher::lower_priority;

/// Steps of one turn: some five milliseconds.
const QUANTUM: u64 = 1_000_000;
/// Cost of an evaluation in addition to its steps.
const STEPS_MIN: u64 = 10_000;
/// Postponed events that may wait here; further ones are postponed again. They hold memory of the
/// limit on parked deliveries in flight, which others need.
const WAITING_MAX: usize = 256;
/// Those of one installation.
const OWNER_WAITING_MAX: usize = 32;
/// From this number on, evaluations count as more than the machine can do.
const CONTENDED_MIN: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// Runs evaluations one after the other. Its thread starts with the first one and ends when the lane
/// is dropped.
pub(super) struct SlowLane {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: FairTurns<Job>,
    is_started: bool,
    is_closed: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { waiting: FairTurns::new(QUANTUM), is_started: false, is_closed: false }
    }
}

impl SlowLane {
    /// Creates a lane without a thread.
    pub(super) fn new() -> Self {
        Self { queue: Arc::default() }
    }

    /// Whether no more postponed events of this installation may wait here.
    pub(super) fn is_full_for(&self, installation: &str) -> bool {
        let waiting = &self.queue.lock().waiting;
        let own = waiting.len_of(waiting.owner(installation));
        own >= OWNER_WAITING_MAX || waiting.len() >= WAITING_MAX
    }

    /// Whether more waits than the lane can do soon.
    pub(super) fn is_contended(&self) -> bool {
        self.queue.lock().waiting.len() >= CONTENDED_MIN
    }

    /// Runs an evaluation of about `steps` steps when it is the turn of `owner`, and returns its
    /// result. Dropping the future leaves the evaluation to run for nothing.
    ///
    /// # Panics
    /// The evaluation panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        owner: &str,
        steps: u64,
        evaluate: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (sender, result) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let job = Box::new(move || {
            // An event that was dropped does not wait for the result.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(evaluate)));
        });
        counter!("switchyard_slow_evaluations_total").increment(1);
        self.push(owner, steps, job);
        match result.await {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => resume_unwind(panic),
            // The lane is dropped after the tasks that wait for it.
            Err(_) => std::future::pending().await,
        }
    }

    fn push(&self, owner: &str, steps: u64, job: Job) {
        let mut state = self.queue.lock();
        if !state.is_started {
            state.is_started = true;
            let queue = Arc::clone(&self.queue);
            let thread = std::thread::Builder::new().name("slow-lane".into());
            if let Err(error) = thread.spawn(move || queue.work()) {
                // The next evaluation tries again. This one runs here, late but right.
                state.is_started = false;
                drop(state);
                tracing::error!(%error, "thread of the slow lane not started");
                job();
                return;
            }
        }
        let owner = state.waiting.owner(owner);
        state.waiting.push(owner, steps.saturating_add(STEPS_MIN), job);
        count(&state);
        self.queue.changed.notify_one();
    }
}

impl Drop for SlowLane {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs jobs until the lane is dropped.
    fn work(&self) {
        lower_priority("slow-lane");
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(job) = state.waiting.pop() {
                count(&state);
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn count(state: &State) {
    let waiting = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
    gauge!("switchyard_slow_lane_waiting").set(waiting);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn owners_take_turns() {
        let lane = Arc::new(SlowLane::new());
        let (go, held) = mpsc::channel::<()>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = Arc::clone(&lane);
        let blocked = tokio::spawn(async move { first.run("first", 0, move || held.recv()).await });
        while !lane.queue.lock().waiting.is_empty() || !lane.queue.lock().is_started {
            tokio::task::yield_now().await;
        }
        let mut all = Vec::new();
        for (at, owner) in ["flood", "flood", "flood", "quiet"].into_iter().enumerate() {
            let (waits, noted) = (Arc::clone(&lane), Arc::clone(&order));
            all.push(tokio::spawn(async move {
                let note = move || noted.lock().unwrap().push(owner);
                waits.run(owner, QUANTUM, note).await;
            }));
            while lane.queue.lock().waiting.len() <= at {
                tokio::task::yield_now().await;
            }
        }
        go.send(()).unwrap();
        blocked.await.unwrap().unwrap();
        for one in all {
            one.await.unwrap();
        }
        let order = order.lock().unwrap().clone();
        let quiet = order.iter().position(|one| *one == "quiet").unwrap();
        assert!(quiet <= 1, "{order:?}");
    }

    #[tokio::test]
    async fn panic_of_an_evaluation_is_that_of_its_event() {
        let lane = Arc::new(SlowLane::new());
        let panics = Arc::clone(&lane);
        let panicked = tokio::spawn(async move {
            panics.run("one", 0, || -> u8 { panic!("a defect") }).await;
        });
        assert!(panicked.await.unwrap_err().is_panic());
        assert_eq!(lane.run("one", 0, || 7).await, 7, "the lane goes on");
    }
}
