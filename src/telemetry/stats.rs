//! SubscriptionCounters of one subscription, shared by the stages that move them.

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The counters of one subscription, made when there is something to count: of a million
/// subscriptions, most have heard nothing yet.
#[derive(Debug, Default)]
pub struct SubscriptionStats(OnceLock<Arc<SubscriptionCounters>>);

/// Shares the counters.
impl Clone for SubscriptionStats {
    fn clone(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.counters())))
    }
}

/// For counting; whoever reads the counters of many subscriptions takes
/// [`SubscriptionStats::peek`].
impl Deref for SubscriptionStats {
    type Target = SubscriptionCounters;

    fn deref(&self) -> &SubscriptionCounters {
        self.counters()
    }
}

impl SubscriptionStats {
    fn counters(&self) -> &Arc<SubscriptionCounters> {
        self.0.get_or_init(Arc::default)
    }

    /// The counters for reading: those of nothing, while nothing was counted.
    #[must_use]
    pub fn peek(&self) -> &SubscriptionCounters {
        static ZERO: SubscriptionCounters = SubscriptionCounters::new();
        self.0.get().map_or(&ZERO, |counters| &**counters)
    }
}

/// What happened to one subscription since this replica started.
///
/// Counts only rise. "Not matched" is not counted per event, since that would make each event cost
/// as much as there are subscriptions: it is the events of its types seen less all other outcomes,
/// see `matcher`.
#[derive(Debug, Default)]
pub struct SubscriptionCounters {
    /// Events that became deliveries.
    pub matched: AtomicU64,
    /// Events left out by `ignoreSelf` or `appIsLicensed`.
    pub ignored: AtomicU64,
    /// Filter evaluations that failed, whatever `onError` made of them.
    pub errors: AtomicU64,
    /// Deliveries that ended in success.
    pub delivered: AtomicU64,
    /// Attempts that failed.
    pub failed_attempts: AtomicU64,
    /// Deliveries that ended as dead letters.
    pub dead: AtomicU64,
    /// Steps used by evaluations.
    pub steps: AtomicU64,
    /// When an event last matched, milliseconds since the epoch; 0 = never.
    pub last_match_ms: AtomicI64,
    /// When a delivery last succeeded, milliseconds since the epoch; 0 = never.
    pub last_delivered_ms: AtomicI64,
    /// Answers in a row by which the handler said that it is gone.
    gone_in_a_row: AtomicU32,
    last_error: Mutex<Option<String>>,
    last_failure: Mutex<Option<String>>,
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
            steps: AtomicU64::new(0),
            last_match_ms: AtomicI64::new(0),
            last_delivered_ms: AtomicI64::new(0),
            gone_in_a_row: AtomicU32::new(0),
            last_error: Mutex::new(None),
            last_failure: Mutex::new(None),
        }
    }

    /// Counts an event that became a delivery at `now_ms`.
    pub fn count_match(&self, now_ms: i64) {
        self.matched.fetch_add(1, Relaxed);
        self.last_match_ms.store(now_ms, Relaxed);
    }

    /// Counts a failed evaluation and keeps its message.
    pub fn count_error(&self, message: &str) {
        self.errors.fetch_add(1, Relaxed);
        replace_text(&self.last_error, message);
    }

    /// Counts a delivery that the handler accepted at `now_ms`.
    pub fn count_delivered(&self, now_ms: i64) {
        self.delivered.fetch_add(1, Relaxed);
        self.last_delivered_ms.store(now_ms, Relaxed);
    }

    /// Takes note of whether the handler answered that it is gone; true if that changes how often
    /// it did in a row.
    pub fn record_gone(&self, is_gone: bool) -> bool {
        if is_gone {
            self.gone_in_a_row.fetch_add(1, Relaxed);
            return true;
        }
        // Read first: nearly every delivery comes here and finds 0.
        self.consecutive_gone() != 0 && self.gone_in_a_row.swap(0, Relaxed) != 0
    }

    /// How often in a row the handler answered that it is gone.
    pub fn consecutive_gone(&self) -> u32 {
        self.gone_in_a_row.load(Relaxed)
    }

    /// Counts a failed attempt and keeps its reason.
    pub fn count_failed_attempt(&self, reason: &str) {
        self.failed_attempts.fetch_add(1, Relaxed);
        replace_text(&self.last_failure, reason);
    }

    /// Counts a delivery that was given up.
    pub fn count_dead_letter(&self) {
        self.dead.fetch_add(1, Relaxed);
    }

    /// Message of the last failed evaluation.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reason of the last failed attempt.
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
