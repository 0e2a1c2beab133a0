//! Whether the last publishes into each stream were confirmed.
//!
//! A broker whose disk is full answers questions and keeps its connections, but confirms no publish.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use crate::clock;

/// Consecutive timeouts from which on writes count as failing; a single one may be a change of the leader.
const TIMEOUTS_MAX: u32 = 2;
/// How long timeouts count, in milliseconds: without publishes nothing shows that the stream recovered.
const VALID_MS: i64 = 15_000;

/// The publishes into one stream.
struct Writes {
    stream: &'static str,
    timeouts: AtomicU32,
    last_timeout_ms: AtomicI64,
}

/// By the stream labels of the metrics.
static WRITES: [Writes; 4] =
    [Writes::of("events"), Writes::of("parked"), Writes::of("dlq"), Writes::of("log")];

impl Writes {
    const fn of(stream: &'static str) -> Self {
        Self { stream, timeouts: AtomicU32::new(0), last_timeout_ms: AtomicI64::new(0) }
    }

    fn record_timeout(&self, now_ms: i64) {
        self.last_timeout_ms.store(now_ms, Relaxed);
        self.timeouts.fetch_add(1, Relaxed);
    }

    fn are_confirmed(&self, now_ms: i64) -> bool {
        self.timeouts.load(Relaxed) < TIMEOUTS_MAX
            || now_ms.saturating_sub(self.last_timeout_ms.load(Relaxed)) > VALID_MS
    }
}

/// Records a confirmed publish, or a publish without an answer.
pub(super) fn record(stream: &str, is_confirmed: bool) {
    let Some(writes) = WRITES.iter().find(|writes| writes.stream == stream) else { return };
    if !is_confirmed {
        writes.record_timeout(clock::uptime_ms());
    } else if writes.timeouts.load(Relaxed) > 0 {
        writes.timeouts.store(0, Relaxed);
    }
}

/// Returns whether publishes into `stream` are confirmed, as far as is known.
pub(super) fn are_confirmed(stream: &str) -> bool {
    let now_ms = clock::uptime_ms();
    WRITES.iter().all(|writes| writes.stream != stream || writes.are_confirmed(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_fail_from_the_second_timeout_until_they_are_too_old() {
        let writes = Writes::of("x");
        writes.record_timeout(100);
        assert!(writes.are_confirmed(100));
        writes.record_timeout(200);
        assert!(!writes.are_confirmed(200 + VALID_MS));
        assert!(writes.are_confirmed(201 + VALID_MS));
    }

    #[test]
    fn a_confirmed_publish_ends_the_failure() {
        for is_confirmed in [false, false, true] {
            record("dlq", is_confirmed);
        }
        assert!(are_confirmed("dlq") && are_confirmed("events"));
    }
}
