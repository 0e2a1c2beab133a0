//! Counters of one subscription, shared by the stages that increment them.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;

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
    is_removed: AtomicBool,
    /// Replaced without a lock, because matching counts errors.
    last_error: ArcSwapOption<String>,
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
            last_error_ms: AtomicI64::new(0),
            last_failure_ms: AtomicI64::new(0),
            endpoint_gone_streak: AtomicU32::new(0),
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
