//! Poison detection: when an event was redelivered too often to be harmless.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Decides which redelivered events are poison.
pub(super) struct RedeliveryLimit {
    deliver_max: i64,
    /// How long after backpressure the broker may still redeliver events that waited, in
    /// milliseconds.
    backpressure_grace_ms: i64,
    /// When a worker last waited for the in-flight limit, milliseconds since the epoch.
    last_backpressure_at: AtomicI64,
}

impl RedeliveryLimit {
    /// Creates a limit of `deliver_max` deliveries, under an ack deadline of `ack_wait_s` seconds.
    pub(super) fn new(deliver_max: i64, ack_wait_s: u64) -> Self {
        let ack_wait_ms = i64::try_from(ack_wait_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self {
            deliver_max,
            backpressure_grace_ms: ack_wait_ms.saturating_mul(deliver_max.max(1).saturating_add(1)),
            last_backpressure_at: AtomicI64::new(i64::MIN),
        }
    }

    /// Records that a worker waited for the in-flight limit.
    pub(super) fn record_backpressure(&self, now_ms: i64) {
        self.last_backpressure_at.store(now_ms, Relaxed);
    }

    /// Returns whether an event was redelivered so often that it must be what crashes routers.
    /// Redeliveries also follow backpressure, when pulled events wait in memory past their ack
    /// deadline: for a grace period after it, no event counts as poison.
    pub(super) fn is_exceeded(&self, delivery_count: i64, now_ms: i64) -> bool {
        let since_backpressure = now_ms.saturating_sub(self.last_backpressure_at.load(Relaxed));
        delivery_count > self.deliver_max && since_backpressure > self.backpressure_grace_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_poison_only_beyond_its_deliveries() {
        let limit = RedeliveryLimit::new(5, 15);
        assert!(!limit.is_exceeded(5, 0));
        assert!(limit.is_exceeded(6, 0));
    }

    #[test]
    fn no_event_is_poison_in_the_grace_period_after_backpressure() {
        let limit = RedeliveryLimit::new(5, 15);
        limit.record_backpressure(1_000);
        assert!(!limit.is_exceeded(100, 1_000 + 6 * 15_000));
        assert!(limit.is_exceeded(100, 1_001 + 6 * 15_000));
    }
}
