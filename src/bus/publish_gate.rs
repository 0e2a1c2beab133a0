//! Back-off of all publishes to one stream while the broker does not store them.
//!
//! Without it, each waiting delivery would publish again on its own: thousands of failed publishes
//! a minute against a broker that is full or overloaded. While the gate is closed, one publish
//! after the other tries, after a pause that doubles up to [`PAUSE_MAX`]; the others wait. Those
//! that wait are bounded by the deliveries in progress, and their events stay unacknowledged.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify};

use super::metrics;
use crate::clock;

/// First pause of a closed gate.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a gate is closed before the router counts as unable to write.
const BLOCKED_MS_MIN: i64 = 5_000;

/// The gates of the streams that the delivery stage writes.
#[derive(Debug)]
pub struct PublishGates {
    pub(super) parked: PublishGate,
    pub(super) dead_letters: PublishGate,
    pub(super) log: PublishGate,
}

impl Default for PublishGates {
    fn default() -> Self {
        Self {
            parked: PublishGate::new("parked"),
            dead_letters: PublishGate::new("dlq"),
            log: PublishGate::new("log"),
        }
    }
}

impl PublishGates {
    /// Returns whether the broker has stored nothing in one of the streams for several seconds
    /// although deliveries wait to be stored.
    #[must_use]
    pub fn are_blocked(&self) -> bool {
        let now_ms = clock::uptime_ms();
        [&self.parked, &self.dead_letters, &self.log]
            .into_iter()
            .any(|gate| gate.is_blocked(now_ms))
    }
}

/// The gate of one stream.
#[derive(Debug)]
pub(super) struct PublishGate {
    /// The stream, as metric label.
    stream: &'static str,
    is_closed: AtomicBool,
    closed_at_ms: AtomicI64,
    /// The next pause; locked by the publish that tries.
    pause: Mutex<Duration>,
    stream_full: Notify,
}

/// Permission to publish.
pub(super) enum Pass<'a> {
    /// The gate is open.
    Open,
    /// The gate is closed and this publish tries.
    Try(MutexGuard<'a, Duration>),
    /// While this publish waited, the broker refused another because the stream is full.
    StreamFull,
}

impl PublishGate {
    fn new(stream: &'static str) -> Self {
        Self {
            stream,
            is_closed: AtomicBool::new(false),
            closed_at_ms: AtomicI64::new(0),
            pause: Mutex::new(PAUSE_MIN),
            stream_full: Notify::new(),
        }
    }

    /// Returns whether publishes are stored, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.is_closed.load(Relaxed)
    }

    /// Waits until a publish may be sent.
    pub(super) async fn pass(&self) -> Pass<'_> {
        if self.is_open() {
            return Pass::Open;
        }
        let mut pause = tokio::select! {
            biased;
            () = self.stream_full.notified() => return Pass::StreamFull,
            pause = self.pause.lock() => pause,
        };
        if self.is_open() {
            return Pass::Open;
        }
        tokio::time::sleep(with_jitter(*pause)).await;
        *pause = pause.saturating_mul(2).min(PAUSE_MAX);
        Pass::Try(pause)
    }

    /// Records a confirmed publish; one that tried opens the gate.
    pub(super) fn record_stored(&self, pass: Pass<'_>) {
        if let Pass::Try(mut pause) = pass {
            *pause = PAUSE_MIN;
            self.is_closed.store(false, Relaxed);
            metrics::publish_blocked(self.stream, false);
            tracing::info!(stream = self.stream, "publishes are stored again");
        }
    }

    /// Records a publish that was not confirmed, and closes the gate. Returns whether it was open.
    pub(super) fn record_failed(&self) -> bool {
        if self.is_closed.swap(true, Relaxed) {
            return false;
        }
        self.closed_at_ms.store(clock::uptime_ms(), Relaxed);
        metrics::publish_blocked(self.stream, true);
        true
    }

    /// Wakes all that wait: their owners' shares are checked again.
    pub(super) fn notify_stream_full(&self) {
        self.stream_full.notify_waiters();
    }

    fn is_blocked(&self, now_ms: i64) -> bool {
        let since_ms = now_ms.saturating_sub(self.closed_at_ms.load(Relaxed));
        // Those that wait try one after the other and lock the pause. Without them nothing is
        // blocked: their work may have been dropped, and no one else would open the gate.
        let has_waiting = self.pause.try_lock().is_err();
        self.is_closed.load(Relaxed) && since_ms >= BLOCKED_MS_MIN && has_waiting
    }
}

/// Adds up to a quarter of `pause`, so that replicas do not try at the same time.
fn with_jitter(pause: Duration) -> Duration {
    let random = clock::now().subsec_nanosecond().unsigned_abs() % 250;
    pause.saturating_add(pause.saturating_mul(random) / 1000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closed_gate_lets_one_publish_after_the_other_try() {
        let gate = Arc::new(PublishGate::new("test"));
        assert!(gate.record_failed());
        assert!(!gate.record_failed(), "it is closed already");
        let tries = Arc::new(AtomicUsize::new(0));
        let publish = |_| {
            let (gate, tries) = (Arc::clone(&gate), Arc::clone(&tries));
            tokio::spawn(async move {
                while matches!(gate.pass().await, Pass::Try(_)) {
                    tries.fetch_add(1, Relaxed);
                }
            })
        };
        let waiting: Vec<_> = (0..1_000).map(publish).collect();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let tried = tries.load(Relaxed);
        assert!((5..=20).contains(&tried), "{tried} tries of 1,000 publishes in a minute");
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn gate_without_a_publish_that_waits_blocks_nothing() {
        let gate = Arc::new(PublishGate::new("test"));
        gate.record_failed();
        let closed_ms = gate.closed_at_ms.load(Relaxed);
        let late_ms = closed_ms + BLOCKED_MS_MIN;
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { drop(gate.pass().await) }
        });
        tokio::task::yield_now().await;
        assert!(!gate.is_blocked(late_ms - 1));
        assert!(gate.is_blocked(late_ms));
        // The delivery is dropped, for instance after a pause of the process.
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert!(!gate.is_blocked(late_ms));
    }

    #[tokio::test(start_paused = true)]
    async fn stored_try_opens_the_gate_for_all() {
        let gate = PublishGate::new("test");
        gate.record_failed();
        let pass = gate.pass().await;
        assert!(matches!(pass, Pass::Try(_)));
        gate.record_stored(pass);
        assert!(matches!(gate.pass().await, Pass::Open));
    }

    #[tokio::test(start_paused = true)]
    async fn full_stream_wakes_those_that_wait() {
        let gate = Arc::new(PublishGate::new("test"));
        gate.record_failed();
        let trying = gate.pass().await;
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { matches!(gate.pass().await, Pass::StreamFull) }
        });
        tokio::task::yield_now().await;
        gate.notify_stream_full();
        assert!(waiting.await.unwrap());
        drop(trying);
    }
}
