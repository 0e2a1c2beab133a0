//! Lane: speed, backlog, breakers and connection of one endpoint.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::backlog::Backlog;
use super::breakers::{BreakerReport, EndpointBreakers};
use super::fair::EndpointId;
use super::latency::{AverageDuration, MinLatencyWindow, micros};
use crate::telemetry::LogBudget;

/// Assumed duration of an attempt before one was measured.
const ATTEMPT_GUESS: Duration = Duration::from_millis(100);
/// A lane that is unused for this long is evicted.
const IDLE_MS_MAX: i64 = 60_000;
/// A lane whose breaker is not closed is kept for this much longer.
const IDLE_OPEN_MS_MAX: i64 = 60 * 60_000;

/// Longest stored text about a failed attempt, in characters.
const DETAIL_CHARS_MAX: usize = 200;

/// What operators see of a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneStatus {
    /// The breaker that restricts attempts most.
    pub breaker: BreakerReport,
    /// Average duration of recent attempts, in microseconds; none before the first.
    pub average_us: Option<u64>,
    /// Shortest recent attempt, in microseconds; none before the first.
    pub shortest_us: Option<u64>,
    /// Attempts since the lane exists.
    pub attempts: u64,
    /// Attempts among them that failed.
    pub failed: u64,
    /// The last failed attempt.
    pub last_failure: Option<LaneFailure>,
    /// When an attempt last succeeded, milliseconds since the epoch.
    pub last_success_ms: Option<i64>,
}

/// A failed attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneFailure {
    /// Label of its class, such as `timeout`.
    pub class: &'static str,
    /// One sentence about it.
    pub detail: String,
    /// When it ended, milliseconds since the epoch.
    pub at_ms: i64,
}

/// Counts of the attempts of a lane.
#[derive(Debug, Default)]
struct LaneCounts {
    attempts: AtomicU64,
    failed: AtomicU64,
    last_success_ms: AtomicI64,
    last_failure: Mutex<Option<LaneFailure>>,
}

/// State of one endpoint. `C` is its connection.
#[derive(Debug)]
pub struct Lane<C> {
    endpoint: EndpointId,
    concurrency: usize,
    average: AverageDuration,
    min_latency: MinLatencyWindow,
    backlog: Backlog,
    /// Of the deliveries of replays, so that no live delivery is due after them.
    replay_backlog: Backlog,
    used_ms: AtomicI64,
    counts: LaneCounts,
    breakers: EndpointBreakers,
    /// Limits the log lines about failed attempts.
    failure_log: LogBudget,
    connection: C,
}

impl<C> Lane<C> {
    /// Creates a lane that made no attempt yet.
    #[must_use]
    pub fn new(
        endpoint: EndpointId,
        concurrency: usize,
        breakers: EndpointBreakers,
        connection: C,
    ) -> Self {
        Self {
            endpoint,
            concurrency,
            average: AverageDuration::default(),
            min_latency: MinLatencyWindow::default(),
            backlog: Backlog::default(),
            replay_backlog: Backlog::default(),
            used_ms: AtomicI64::new(0),
            counts: LaneCounts::default(),
            breakers,
            failure_log: LogBudget::one_a_minute(),
            connection,
        }
    }

    /// Returns the connection of this lane.
    #[must_use]
    pub fn connection(&self) -> &C {
        &self.connection
    }

    /// Returns the circuit breakers that decide on attempts of this lane.
    #[must_use]
    pub fn breakers(&self) -> &EndpointBreakers {
        &self.breakers
    }

    /// Returns the limit of the log lines about failed attempts.
    #[must_use]
    pub fn failure_log(&self) -> &LogBudget {
        &self.failure_log
    }

    /// Records how long an attempt took.
    pub fn record_attempt(&self, took: Duration) {
        let took_us = micros(took).max(1);
        self.average.record(took_us);
        self.min_latency.record(took_us);
    }

    /// Counts an attempt that ended at `now_ms`; `failure` is the class and the detail of a failed one.
    pub fn record_result(&self, failure: Option<(&'static str, &str)>, now_ms: i64) {
        self.counts.attempts.fetch_add(1, Relaxed);
        let Some((class, detail)) = failure else {
            return self.counts.last_success_ms.store(now_ms, Relaxed);
        };
        self.counts.failed.fetch_add(1, Relaxed);
        let detail = detail.chars().take(DETAIL_CHARS_MAX).collect();
        let last = LaneFailure { class, detail, at_ms: now_ms };
        *self.counts.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// Returns what operators see of this lane; `now_ms` is monotonic time.
    #[must_use]
    pub fn status(&self, now_ms: i64) -> LaneStatus {
        let counts = &self.counts;
        let last_failure = counts.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        LaneStatus {
            breaker: self.breakers.report(now_ms),
            average_us: self.average.average_us(),
            shortest_us: Some(self.min_latency.min_us()).filter(|us| *us > 0),
            attempts: counts.attempts.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            last_failure: last_failure.clone(),
            last_success_ms: Some(counts.last_success_ms.load(Relaxed)).filter(|ms| *ms > 0),
        }
    }

    /// Returns when a delivery that finds the queue full is due: after the backlog parked before
    /// it, at the throughput of this lane, and not later than a delivery of this `age` may wait.
    /// Deliveries of replays have a backlog of their own. `random` is a number from 0.0 to 1.0.
    #[must_use]
    pub fn backlog_due(
        &self,
        now: Timestamp,
        age: Duration,
        random: f64,
        is_replay: bool,
    ) -> Timestamp {
        let backlog = if is_replay { &self.replay_backlog } else { &self.backlog };
        let attempt_us = self.average.average_us().unwrap_or_else(|| micros(ATTEMPT_GUESS));
        let concurrency = u64::try_from(self.concurrency).unwrap_or(u64::MAX).max(1);
        backlog.append(now, age, attempt_us / concurrency, random)
    }

    /// Returns the endpoint in the fair queue.
    #[must_use]
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// Returns the shortest recent attempt in microseconds; 0 before the first.
    #[must_use]
    pub fn shortest_attempt_us(&self) -> u64 {
        self.min_latency.min_us()
    }

    /// Records that a delivery uses this lane.
    pub(super) fn touch(&self, now_ms: i64) {
        self.used_ms.store(now_ms, Relaxed);
    }

    /// Returns whether this lane was not used lately and holds no state that deliveries need.
    pub(super) fn is_idle(&self, now_ms: i64) -> bool {
        let (oldest, used_ms) = (now_ms - IDLE_MS_MAX, self.used_ms.load(Relaxed));
        // The deliveries that an open breaker parked return; a new lane would look healthy to them.
        let is_failing = !self.breakers.is_closed() && used_ms > oldest - IDLE_OPEN_MS_MAX;
        let has_backlog =
            [&self.backlog, &self.replay_backlog].iter().any(|backlog| backlog.tail_ms() > oldest);
        used_ms <= oldest && !has_backlog && !is_failing
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::delivery::queue::{FairLimits, Lanes};

    #[test]
    fn backlog_of_a_replay_delays_no_live_delivery() {
        let limits = FairLimits::new(&Config::defaults().unwrap().delivery, usize::MAX);
        let lanes = Lanes::new(limits, || ());
        let lane = |endpoint: &'static str| -> Arc<Lane<()>> {
            lanes.lane((&"app".into(), &"i".into()), endpoint, || Cow::Borrowed("host"))
        };
        let due = |lane: &Lane<()>, is_replay| {
            lane.backlog_due(Timestamp::UNIX_EPOCH, Duration::ZERO, 0.0, is_replay)
        };
        let (replayed, idle) = (lane("replayed"), lane("idle"));
        let last = (0..1_000).fold(Timestamp::UNIX_EPOCH, |_, _| due(&replayed, true));
        assert!(last > due(&idle, false));
        assert_eq!(due(&replayed, false), due(&lane("untouched"), false));
    }
}
