//! How busy the workers are: whether others wait while one installation evaluates.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::poll;

use super::slow_lane::SlowLane;
use crate::clock;
use crate::matcher::EvaluationShares;

/// Interval of the readings.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long after an event the next one is expected.
const FLOW_MEMORY: Duration = Duration::from_secs(2);
/// Part of the time that a worker waits for events; below it, events wait for the worker.
const IDLE_MIN: f64 = 0.5;

/// The time that each worker waited for events.
pub(super) struct WorkerLoads {
    started: Instant,
    workers: Vec<WorkerLoad>,
}

/// One worker. Written by that worker alone.
#[derive(Default)]
struct WorkerLoad {
    /// Times that it asked for an event.
    asked: AtomicU64,
    idle_us: AtomicU64,
    /// Since when it waits, in microseconds plus one; 0 while it works.
    waits_since_us: AtomicU64,
}

impl WorkerLoads {
    /// Creates the loads of this many workers.
    pub(super) fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| WorkerLoad::default()).collect();
        Self { started: clock::tick(), workers }
    }

    /// Measures how long a worker waits for its next event, which is `next`. An event that is there
    /// already costs nothing.
    pub(super) async fn waiting<T>(&self, worker: usize, next: impl Future<Output = T>) -> T {
        if let Some(worker) = self.workers.get(worker) {
            worker.asked.store(worker.asked.load(Relaxed) + 1, Relaxed);
        }
        let mut next = pin!(next);
        if let Poll::Ready(event) = poll!(&mut next) {
            return event;
        }
        let Some(worker) = self.workers.get(worker) else { return next.await };
        let since_us = self.now_us();
        worker.waits_since_us.store(since_us + 1, Relaxed);
        let event = next.await;
        let waited_us = self.now_us().saturating_sub(since_us);
        worker.waits_since_us.store(0, Relaxed);
        worker.idle_us.store(worker.idle_us.load(Relaxed) + waited_us, Relaxed);
        event
    }

    /// Reports several times a second whether events flow and whether others wait, until the future is dropped.
    pub(super) async fn watch(&self, shares: &EvaluationShares, lane: &SlowLane) {
        let mut before: Vec<u64> = self.workers.iter().map(|_| 0).collect();
        let mut read = self.started;
        let (mut asked_before, mut flowed) = (self.asked(), None);
        loop {
            tokio::time::sleep(INTERVAL).await;
            let took = clock::since(read);
            read = clock::tick();
            let now_us = self.now_us();
            let mut is_busy = false;
            for (worker, before_us) in self.workers.iter().zip(&mut before) {
                let idle_us = worker.idle_us(now_us);
                let idle = Duration::from_micros(idle_us.saturating_sub(*before_us));
                is_busy |= idle.as_secs_f64() < took.as_secs_f64() * IDLE_MIN;
                *before_us = idle_us;
            }
            let asked = self.asked();
            if asked != std::mem::replace(&mut asked_before, asked) {
                flowed = Some(read);
            }
            let flows = flowed.is_some_and(|flowed| clock::since(flowed) < FLOW_MEMORY);
            shares.tick(is_busy || lane.is_contended(), flows);
        }
    }

    /// Times that workers asked for an event: a worker that got one asks for the next.
    fn asked(&self) -> u64 {
        self.workers.iter().map(|worker| worker.asked.load(Relaxed)).sum()
    }

    fn now_us(&self) -> u64 {
        u64::try_from(clock::since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

impl WorkerLoad {
    /// The time that it waited until now.
    fn idle_us(&self, now_us: u64) -> u64 {
        let waits = match self.waits_since_us.load(Relaxed) {
            0 => 0,
            since_us => now_us.saturating_sub(since_us - 1),
        };
        self.idle_us.load(Relaxed) + waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_wait_that_has_not_ended_counts() {
        let load = WorkerLoad::default();
        load.waits_since_us.store(1_001, Relaxed);
        assert_eq!(load.idle_us(5_000), 4_000);
        load.waits_since_us.store(0, Relaxed);
        load.idle_us.store(7, Relaxed);
        assert_eq!(load.idle_us(5_000), 7);
    }
}
