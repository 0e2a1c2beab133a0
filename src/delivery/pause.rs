//! Stops of the process: detects them, holds new work until the registry is up to date again, and ends
//! the work that a long stop made stale.
//!
//! A process that was stopped (SIGSTOP, a frozen virtual machine) continues with a registry that has
//! missed changes. After a gap of more than a second it waits until the registry has caught up before
//! it matches or attempts anything; no work is dropped. After a gap of more than the ack deadline,
//! a pause, other replicas have taken over its work as well: it drops all work and pulls again.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::metrics;
use crate::clock;

/// Longest gap between two beats after which the registry counts as up to date. Longer than a busy
/// machine keeps a thread from running; waiting after it costs one question to the broker.
pub const CURRENT_GAP_MAX: Duration = Duration::from_secs(1);
/// Longest interval between two beats.
pub const BEAT_INTERVAL_MAX: Duration = Duration::from_millis(250);
/// Beats within the longest gap that is not a pause.
const BEATS: u32 = 4;

/// What a beat found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gap {
    /// The process was running.
    None,
    /// It was stopped for long enough to miss changes of the registry.
    Short,
    /// It was stopped for longer than the ack deadline.
    Pause,
}

/// Identifies the gaps up to one, so that catching up after it does not hide a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gaps(u64);

/// Detects stops by the gap between two beats. Without I/O and clock; times are of a monotonic
/// clock, in milliseconds.
#[derive(Debug)]
pub struct PauseDetector {
    /// Longest gap after which the registry counts as up to date.
    current_gap_max_ms: i64,
    /// Longest gap that is not a pause.
    pause_gap_max_ms: i64,
    /// `i64::MAX` before the first beat: then there is no gap.
    last_beat_ms: AtomicI64,
    /// Number of gaps; threads that find the same one at the same time may count it several times.
    found: AtomicU64,
    /// Number of gaps after which the registry has caught up.
    caught_up: AtomicU64,
}

impl PauseDetector {
    /// Creates a detector that has seen no beat; a gap of more than `pause_gap_max_ms` is a pause.
    #[must_use]
    pub fn new(pause_gap_max_ms: i64) -> Self {
        let current_ms = i64::try_from(CURRENT_GAP_MAX.as_millis()).unwrap_or(i64::MAX);
        Self {
            current_gap_max_ms: current_ms.min(pause_gap_max_ms),
            pause_gap_max_ms,
            last_beat_ms: AtomicI64::new(i64::MAX),
            found: AtomicU64::new(0),
            caught_up: AtomicU64::new(0),
        }
    }

    /// Whether the registry may have missed changes in a gap. Any thread may ask first.
    pub fn is_behind(&self, now_ms: i64) -> bool {
        self.is_catching_up()
            || now_ms.saturating_sub(self.last_beat_ms.load(SeqCst)) > self.current_gap_max_ms
    }

    /// Whether a gap was found after which the registry has not caught up.
    pub fn is_catching_up(&self) -> bool {
        self.found.load(SeqCst) > self.caught_up.load(SeqCst)
    }

    /// Notes that the process runs; returns the gap since the last beat. If several threads find the
    /// same gap, one of them gets it.
    pub fn beat(&self, now_ms: i64) -> Gap {
        let last_ms = self.last_beat_ms.load(SeqCst);
        let gap_ms = now_ms.saturating_sub(last_ms);
        if gap_ms > self.current_gap_max_ms {
            // Before the beat is stored: until then other threads see the gap itself.
            self.found.fetch_add(1, SeqCst);
        }
        let is_first = self.last_beat_ms.compare_exchange(last_ms, now_ms, SeqCst, SeqCst).is_ok();
        match is_first {
            true if gap_ms > self.pause_gap_max_ms => Gap::Pause,
            true if gap_ms > self.current_gap_max_ms => Gap::Short,
            _ => Gap::None,
        }
    }

    /// Returns the gaps so far, before the registry is asked to catch up.
    #[must_use]
    pub fn gaps(&self) -> Gaps {
        Gaps(self.found.load(SeqCst))
    }

    /// Records that the registry has caught up after `gaps`; returns whether there is no later one.
    pub fn caught_up(&self, gaps: Gaps) -> bool {
        self.caught_up.fetch_max(gaps.0, SeqCst);
        self.found.load(SeqCst) == gaps.0
    }
}

/// Holds work while the registry catches up after a gap. Shared by the router and the dispatcher.
#[derive(Debug)]
pub struct PauseGate {
    detector: PauseDetector,
    interval: Duration,
    /// Cancelled when a pause is found; the work that started before it ends.
    work: Mutex<CancellationToken>,
    /// Wakes the task that lets the registry catch up.
    found: Notify,
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
            found: Notify::new(),
            resumed: Notify::new(),
        }
    }

    /// Starts the beats, on a thread of their own: busy tasks are not a gap. The thread ends with
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
        match self.detector.beat(now_ms) {
            Gap::None => {}
            Gap::Short => {
                tracing::debug!("the process was stopped; it waits for its registry");
                self.found.notify_one();
            }
            Gap::Pause => {
                tracing::warn!(
                    "the process was paused for longer than the ack deadline; its work is dropped and pulled again"
                );
                metrics::paused();
                let stale = std::mem::take(&mut *self.lock_work());
                stale.cancel();
                self.found.notify_one();
            }
        }
    }

    /// Finds a pause, in tests.
    #[cfg(test)]
    pub(super) fn find_pause(&self) {
        let now_ms = clock::uptime_ms();
        self.beat(now_ms);
        self.beat(now_ms.saturating_add(self.detector.pause_gap_max_ms + 1));
    }

    /// Whether work may start; finds a gap that no beat has found yet.
    pub fn is_open(&self) -> bool {
        self.is_open_at(clock::uptime_ms())
    }

    /// Returns [`PauseGate::is_open`] at [`clock::uptime_ms`], for callers that have just read it.
    pub fn is_open_at(&self, now_ms: i64) -> bool {
        let is_open = !self.detector.is_behind(now_ms);
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

    /// Waits for a gap; one caller lets the registry catch up.
    pub async fn found(&self) -> Gaps {
        loop {
            let found = self.found.notified();
            if self.detector.is_catching_up() {
                return self.detector.gaps();
            }
            found.await;
        }
    }

    /// Opens the gate: the registry has caught up after `gaps`. It stays closed after a later gap.
    pub fn resume(&self, gaps: Gaps) {
        if self.detector.caught_up(gaps) {
            self.resumed.notify_waiters();
        }
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
    fn there_is_no_gap_before_the_first_beat() {
        let detector = PauseDetector::new(5_000);
        assert!(!detector.is_behind(9_000));
        assert_eq!(detector.beat(9_000), Gap::None);
    }

    #[test]
    fn gap_is_short_or_a_pause_and_the_registry_is_behind_until_it_has_caught_up() {
        for (length_ms, gap) in [(1_001, Gap::Short), (5_000, Gap::Short), (5_001, Gap::Pause)] {
            let detector = PauseDetector::new(5_000);
            assert_eq!(detector.beat(100), Gap::None);
            assert!(!detector.is_behind(1_100));
            let now_ms = 100 + length_ms;
            assert!(detector.is_behind(now_ms), "any thread sees it before the next beat");
            assert_eq!(detector.beat(now_ms), gap, "{length_ms}");
            assert_eq!(detector.beat(now_ms + 100), Gap::None, "found once");
            assert!(detector.is_behind(now_ms + 100), "beats do not end it");
            assert!(detector.caught_up(detector.gaps()));
            assert!(!detector.is_behind(now_ms + 1_100));
        }
    }

    #[test]
    fn registry_that_caught_up_before_a_second_gap_is_behind_after_it() {
        let detector = PauseDetector::new(5_000);
        detector.beat(0);
        detector.beat(2_000);
        let first = detector.gaps();
        assert_eq!(detector.beat(9_000), Gap::Pause, "a pause while the registry catches up");
        assert!(!detector.caught_up(first));
        assert!(detector.is_behind(9_000));
        assert!(detector.caught_up(detector.gaps()));
        assert!(!detector.is_behind(9_000));
    }

    #[tokio::test]
    async fn short_gap_holds_work_and_ends_none() {
        let gate = PauseGate::new(Duration::from_secs(3_600));
        let (work, now_ms) = (gate.work(), clock::uptime_ms());
        gate.beat(now_ms);
        assert!(gate.is_open());
        assert!(!gate.is_open_at(now_ms + 2_000), "the gap is found without a beat");
        assert!(!gate.is_open() && !work.is_cancelled());
        let gaps = gate.found().await;
        gate.resume(gaps);
        gate.opened().await;
        assert!(!work.is_cancelled());
    }

    #[tokio::test]
    async fn pause_ends_earlier_work_and_holds_later_work() {
        let gate = PauseGate::new(Duration::from_secs(3_600));
        let (work, now_ms) = (gate.work(), clock::uptime_ms());
        gate.beat(now_ms);
        assert!(gate.is_open() && !work.is_cancelled());
        let later_ms = now_ms + 3_700_000;
        assert!(!gate.is_open_at(later_ms) && work.is_cancelled());
        let gaps = gate.found().await;
        let later = gate.work();
        gate.resume(gaps);
        gate.opened().await;
        assert!(!later.is_cancelled());
    }
}
