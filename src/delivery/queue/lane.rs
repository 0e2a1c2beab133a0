//! Lane: bounded concurrency and a bounded queue of one endpoint.
//!
//! The queue bound follows the endpoint's speed: a burst for a quick endpoint drains from memory,
//! and what a slow endpoint cannot process in time is parked at once.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::backlog::Backlog;
use super::breaker::{Breaker, BreakerState};
use super::latency::{AverageDuration, MinLatencyWindow, micros};
use super::permits::{AdmissionError, Permit};
use crate::clock;

/// Assumed duration of an attempt before one was measured.
const ATTEMPT_GUESS: Duration = Duration::from_millis(100);
/// A lane that started no attempt for this long is slower than measured. A shorter pause may be a
/// hiccup of the machine and is no reason to park waiting deliveries.
const STALL_MIN: Duration = Duration::from_millis(250);
/// A lane that is unused for this long is evicted.
const IDLE_MS_MAX: i64 = 60_000;
/// A lane whose breaker is not closed is kept for this much longer.
const IDLE_OPEN_MS_MAX: i64 = 60 * 60_000;

/// Bounds of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLimits {
    /// Concurrent attempts.
    pub(super) concurrency: usize,
    /// Deliveries that wait in memory.
    pub(super) waiting_max: usize,
}

/// Bounded concurrency and bounded queue of one endpoint. `C` is its connection.
#[derive(Debug)]
pub(crate) struct Lane<C> {
    permits: Semaphore,
    limits: LaneLimits,
    waiting: AtomicUsize,
    average: AverageDuration,
    min_latency: MinLatencyWindow,
    created: Instant,
    /// When the last attempt started, microseconds since `created`.
    last_start_us: AtomicU64,
    backlog: Backlog,
    used_ms: AtomicI64,
    breaker: Breaker,
    connection: C,
}

impl<C> Lane<C> {
    /// Creates a lane that made no attempt yet.
    pub(super) fn new(limits: LaneLimits, connection: C) -> Self {
        Self {
            permits: Semaphore::new(limits.concurrency),
            limits,
            waiting: AtomicUsize::new(0),
            average: AverageDuration::default(),
            min_latency: MinLatencyWindow::default(),
            created: clock::tick(),
            last_start_us: AtomicU64::new(0),
            backlog: Backlog::default(),
            used_ms: AtomicI64::new(0),
            breaker: Breaker::default(),
            connection,
        }
    }

    /// Returns the connection of this lane.
    #[must_use]
    pub(crate) fn connection(&self) -> &C {
        &self.connection
    }

    /// Returns the circuit breaker of this lane.
    #[must_use]
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Records how long an attempt took.
    pub(crate) fn record_attempt(&self, took: Duration) {
        let took_us = micros(took).max(1);
        self.average.record(took_us);
        self.min_latency.record(took_us);
    }

    /// Returns when a delivery that finds the queue full is due: after the backlog parked before
    /// it, at the throughput of this lane. `random` is a number from 0.0 to 1.0.
    #[must_use]
    pub(crate) fn backlog_due(&self, now: Timestamp, random: f64) -> Timestamp {
        let attempt_us = self.average.average_us().unwrap_or_else(|| micros(ATTEMPT_GUESS));
        self.backlog.append(now, attempt_us / self.concurrency(), random)
    }

    /// Waits at most `queue_timeout` for a permit of this lane and of the router.
    pub(super) async fn acquire<'a>(
        &'a self,
        router: &'a Semaphore,
        queue_timeout: Duration,
    ) -> Result<Permit<'a>, AdmissionError> {
        let permit = match Permit::try_acquire(&self.permits, router) {
            Some(permit) => permit,
            None => {
                let _slot = self.queue(queue_timeout).ok_or(AdmissionError::Full)?;
                Permit::acquire(&self.permits, router, queue_timeout).await?
            }
        };
        self.last_start_us.store(micros(clock::since(self.created)), Relaxed);
        Ok(permit)
    }

    /// Records that a delivery uses this lane.
    pub(super) fn touch(&self, now_ms: i64) {
        self.used_ms.store(now_ms, Relaxed);
    }

    /// Returns whether this lane was not used lately and holds no state that deliveries need.
    pub(super) fn is_idle(&self, now_ms: i64) -> bool {
        let (oldest, used_ms) = (now_ms - IDLE_MS_MAX, self.used_ms.load(Relaxed));
        // The deliveries that an open breaker parked return; a new lane would look healthy to them.
        let is_failing =
            self.breaker.state() != BreakerState::Closed && used_ms > oldest - IDLE_OPEN_MS_MAX;
        used_ms <= oldest && self.backlog.tail_ms() <= oldest && !is_failing
    }

    /// Returns how many deliveries wait in memory.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Reserves a slot of the queue if its permit can be expected within `queue_timeout`.
    fn queue(&self, queue_timeout: Duration) -> Option<QueueSlot<'_>> {
        let slot = QueueSlot(&self.waiting);
        let ahead = self.waiting.fetch_add(1, Relaxed);
        let is_in_time = || self.expected_wait(ahead) <= queue_timeout;
        (ahead < self.limits.waiting_max && is_in_time()).then_some(slot)
    }

    /// Estimates how long `ahead` deliveries take: zero as long as nothing was measured and the
    /// first attempts have only started.
    fn expected_wait(&self, ahead: usize) -> Duration {
        let last_start = Duration::from_micros(self.last_start_us.load(Relaxed));
        let stalled = clock::since(self.created).saturating_sub(last_start);
        let stalled_us = if stalled < STALL_MIN { 0 } else { micros(stalled) };
        let attempt_us = self.min_latency.min_us().max(stalled_us);
        let attempts = u64::try_from(ahead).unwrap_or(u64::MAX);
        Duration::from_micros(attempts.saturating_mul(attempt_us) / self.concurrency())
    }

    fn concurrency(&self) -> u64 {
        u64::try_from(self.limits.concurrency).unwrap_or(u64::MAX).max(1)
    }
}

/// A reserved slot in the queue of a lane.
struct QueueSlot<'a>(&'a AtomicUsize);

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING_MAX: usize = 5000;

    /// A lane of eight concurrent attempts.
    fn lane() -> Lane<()> {
        Lane::new(LaneLimits { concurrency: 8, waiting_max: WAITING_MAX }, ())
    }

    /// Counts the slots that can be reserved while no permit is released.
    fn slots_free(lane: &Lane<()>, queue_timeout: Duration) -> usize {
        let mut slots = Vec::new();
        while let Some(slot) = lane.queue(queue_timeout) {
            slots.push(slot);
        }
        slots.len()
    }

    #[test]
    fn backlog_fires_at_the_throughput_of_the_lane() {
        let lane = lane();
        for _ in 0..100 {
            lane.record_attempt(Duration::from_millis(800));
        }
        let now = clock::now();
        let due = || lane.backlog_due(now, 0.0).as_millisecond() - now.as_millisecond();
        let delays: Vec<_> = (0..50).map(|_| due()).collect();
        assert!((1_000..1_200).contains(&delays[0]), "{delays:?}");
        // 800 ms an attempt, eight at once: one every 100 ms.
        let gaps: Vec<_> = delays.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (90..=100).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn burst_for_a_quick_endpoint_may_wait_up_to_the_bound() {
        let lane = lane();
        lane.record_attempt(Duration::from_millis(1));
        lane.last_start_us.store(u64::MAX, Relaxed);
        assert_eq!(slots_free(&lane, Duration::from_secs(2)), WAITING_MAX);
        assert_eq!(lane.waiting(), 0, "slots are released");
    }

    #[test]
    fn slow_endpoint_queues_only_what_it_can_take_in_time() {
        let lane = lane();
        lane.last_start_us.store(u64::MAX, Relaxed);
        lane.record_attempt(Duration::from_millis(100));
        // 100 ms an attempt, eight at once: 160 within two seconds, and one with an empty queue.
        assert_eq!(slots_free(&lane, Duration::from_secs(2)), 161);
        for _ in 0..2 * MinLatencyWindow::WINDOW {
            lane.record_attempt(Duration::from_secs(15));
        }
        assert_eq!(slots_free(&lane, Duration::from_secs(2)), 2);
    }

    #[test]
    fn stalled_lane_counts_as_slow_before_anything_is_measured() {
        assert_eq!(lane().expected_wait(4000), Duration::ZERO);
        let hour_ago = clock::tick().checked_sub(Duration::from_secs(3600)).unwrap();
        let lane = Lane { created: hour_ago, ..lane() };
        assert!(lane.expected_wait(8) >= Duration::from_secs(3600));
        assert_eq!(lane.expected_wait(0), Duration::ZERO);
    }
}
