//! Counters of one subscription, shared by the stages that increment them.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;

use super::LogBudget;

/// Handle to the counters of one subscription, allocated on first use: most of a million
/// subscriptions never match.
#[derive(Debug, Default)]
pub struct SubscriptionStats(OnceLock<Arc<SubscriptionCounters>>);

/// Shares the counters: allocates them if needed.
impl Clone for SubscriptionStats {
    fn clone(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.counters())))
    }
}

/// For counting; allocates the counters. Readers of many subscriptions use
/// [`SubscriptionStats::peek`].
impl Deref for SubscriptionStats {
    type Target = SubscriptionCounters;

    fn deref(&self) -> &SubscriptionCounters {
        self.counters()
    }
}

impl SubscriptionStats {
    fn counters(&self) -> &Arc<SubscriptionCounters> {
        self.0.get().unwrap_or_else(|| {
            // Allocated before, so that no thread waits for the allocation of another.
            let fresh = Arc::default();
            self.0.get_or_init(|| fresh)
        })
    }

    /// Marks the subscription and its successors of the same id as removed or live.
    pub fn set_removed(&self, is_removed: bool) {
        // A live one without counters is not marked.
        if is_removed || self.0.get().is_some() {
            self.counters().is_removed.store(is_removed, Relaxed);
        }
    }

    /// Whether the subscription was removed: deliveries on their way recheck it without a lookup.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.peek().is_removed.load(Relaxed)
    }

    /// Returns the counters for reading, without allocating them: all zero while nothing was
    /// counted.
    #[must_use]
    pub fn peek(&self) -> &SubscriptionCounters {
        static ZERO: SubscriptionCounters = SubscriptionCounters::new();
        self.0.get().map_or(&ZERO, |counters| &**counters)
    }
}

/// The counters of one subscription since this replica started. Counts are monotonic.
///
/// "Not matched" is not counted per event, since that would cost each event time proportional to
/// the number of subscriptions: it is the events of its types minus all other outcomes, see
/// `matcher`.
#[derive(Debug, Default)]
pub struct SubscriptionCounters {
    /// Events that became deliveries.
    pub matched: AtomicU64,
    /// Events excluded by `ignoreSelf` or `appIsLicensed`.
    pub ignored: AtomicU64,
    /// Filter evaluations that failed, whatever `onError` says.
    pub errors: AtomicU64,
    /// Deliveries that ended in success.
    pub delivered: AtomicU64,
    /// Attempts that failed.
    pub failed_attempts: AtomicU64,
    /// Deliveries that ended as dead letters.
    pub dead: AtomicU64,
    /// Times that deliveries were parked.
    pub parked: AtomicU64,
    /// Times that parked deliveries were due.
    pub resumed: AtomicU64,
    /// Deliveries that were parked at once because a share of the waiting places was used up.
    pub over_share: AtomicU64,
    /// When the last of them was, milliseconds since the epoch; 0 if there was none.
    pub last_over_share_ms: AtomicI64,
    /// Steps used by evaluations.
    pub steps: AtomicU64,
    /// When an event last matched, milliseconds since the epoch; 0 = never.
    pub last_match_ms: AtomicI64,
    /// When a delivery last succeeded, milliseconds since the epoch; 0 = never.
    pub last_delivered_ms: AtomicI64,
    /// When an evaluation last failed, milliseconds since the epoch; 0 = never.
    pub last_error_ms: AtomicI64,
    /// When an attempt last failed, milliseconds since the epoch; 0 = never.
    pub last_failure_ms: AtomicI64,
    /// Consecutive answers with HTTP 410.
    endpoint_gone_streak: AtomicU32,
    /// Allocated on the first failure: most subscriptions have none.
    log_limits: OnceLock<Box<SubscriptionLogLimits>>,
    is_removed: AtomicBool,
    /// Replaced without a lock, because matching counts errors.
    last_error: ArcSwapOption<String>,
    last_failure: Mutex<Option<String>>,
}

/// Limits of the log lines about one subscription.
#[derive(Debug)]
pub struct SubscriptionLogLimits {
    /// Of those about its filter.
    pub filter: LogBudget,
    /// Of those about its dead letters.
    pub dead_letters: LogBudget,
    /// Outcomes of its filter when the last line about it was written.
    logged: Mutex<FilterOutcomes>,
}

/// How often a filter was decided on, and how often that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FilterOutcomes {
    /// Events of its types, without those that its conditions exclude.
    pub events: u64,
    /// Those for which it failed.
    pub errors: u64,
}

impl FilterOutcomes {
    /// Returns whether half failed, or more. An event that another worker is deciding on counts as
    /// one that did not fail.
    #[must_use]
    pub fn mostly_fail(self) -> bool {
        self.errors.saturating_mul(2) >= self.events
    }
}

impl SubscriptionCounters {
    const fn new() -> Self {
        Self {
            matched: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            over_share: AtomicU64::new(0),
            last_over_share_ms: AtomicI64::new(0),
            steps: AtomicU64::new(0),
            last_match_ms: AtomicI64::new(0),
            last_delivered_ms: AtomicI64::new(0),
            last_error_ms: AtomicI64::new(0),
            last_failure_ms: AtomicI64::new(0),
            endpoint_gone_streak: AtomicU32::new(0),
            log_limits: OnceLock::new(),
            is_removed: AtomicBool::new(false),
            last_error: ArcSwapOption::const_empty(),
            last_failure: Mutex::new(None),
        }
    }

    /// Counts an event that became a delivery at `now_ms`.
    pub fn count_match(&self, now_ms: i64) {
        self.matched.fetch_add(1, Relaxed);
        self.last_match_ms.store(now_ms, Relaxed);
    }

    /// Counts an evaluation that failed at `now_ms`, and stores its message.
    pub fn count_error(&self, message: &str, now_ms: i64) {
        self.errors.fetch_add(1, Relaxed);
        self.last_error_ms.store(now_ms, Relaxed);
        self.last_error.store(Some(Arc::new(message.to_owned())));
    }

    /// Counts a delivery that the handler accepted at `now_ms`.
    pub fn count_delivered(&self, now_ms: i64) {
        self.delivered.fetch_add(1, Relaxed);
        self.last_delivered_ms.store(now_ms, Relaxed);
    }

    /// Records whether the handler answered 410; returns whether the number of consecutive 410s
    /// changed.
    pub fn record_endpoint_gone(&self, is_endpoint_gone: bool) -> bool {
        if is_endpoint_gone {
            self.endpoint_gone_streak.fetch_add(1, Relaxed);
            return true;
        }
        // Loaded first: it is 0 for nearly every delivery, and a load does not contend.
        self.consecutive_endpoint_gone() != 0 && self.endpoint_gone_streak.swap(0, Relaxed) != 0
    }

    /// Returns the number of consecutive 410 answers.
    pub fn consecutive_endpoint_gone(&self) -> u32 {
        self.endpoint_gone_streak.load(Relaxed)
    }

    /// Counts an attempt that failed at `now_ms`, and stores its reason.
    pub fn count_failed_attempt(&self, reason: &str, now_ms: i64) {
        self.failed_attempts.fetch_add(1, Relaxed);
        self.last_failure_ms.store(now_ms, Relaxed);
        replace_text(&self.last_failure, reason);
    }

    /// Returns the limits of the log lines about it.
    pub fn log_limits(&self) -> &SubscriptionLogLimits {
        self.log_limits.get_or_init(|| {
            Box::new(SubscriptionLogLimits {
                filter: LogBudget::one_a_minute(),
                dead_letters: LogBudget::one_a_minute(),
                logged: Mutex::default(),
            })
        })
    }

    /// Returns the outcomes of its filter since the last call; `not_matched` is the number of events
    /// that it has not matched so far.
    pub fn outcomes_since(&self, not_matched: u64) -> FilterOutcomes {
        let errors = self.errors.load(Relaxed);
        let events = self.matched.load(Relaxed).saturating_add(errors).saturating_add(not_matched);
        let now = FilterOutcomes { events, errors };
        let logged = &self.log_limits().logged;
        let before =
            std::mem::replace(&mut *logged.lock().unwrap_or_else(PoisonError::into_inner), now);
        FilterOutcomes {
            events: now.events.saturating_sub(before.events),
            errors: now.errors.saturating_sub(before.errors),
        }
    }

    /// Returns whether deliveries of it were parked or dead-lettered.
    #[must_use]
    pub fn has_parked_or_dead(&self) -> bool {
        self.dead.load(Relaxed) > 0 || self.parked.load(Relaxed) > 0
    }

    /// Counts a delivery that was dead-lettered.
    pub fn count_dead_letter(&self) {
        self.dead.fetch_add(1, Relaxed);
    }

    /// Returns the message of the last failed evaluation.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.load().as_ref().map(|message| String::clone(message))
    }

    /// Returns the reason of the last failed attempt.
    #[must_use]
    pub fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn replace_text(slot: &Mutex<Option<String>>, text: &str) {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    match slot.as_mut() {
        Some(kept) => {
            kept.clear();
            kept.push_str(text);
        }
        None => *slot = Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_those_since_the_last_line() {
        let counters = SubscriptionCounters::new();
        counters.count_error("no such field", 7);
        let first = counters.outcomes_since(0);
        assert_eq!(first, FilterOutcomes { events: 1, errors: 1 });
        assert!(first.mostly_fail());
        counters.count_error("no such field", 7);
        counters.count_match(1);
        let second = counters.outcomes_since(5);
        assert_eq!(second, FilterOutcomes { events: 7, errors: 1 });
        assert!(!second.mostly_fail());
    }
}
