//! Pauses of the process: detects them, ends the work that they made stale, and holds new work until
//! the registry is up to date again.
//!
//! A process that was stopped (SIGSTOP, a frozen virtual machine) for longer than the ack deadline
//! continues with work that other replicas have taken over, and with a registry that has missed
//! changes. So on continuing it drops all work, pulls again, and attempts nothing before the
//! registry has caught up.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::metrics;
use crate::clock;

/// Longest interval between two beats.
const BEAT_INTERVAL_MAX: Duration = Duration::from_millis(500);
/// Beats within the longest gap that is not a pause.
const BEATS: u32 = 4;

/// Detects pauses by the gap between two beats. Without I/O and clock; times are of a monotonic
/// clock.
#[derive(Debug)]
pub struct PauseDetector {
    /// Longest gap between two beats of a running process, in milliseconds.
    gap_max_ms: i64,
    /// `i64::MAX` before the first beat: then there is no pause.
    last_beat_ms: AtomicI64,
    is_paused: AtomicBool,
}

impl PauseDetector {
    /// Creates a detector that has seen no beat.
    #[must_use]
    pub fn new(gap_max_ms: i64) -> Self {
        let last_beat_ms = AtomicI64::new(i64::MAX);
        Self { gap_max_ms, last_beat_ms, is_paused: AtomicBool::new(false) }
    }

    /// Whether the process was paused and has not resumed. Any thread may ask first.
    pub fn is_paused(&self, now_ms: i64) -> bool {
        self.is_paused.load(SeqCst)
            || now_ms.saturating_sub(self.last_beat_ms.load(SeqCst)) > self.gap_max_ms
    }

    /// Notes that the process runs; returns whether this finds a new pause.
    pub fn beat(&self, now_ms: i64) -> bool {
        let is_new = self.is_paused(now_ms) && !self.is_paused.swap(true, SeqCst);
        self.last_beat_ms.store(now_ms, SeqCst);
        is_new
    }

    /// Ends the pause.
    pub fn resume(&self) {
        self.is_paused.store(false, SeqCst);
    }
}

/// Holds work while the process resumes from a pause. Shared by the router and the dispatcher.
#[derive(Debug)]
pub struct PauseGate {
    detector: PauseDetector,
    interval: Duration,
    /// Cancelled when a pause is found; the work that started before it ends.
    work: Mutex<CancellationToken>,
    /// Wakes the task that resumes the process.
    paused: Notify,
    resumed: Notify,
}

impl PauseGate {
    /// Creates an open gate; a gap of more than `gap_max` between two beats is a pause.
    #[must_use]
    pub fn new(gap_max: Duration) -> Self {
        let gap_max_ms = i64::try_from(gap_max.as_millis()).unwrap_or(i64::MAX);
        Self {
            detector: PauseDetector::new(gap_max_ms),
            interval: (gap_max / BEATS).min(BEAT_INTERVAL_MAX),
            work: Mutex::default(),
            paused: Notify::new(),
            resumed: Notify::new(),
        }
    }

    /// Starts the beats, on a thread of their own: busy tasks are not a pause. The thread ends with
    /// the gate.
    ///
    /// # Errors
    /// There is no thread left; the gate stays open.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let (gate, interval) = (Arc::downgrade(self), self.interval);
        let beats = move || {
            while let Some(gate) = gate.upgrade() {
                gate.beat(clock::uptime_ms());
                drop(gate);
                std::thread::sleep(interval);
            }
        };
        std::thread::Builder::new().name("pause-detector".into()).spawn(beats).map(|_thread| ())
    }

    fn beat(&self, now_ms: i64) {
        if self.detector.beat(now_ms) {
            tracing::warn!(
                "the process was paused for longer than the ack deadline; its work is dropped and pulled again"
            );
            metrics::paused();
            let stale = std::mem::take(&mut *self.lock_work());
            stale.cancel();
            self.paused.notify_one();
        }
    }

    /// Finds a pause, in tests.
    #[cfg(test)]
    pub(super) fn find_pause(&self) {
        let now_ms = clock::uptime_ms();
        self.beat(now_ms);
        self.beat(now_ms.saturating_add(self.detector.gap_max_ms + 1));
    }

    /// Whether work may start; finds a pause that no beat has found yet.
    pub fn is_open(&self) -> bool {
        self.is_open_at(clock::uptime_ms())
    }

    /// Returns [`PauseGate::is_open`] at [`clock::uptime_ms`], for callers that have just read it.
    pub fn is_open_at(&self, now_ms: i64) -> bool {
        let is_open = !self.detector.is_paused(now_ms);
        if !is_open {
            self.beat(now_ms);
        }
        is_open
    }

    /// Waits until work may start.
    pub async fn opened(&self) {
        loop {
            let resumed = self.resumed.notified();
            if self.is_open() {
                return;
            }
            resumed.await;
        }
    }

    /// Waits for a pause; one caller resumes the process.
    pub async fn paused(&self) {
        self.paused.notified().await;
    }

    /// Opens the gate: the registry is up to date.
    pub fn resume(&self) {
        self.detector.resume();
        self.resumed.notify_waiters();
    }

    /// Returns the token that is cancelled at the next pause.
    pub fn work(&self) -> CancellationToken {
        self.lock_work().clone()
    }

    fn lock_work(&self) -> MutexGuard<'_, CancellationToken> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_pause_before_the_first_beat() {
        let detector = PauseDetector::new(1_000);
        assert!(!detector.is_paused(5_000));
        assert!(!detector.beat(5_000));
    }

    #[test]
    fn gap_beyond_the_limit_is_one_pause_until_it_is_resumed() {
        let detector = PauseDetector::new(1_000);
        assert!(!detector.beat(1_000) && !detector.is_paused(2_000));
        assert!(detector.is_paused(2_001));
        assert!(detector.beat(2_001), "found once");
        assert!(!detector.beat(2_100) && detector.is_paused(2_100), "beats do not end it");
        detector.resume();
        assert!(!detector.is_paused(3_100) && !detector.beat(3_100));
    }

    #[test]
    fn second_gap_before_it_is_resumed_belongs_to_the_same_pause() {
        let detector = PauseDetector::new(1_000);
        detector.beat(0);
        assert!(detector.beat(5_000));
        assert!(!detector.beat(9_000));
        detector.resume();
        assert!(detector.beat(20_000));
    }

    #[tokio::test]
    async fn pause_ends_earlier_work_and_holds_later_work() {
        let gate = PauseGate::new(Duration::from_secs(3_600));
        let (work, now_ms) = (gate.work(), clock::uptime_ms());
        gate.beat(now_ms);
        assert!(gate.is_open() && !work.is_cancelled());
        let later_ms = now_ms + 3_700_000;
        assert!(!gate.is_open_at(later_ms) && work.is_cancelled());
        gate.paused().await;
        let later = gate.work();
        gate.resume();
        gate.opened().await;
        assert!(!later.is_cancelled());
    }
}
