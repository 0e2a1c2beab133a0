//! Lanes: bounded concurrency and a bounded queue per endpoint.
//!
//! A lane belongs to one handler of one installation, so a slow or dead handler delays no other. A
//! delivery that finds the queue full, or gets no permit in time, is parked until about the time
//! when its turn comes. The queue bound follows the endpoint's speed: a burst for a quick endpoint
//! drains from memory, and what a slow endpoint cannot process in time is parked at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker::{Breaker, BreakerState};
use super::http::{HttpClient, HttpSender};
use super::plan::Delivery;
use crate::clock;
use crate::config;
use crate::domain::{Handler, InstallationId};

/// Assumed duration of an attempt before one was measured.
const ATTEMPT_GUESS: Duration = Duration::from_millis(100);
/// A lane that started no attempt for this long is slower than measured. A shorter pause may be a
/// hiccup of the machine and is no reason to park waiting deliveries.
const STALL_MIN: Duration = Duration::from_millis(250);
/// Shortest delay of a parked backlog record.
const BACKLOG_DELAY_MIN_MS: i64 = 1_000;
/// Longest delay; a longer backlog is spread over the second half of this time.
const BACKLOG_DELAY_MAX_MS: i64 = 15 * 60_000;
/// A lane that is unused for this long is evicted.
const IDLE_MS_MAX: i64 = 60_000;
/// A lane whose breaker is not closed is kept for this much longer.
const IDLE_OPEN_MS_MAX: i64 = 60 * 60_000;

/// All lanes of one router.
#[derive(Debug)]
pub struct Lanes {
    lanes: DashMap<LaneKey, Arc<Lane>>,
    /// Permits over all lanes.
    permits: Semaphore,
    sender: HttpSender,
    concurrency: usize,
    waiting_max: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct LaneKey {
    installation: InstallationId,
    target: Box<str>,
}

/// Bounded concurrency and bounded queue of one endpoint.
#[derive(Debug)]
pub struct Lane {
    permits: Semaphore,
    concurrency: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    /// Moving average of the duration of an attempt, microseconds; 0 before the first.
    attempt_us: AtomicU64,
    min_latency: MinLatencyWindow,
    created: Instant,
    /// When the last attempt started, microseconds since `created`.
    last_start_us: AtomicU64,
    /// When the last parked backlog record is due, milliseconds since the epoch.
    backlog_tail_ms: AtomicI64,
    used_ms: AtomicI64,
    client: HttpClient,
    breaker: Breaker,
}

/// Permit for one attempt; returned on drop.
#[derive(Debug)]
pub struct Permit<'a> {
    _lane: SemaphorePermit<'a>,
    _global: SemaphorePermit<'a>,
}

/// Why a delivery got no permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdmissionError {
    /// The queue of the lane is full.
    Full,
    /// The permit was not available in time.
    Late,
}

impl Lanes {
    /// Creates an empty set; each lane gets its own connection pool from `sender`.
    #[must_use]
    pub fn new(config: &config::DeliveryConfig, sender: HttpSender) -> Self {
        Self {
            lanes: DashMap::new(),
            permits: Semaphore::new(config.concurrency),
            sender,
            concurrency: config.endpoint_concurrency,
            waiting_max: config.endpoint_queue_max,
        }
    }

    /// Returns the lane of a delivery, created on first use.
    #[must_use]
    pub fn lane_of(&self, delivery: &Delivery) -> Arc<Lane> {
        let target: Box<str> = match &*delivery.subscription.owner.settings.handler {
            Handler::Http { url, .. } => url.as_str().into(),
            Handler::ForgeRemote(remote) => remote.url.as_str().into(),
            Handler::Function { subject } => (&**subject).into(),
            Handler::Webhook(webhook) => webhook.base.as_str().into(),
        };
        let key = LaneKey { installation: delivery.subscription.owner.id.clone(), target };
        let lane = Arc::clone(self.lanes.entry(key).or_insert_with(|| self.new_lane()).value());
        lane.used_ms.store(clock::now_ms(), Relaxed);
        lane
    }

    /// Waits at most `queue_timeout` for a permit of `lane`.
    ///
    /// # Errors
    /// The queue is full, or no permit was available in time.
    pub async fn acquire<'a>(
        &'a self,
        lane: &'a Lane,
        queue_timeout: Duration,
    ) -> Result<Permit<'a>, AdmissionError> {
        let permit = match self.try_acquire_both(lane) {
            Some(permit) => permit,
            None => self.wait_for_permit(lane, queue_timeout).await?,
        };
        lane.last_start_us.store(micros(clock::since(lane.created)), Relaxed);
        Ok(permit)
    }

    fn try_acquire_both<'a>(&'a self, lane: &'a Lane) -> Option<Permit<'a>> {
        let own = lane.permits.try_acquire().ok()?;
        let global = self.permits.try_acquire().ok()?;
        Some(Permit { _lane: own, _global: global })
    }

    async fn wait_for_permit<'a>(
        &'a self,
        lane: &'a Lane,
        queue_timeout: Duration,
    ) -> Result<Permit<'a>, AdmissionError> {
        let _slot = lane.queue(queue_timeout).ok_or(AdmissionError::Full)?;
        let both = async {
            // Semaphores are never closed; an error would only be a permit that never comes.
            let lane = lane.permits.acquire().await.ok()?;
            let global = self.permits.acquire().await.ok()?;
            Some(Permit { _lane: lane, _global: global })
        };
        tokio::time::timeout(queue_timeout, both).await.ok().flatten().ok_or(AdmissionError::Late)
    }

    /// Evicts lanes that were not used lately, with their connections.
    pub fn evict_idle(&self) {
        let oldest = clock::now_ms() - IDLE_MS_MAX;
        self.lanes.retain(|_, lane| {
            Arc::strong_count(lane) > 1
                || lane.used_ms.load(Relaxed) > oldest
                || lane.backlog_tail_ms.load(Relaxed) > oldest
                // Its parked deliveries return; a new lane would look healthy to them.
                || (lane.breaker.state() != BreakerState::Closed
                    && lane.used_ms.load(Relaxed) > oldest - IDLE_OPEN_MS_MAX)
        });
    }

    /// Counts the endpoints by breaker state: closed, half open, open.
    #[must_use]
    pub fn breaker_states(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for lane in &self.lanes {
            let [closed, half_open, open] = &mut counts;
            *match lane.breaker.state() {
                BreakerState::Closed => closed,
                BreakerState::HalfOpen => half_open,
                BreakerState::Open => open,
            } += 1;
        }
        counts
    }

    /// Returns how many deliveries wait in memory.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.load(Relaxed)).sum()
    }

    fn new_lane(&self) -> Arc<Lane> {
        Arc::new(Lane {
            permits: Semaphore::new(self.concurrency),
            concurrency: self.concurrency.max(1),
            waiting: AtomicUsize::new(0),
            waiting_max: self.waiting_max,
            attempt_us: AtomicU64::new(0),
            min_latency: MinLatencyWindow::default(),
            created: clock::tick(),
            last_start_us: AtomicU64::new(0),
            backlog_tail_ms: AtomicI64::new(0),
            used_ms: AtomicI64::new(0),
            client: self.sender.client(self.concurrency),
            breaker: Breaker::default(),
        })
    }
}

impl Lane {
    /// Returns the HTTP client of this lane.
    #[must_use]
    pub fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Returns the circuit breaker of this lane.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Records how long an attempt took.
    pub fn record_attempt(&self, took: Duration) {
        let took = micros(took).max(1);
        // Exponential moving average with weight 1/8; a lost race only loses one sample.
        let average = match self.attempt_us.load(Relaxed) {
            0 => took,
            average => average - average / 8 + took / 8,
        };
        self.attempt_us.store(average.max(1), Relaxed);
        self.min_latency.record(took);
    }

    /// Returns when a delivery that finds the queue full is due: after the backlog parked before
    /// it, at the throughput of this lane. `random` is a number from 0.0 to 1.0.
    #[must_use]
    pub fn backlog_due(&self, now: Timestamp, random: f64) -> Timestamp {
        let now_ms = now.as_millisecond();
        let attempt_us = match self.attempt_us.load(Relaxed) {
            0 => micros(ATTEMPT_GUESS),
            measured => measured,
        };
        let pace_us = attempt_us / u64::try_from(self.concurrency).unwrap_or(1);
        let pace_ms = i64::try_from(pace_us / 1000).unwrap_or(BACKLOG_DELAY_MAX_MS).max(1);
        let latest = now_ms.saturating_add(BACKLOG_DELAY_MAX_MS);
        let next_slot = |tail: i64| tail.max(now_ms + BACKLOG_DELAY_MIN_MS).saturating_add(pace_ms);
        let tail = self
            .backlog_tail_ms
            .fetch_update(Relaxed, Relaxed, |tail| Some(next_slot(tail).min(latest)))
            .unwrap_or_default();
        let delay_ms = next_slot(tail).saturating_sub(now_ms);
        let (delay_ms, spread) = if delay_ms < BACKLOG_DELAY_MAX_MS {
            (delay_ms, 0.1 * random)
        } else {
            (BACKLOG_DELAY_MAX_MS, -0.5 * random)
        };
        let delay = SignedDuration::from_millis(delay_ms);
        let delay = SignedDuration::from_secs_f64(delay.as_secs_f64() * (1.0 + spread));
        now.checked_add(delay).unwrap_or(now)
    }

    /// Reserves a slot of the queue if its permit can be expected within `queue_timeout`.
    fn queue(&self, queue_timeout: Duration) -> Option<QueueSlot<'_>> {
        let slot = QueueSlot(&self.waiting);
        let ahead = self.waiting.fetch_add(1, Relaxed);
        (ahead < self.waiting_max && self.expected_wait(ahead) <= queue_timeout).then_some(slot)
    }

    /// Estimates how long `ahead` deliveries take: zero as long as nothing was measured and the
    /// first attempts have only started.
    fn expected_wait(&self, ahead: usize) -> Duration {
        let last_start = Duration::from_micros(self.last_start_us.load(Relaxed));
        let stalled = clock::since(self.created).saturating_sub(last_start);
        let stalled_us = if stalled < STALL_MIN { 0 } else { micros(stalled) };
        let attempt_us = self.min_latency.min_us().max(stalled_us);
        let attempts = u64::try_from(ahead).unwrap_or(u64::MAX);
        let concurrency = u64::try_from(self.concurrency).unwrap_or(1);
        Duration::from_micros(attempts.saturating_mul(attempt_us) / concurrency)
    }
}

/// Shortest attempt of the last one to two windows, an estimate of the endpoint's own latency. An
/// average is worse: in a burst attempts wait for this machine, parking would load it even more,
/// and the endpoint would seem slower still.
#[derive(Debug, Default)]
struct MinLatencyWindow {
    attempts: AtomicU64,
    /// Minimum of the current and of the previous window; microseconds, 0 before the first attempt.
    windows_us: [AtomicU64; 2],
}

impl MinLatencyWindow {
    /// Attempts in a window.
    const WINDOW: u64 = 64;

    fn record(&self, took_us: u64) {
        let [current, before] = &self.windows_us;
        let number = self.attempts.fetch_add(1, Relaxed);
        if number > 0 && number.is_multiple_of(Self::WINDOW) {
            before.store(current.swap(took_us, Relaxed), Relaxed);
        } else if number == 0 || took_us < current.load(Relaxed) {
            // A lost race only loses one sample.
            current.store(took_us, Relaxed);
        }
    }

    /// Returns the minimum in microseconds; 0 before the first attempt.
    fn min_us(&self) -> u64 {
        let [current, before] = &self.windows_us;
        match before.load(Relaxed) {
            0 => current.load(Relaxed),
            before => current.load(Relaxed).min(before),
        }
    }
}

/// A reserved slot in the queue of a lane.
struct QueueSlot<'a>(&'a AtomicUsize);

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::delivery::EgressGuard;
    use crate::delivery::testing::{delivery_to, function};

    fn lanes() -> Lanes {
        let config = Config::defaults().unwrap().delivery;
        let guard = Arc::new(EgressGuard::new(&config).unwrap());
        Lanes::new(&config, HttpSender::new(&config, guard).unwrap())
    }

    fn lane(lanes: &Lanes, installation: &str, subject: &str) -> Arc<Lane> {
        lanes.lane_of(&delivery_to(installation, function(subject), "e"))
    }

    fn ms_until(due: Timestamp, now: Timestamp) -> i64 {
        due.as_millisecond() - now.as_millisecond()
    }

    #[test]
    fn lane_belongs_to_an_endpoint_of_an_installation() {
        let lanes = lanes();
        assert!(Arc::ptr_eq(&lane(&lanes, "i", "a"), &lane(&lanes, "i", "a")));
        assert!(!Arc::ptr_eq(&lane(&lanes, "i", "a"), &lane(&lanes, "i", "b")));
        assert!(!Arc::ptr_eq(&lane(&lanes, "i", "a"), &lane(&lanes, "j", "a")));
    }

    #[test]
    fn backlog_fires_at_the_throughput_of_the_lane() {
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
        for _ in 0..100 {
            lane.record_attempt(Duration::from_millis(800));
        }
        let now = clock::now();
        let delays: Vec<_> = (0..50).map(|_| ms_until(lane.backlog_due(now, 0.0), now)).collect();
        assert!((1_000..1_200).contains(&delays[0]), "{delays:?}");
        // 800 ms an attempt, eight at once: one every 100 ms.
        let gaps: Vec<_> = delays.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (90..=100).contains(gap)), "{gaps:?}");
    }

    /// Counts the slots that can be reserved while no permit is released.
    fn slots_free(lane: &Lane, queue_timeout: Duration) -> usize {
        let mut slots = Vec::new();
        while let Some(slot) = lane.queue(queue_timeout) {
            slots.push(slot);
        }
        slots.len()
    }

    #[test]
    fn burst_for_a_quick_endpoint_may_wait_up_to_the_bound() {
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
        lane.record_attempt(Duration::from_millis(1));
        lane.last_start_us.store(u64::MAX, Relaxed);
        assert_eq!(slots_free(&lane, Duration::from_secs(2)), lanes.waiting_max);
        assert_eq!(lane.waiting.load(Relaxed), 0, "slots are released");
    }

    #[test]
    fn slow_endpoint_queues_only_what_it_can_take_in_time() {
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
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
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
        assert_eq!(lane.expected_wait(4000), Duration::ZERO);
        let hour_ago = clock::tick().checked_sub(Duration::from_secs(3600)).unwrap();
        let lane = Lane { created: hour_ago, ..Arc::into_inner(lanes.new_lane()).unwrap() };
        assert!(lane.expected_wait(8) >= Duration::from_secs(3600));
        assert_eq!(lane.expected_wait(0), Duration::ZERO);
    }

    #[test]
    fn long_backlog_is_spread_over_its_bound() {
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
        for _ in 0..100 {
            lane.record_attempt(Duration::from_secs(15));
        }
        let (now, random) = (clock::now(), crate::delivery::retry::Random::seeded(3));
        let delays: Vec<_> =
            (0..2000).map(|_| ms_until(lane.backlog_due(now, random.unit()), now)).collect();
        assert!(delays.iter().all(|delay| *delay <= BACKLOG_DELAY_MAX_MS * 11 / 10));
        let late = delays.iter().filter(|delay| **delay > BACKLOG_DELAY_MAX_MS * 3 / 4).count();
        assert!((500..1500).contains(&late), "{late} of 2000 in the last quarter");
    }

    #[test]
    fn idle_lane_is_evicted_and_busy_one_kept() {
        let lanes = lanes();
        let busy = lane(&lanes, "i", "busy");
        for subject in ["busy", "idle"] {
            lane(&lanes, "i", subject).used_ms.store(0, Relaxed);
        }
        lanes.evict_idle();
        assert_eq!(lanes.lanes.len(), 1);
        assert!(Arc::ptr_eq(lanes.lanes.iter().next().unwrap().value(), &busy));
    }
}
