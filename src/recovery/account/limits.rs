//! Bounds of an account, and what exceeds them.

use thiserror::Error;

/// Most deliveries with more than one record, or that are not delivered.
pub(super) const INSTANCES_MAX: usize = 2_000_000;
/// Most subscriptions.
pub(super) const SUBSCRIPTIONS_MAX: usize = 1_000_000;
/// Most series of record numbers.
pub const SERIES_MAX: usize = 1 << 16;
/// Most deliveries that are parked, and most that have a dead letter.
pub(super) const STORED_MAX: usize = 4_000_000;
/// Gaps that are named.
pub(super) const NAMED_MAX: usize = 100;

/// An account that needs more memory than it may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TooLarge {
    /// Deliveries that have to be kept one by one.
    #[error("more than {INSTANCES_MAX} deliveries failed, waited or were repeated")]
    Instances,
    /// Subscriptions.
    #[error("more than {SUBSCRIPTIONS_MAX} subscriptions")]
    Subscriptions,
    /// Events.
    #[error("more than a billion events")]
    Events,
    /// Events that were handled again.
    #[error("more than a million events were handled again after a crash")]
    RepeatedEvents,
    /// Holes in the numbers of records.
    #[error("the records of the log have too many holes")]
    RecordNumbers,
    /// Parked deliveries or dead letters.
    #[error("more than {STORED_MAX} deliveries are parked or dead-lettered")]
    Stored,
}
