//! One lane per endpoint: so many attempts at once, so many deliveries waiting, and no more.
//!
//! A lane belongs to one handler of one installation, so that a slow or dead handler can hold up
//! nobody else: what finds no room, or no turn in time, is parked at about the time when its turn
//! would come. How many may wait follows from how fast the endpoint is: a burst for a quick one
//! drains from memory, and what a slow one cannot take in time is parked at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker::{Breaker, Phase};
use super::http::{Client, Sender};
use super::plan::Delivery;
use crate::clock;
use crate::config;
use crate::domain::{Handler, InstallationId};

/// Assumed duration of an attempt before one was measured.
const ATTEMPT_GUESS: Duration = Duration::from_millis(100);
/// A lane in which no attempt began for this long is slower than measured. Anything shorter may
/// be a hiccup of the machine, and is no reason to park what waits.
const STALL_MIN: Duration = Duration::from_millis(250);
/// Soonest that a parked backlog record is attempted again.
const BACKLOG_DELAY_MIN_MS: i64 = 1_000;
/// Latest; a longer backlog is spread over the second half of this time.
const BACKLOG_DELAY_MAX_MS: i64 = 15 * 60_000;
/// A lane that nobody used for this long is forgotten.
const IDLE_MS_MAX: i64 = 60_000;
/// One whose breaker is not closed is remembered for so much longer.
const IDLE_OPEN_MS_MAX: i64 = 60 * 60_000;

/// The lanes of one router.
#[derive(Debug)]
pub struct Lanes {
    lanes: DashMap<LaneKey, Arc<Lane>>,
    /// Turns over all lanes.
    turns: Semaphore,
    sender: Sender,
    concurrency: usize,
    waiting_max: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct LaneKey {
    installation: InstallationId,
    target: Box<str>,
}

/// The bounded concurrency of one endpoint.
#[derive(Debug)]
pub struct Lane {
    turns: Semaphore,
    concurrency: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    /// Moving average of the duration of an attempt, microseconds; 0 before the first.
    attempt_us: AtomicU64,
    best: Best,
    born: Instant,
    /// When the last attempt began, microseconds since `born`.
    moved_us: AtomicU64,
    /// When the last parked backlog record has its turn, milliseconds since the epoch.
    tail_ms: AtomicI64,
    used_ms: AtomicI64,
    client: Client,
    breaker: Breaker,
}

/// The right to make one attempt; given back when dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _lane: SemaphorePermit<'a>,
    _global: SemaphorePermit<'a>,
}

/// Why a delivery got no turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoTurn {
    /// As many wait as may.
    Full,
    /// The turn did not come in time.
    Late,
}

impl Lanes {
    /// No lanes yet; each gets a connection pool of its own from `sender`.
    #[must_use]
    pub fn new(config: &config::Delivery, sender: Sender) -> Self {
        Self {
            lanes: DashMap::new(),
            turns: Semaphore::new(config.concurrency),
            sender,
            concurrency: config.endpoint_concurrency,
            waiting_max: config.endpoint_queue_max,
        }
    }

    /// The lane of a delivery, made on first use.
    #[must_use]
    pub fn lane_of(&self, delivery: &Delivery) -> Arc<Lane> {
        let target: Box<str> = match &*delivery.subscription.owner.settings.handler {
            Handler::Http { url, .. } => url.as_str().into(),
            Handler::Remote(remote) => remote.url.as_str().into(),
            Handler::Function { subject } => (&**subject).into(),
            Handler::Webhook(webhook) => webhook.base.as_str().into(),
        };
        let key = LaneKey { installation: delivery.subscription.owner.id.clone(), target };
        let lane = Arc::clone(self.lanes.entry(key).or_insert_with(|| self.new_lane()).value());
        lane.used_ms.store(clock::now_ms(), Relaxed);
        lane
    }

    /// Waits at most `patience` for a turn in `lane`.
    ///
    /// # Errors
    /// Too many wait already, or the turn did not come in time.
    pub async fn turn<'a>(
        &'a self,
        lane: &'a Lane,
        patience: Duration,
    ) -> Result<Turn<'a>, NoTurn> {
        let turn = match self.free_turn(lane) {
            Some(turn) => turn,
            None => self.wait_for_turn(lane, patience).await?,
        };
        lane.moved_us.store(micros(clock::since(lane.born)), Relaxed);
        Ok(turn)
    }

    fn free_turn<'a>(&'a self, lane: &'a Lane) -> Option<Turn<'a>> {
        let own = lane.turns.try_acquire().ok()?;
        let global = self.turns.try_acquire().ok()?;
        Some(Turn { _lane: own, _global: global })
    }

    async fn wait_for_turn<'a>(
        &'a self,
        lane: &'a Lane,
        patience: Duration,
    ) -> Result<Turn<'a>, NoTurn> {
        let _place = lane.queue(patience).ok_or(NoTurn::Full)?;
        let both = async {
            // Semaphores are never closed, so that an error is only a turn that never comes.
            let lane = lane.turns.acquire().await.ok()?;
            let global = self.turns.acquire().await.ok()?;
            Some(Turn { _lane: lane, _global: global })
        };
        tokio::time::timeout(patience, both).await.ok().flatten().ok_or(NoTurn::Late)
    }

    /// Forgets the lanes that nobody used lately, with their connections.
    pub fn evict_idle(&self) {
        let oldest = clock::now_ms() - IDLE_MS_MAX;
        self.lanes.retain(|_, lane| {
            Arc::strong_count(lane) > 1
                || lane.used_ms.load(Relaxed) > oldest
                || lane.tail_ms.load(Relaxed) > oldest
                // Its parked deliveries come back; forgetting would make it look healthy to them.
                || (lane.breaker.phase() != Phase::Closed
                    && lane.used_ms.load(Relaxed) > oldest - IDLE_OPEN_MS_MAX)
        });
    }

    /// How many endpoints are in each phase of their breaker: closed, half open, open.
    #[must_use]
    pub fn phases(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for lane in &self.lanes {
            let [closed, half_open, open] = &mut counts;
            *match lane.breaker.phase() {
                Phase::Closed => closed,
                Phase::HalfOpen => half_open,
                Phase::Open => open,
            } += 1;
        }
        counts
    }

    /// Deliveries that wait in memory.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.load(Relaxed)).sum()
    }

    fn new_lane(&self) -> Arc<Lane> {
        Arc::new(Lane {
            turns: Semaphore::new(self.concurrency),
            concurrency: self.concurrency.max(1),
            waiting: AtomicUsize::new(0),
            waiting_max: self.waiting_max,
            attempt_us: AtomicU64::new(0),
            best: Best::default(),
            born: clock::tick(),
            moved_us: AtomicU64::new(0),
            tail_ms: AtomicI64::new(0),
            used_ms: AtomicI64::new(0),
            client: self.sender.client(self.concurrency),
            breaker: Breaker::default(),
        })
    }
}

impl Lane {
    /// The connections of this lane.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the endpoint is worth an attempt.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Takes note of how long an attempt took.
    pub fn record_attempt(&self, took: Duration) {
        let took = micros(took).max(1);
        // An eighth of what is new; a lost race only loses one sample.
        let average = match self.attempt_us.load(Relaxed) {
            0 => took,
            average => average - average / 8 + took / 8,
        };
        self.attempt_us.store(average.max(1), Relaxed);
        self.best.record(took);
    }

    /// When a delivery that finds no room now has its turn: after those parked before it, at the
    /// pace at which this lane works. `random` is a number from 0.0 to 1.0.
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
        let turn = |tail: i64| tail.max(now_ms + BACKLOG_DELAY_MIN_MS).saturating_add(pace_ms);
        let tail = self
            .tail_ms
            .fetch_update(Relaxed, Relaxed, |tail| Some(turn(tail).min(latest)))
            .unwrap_or_default();
        let delay_ms = turn(tail).saturating_sub(now_ms);
        let (delay_ms, spread) = if delay_ms < BACKLOG_DELAY_MAX_MS {
            (delay_ms, 0.1 * random)
        } else {
            (BACKLOG_DELAY_MAX_MS, -0.5 * random)
        };
        let delay = SignedDuration::from_millis(delay_ms);
        let delay = SignedDuration::from_secs_f64(delay.as_secs_f64() * (1.0 + spread));
        now.checked_add(delay).unwrap_or(now)
    }

    /// A place behind those that wait, if its turn can be expected within `patience`.
    fn queue(&self, patience: Duration) -> Option<Place<'_>> {
        let place = Place(&self.waiting);
        let ahead = self.waiting.fetch_add(1, Relaxed);
        (ahead < self.waiting_max && self.expected_wait(ahead) <= patience).then_some(place)
    }

    /// How long those `ahead` take, as far as one can tell: nothing as long as nothing was
    /// measured and the first attempts have only just begun.
    fn expected_wait(&self, ahead: usize) -> Duration {
        let moved = Duration::from_micros(self.moved_us.load(Relaxed));
        let still = clock::since(self.born).saturating_sub(moved);
        let stalled_us = if still < STALL_MIN { 0 } else { micros(still) };
        let attempt_us = self.best.lately_us().max(stalled_us);
        let attempts = u64::try_from(ahead).unwrap_or(u64::MAX);
        let concurrency = u64::try_from(self.concurrency).unwrap_or(1);
        Duration::from_micros(attempts.saturating_mul(attempt_us) / concurrency)
    }
}

/// The shortest of the last attempts, which is what the endpoint can do. An average would not tell:
/// a burst makes attempts wait for this machine, parking what waits would cost it even more, and
/// the endpoint would seem slower still.
#[derive(Debug, Default)]
struct Best {
    attempts: AtomicU64,
    /// Of the window at hand, and of the one before; microseconds, 0 before the first attempt.
    windows_us: [AtomicU64; 2],
}

impl Best {
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

    /// Microseconds; 0 before the first attempt.
    fn lately_us(&self) -> u64 {
        let [current, before] = &self.windows_us;
        match before.load(Relaxed) {
            0 => current.load(Relaxed),
            before => current.load(Relaxed).min(before),
        }
    }
}

/// A place in the queue of a lane.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
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
    use crate::delivery::Guard;
    use crate::delivery::testing::{delivery_to, function};

    fn lanes() -> Lanes {
        let config = Config::defaults().unwrap().delivery;
        let guard = Arc::new(Guard::new(&config).unwrap());
        Lanes::new(&config, Sender::new(&config, guard).unwrap())
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
    fn backlog_fires_at_the_pace_of_the_lane() {
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

    /// How many find a place while nobody gets a turn.
    fn room(lane: &Lane, patience: Duration) -> usize {
        let mut places = Vec::new();
        while let Some(place) = lane.queue(patience) {
            places.push(place);
        }
        places.len()
    }

    #[test]
    fn burst_for_a_quick_endpoint_may_wait_up_to_the_bound() {
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
        lane.record_attempt(Duration::from_millis(1));
        lane.moved_us.store(u64::MAX, Relaxed);
        assert_eq!(room(&lane, Duration::from_secs(2)), lanes.waiting_max);
        assert_eq!(lane.waiting.load(Relaxed), 0, "places are given back");
    }

    #[test]
    fn slow_endpoint_lets_wait_what_it_can_take_in_time() {
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
        lane.moved_us.store(u64::MAX, Relaxed);
        lane.record_attempt(Duration::from_millis(100));
        // 100 ms an attempt, eight at once: 160 within two seconds, and one that has none ahead.
        assert_eq!(room(&lane, Duration::from_secs(2)), 161);
        for _ in 0..2 * Best::WINDOW {
            lane.record_attempt(Duration::from_secs(15));
        }
        assert_eq!(room(&lane, Duration::from_secs(2)), 2);
    }

    #[test]
    fn lane_that_stands_still_counts_as_slow_before_anything_is_measured() {
        let lanes = lanes();
        let lane = lane(&lanes, "i", "a");
        assert_eq!(lane.expected_wait(4000), Duration::ZERO);
        let hour_ago = clock::tick().checked_sub(Duration::from_secs(3600)).unwrap();
        let lane = Lane { born: hour_ago, ..Arc::into_inner(lanes.new_lane()).unwrap() };
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
    fn idle_lane_is_forgotten_and_busy_one_kept() {
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
