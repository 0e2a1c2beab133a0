//! Counts of the whole process, which can be read: metrics can only be scraped.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counts of the process since its start.
pub static TOTALS: Totals = Totals::new();

/// Counts of what happened. They only grow.
#[derive(Debug)]
pub struct Totals {
    events: Count,
    matched: Count,
    delivered: Count,
    failed_attempts: Count,
    parked: Count,
    dead: Count,
}

/// A count in a cache line of its own, since several threads increment each.
#[derive(Debug)]
#[repr(align(64))]
struct Count(AtomicU64);

/// The counts at a time, or what was counted between two times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TotalCounts {
    /// Events that the broker delivered for the first time.
    pub events: u64,
    /// Matches of them.
    pub matched: u64,
    /// Deliveries that ended in success.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Times that deliveries were parked.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
}

impl Totals {
    const fn new() -> Self {
        Self {
            events: Count::zero(),
            matched: Count::zero(),
            delivered: Count::zero(),
            failed_attempts: Count::zero(),
            parked: Count::zero(),
            dead: Count::zero(),
        }
    }

    /// Counts an event.
    pub fn count_event(&self) {
        self.events.add(1);
    }

    /// Counts the matches of an event.
    pub fn count_matches(&self, matches: u64) {
        self.matched.add(matches);
    }

    /// Counts a delivery that ended in success.
    pub fn count_delivered(&self) {
        self.delivered.add(1);
    }

    /// Counts an attempt that failed.
    pub fn count_failed_attempt(&self) {
        self.failed_attempts.add(1);
    }

    /// Counts a delivery that was parked.
    pub fn count_parked(&self) {
        self.parked.add(1);
    }

    /// Counts a dead letter.
    pub fn count_dead(&self) {
        self.dead.add(1);
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn read(&self) -> TotalCounts {
        TotalCounts {
            events: self.events.get(),
            matched: self.matched.get(),
            delivered: self.delivered.get(),
            failed_attempts: self.failed_attempts.get(),
            parked: self.parked.get(),
            dead: self.dead.get(),
        }
    }
}

impl Count {
    const fn zero() -> Self {
        Self(AtomicU64::new(0))
    }

    fn add(&self, number: u64) {
        if number > 0 {
            self.0.fetch_add(number, Relaxed);
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl TotalCounts {
    /// Returns what was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            events: self.events.saturating_sub(earlier.events),
            matched: self.matched.saturating_sub(earlier.matched),
            delivered: self.delivered.saturating_sub(earlier.delivered),
            failed_attempts: self.failed_attempts.saturating_sub(earlier.failed_attempts),
            parked: self.parked.saturating_sub(earlier.parked),
            dead: self.dead.saturating_sub(earlier.dead),
        }
    }
}
