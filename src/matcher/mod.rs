//! 2. Who wants it: an event and the live subscriptions become the list of matches.
//!
//! Contract: for every (event, subscription) the outcome equals that of the reference evaluator run
//! on that subscription alone; the index may skip a subscription only if its outcome is provably
//! "no match". Readers take no lock and see one snapshot per event. This stage knows neither the
//! broker nor HTTP nor how a match is delivered.

mod evaluate;
mod index;
pub mod metrics;
mod partition;
mod projection_cache;
pub mod snapshot;
pub mod subscription;

use std::sync::Arc;

use self::index::ListenerId;
use self::partition::Partition;
use crate::domain::{FilterError, OnError};

pub use evaluate::Scratch;
pub use snapshot::Matcher;
pub use subscription::{
    DeliverySettings, EventConditions, EventSubscription, EventSubscriptions, Owner, Subscription,
};

/// A subscription that gets the event.
#[derive(Clone, Debug)]
pub struct Match {
    /// Who wants it.
    pub subscription: Arc<Subscription>,
    /// Whether the app itself caused the event.
    pub self_generated: bool,
    /// Set when the filter failed and `onError` delivers all the same. Rare, so in a box: the list
    /// of matches of an event is less than a third as large, and short enough for the allocator's cache.
    pub filter_error: Option<Box<FilterError>>,
}

/// A filter that could not be evaluated, whatever `onError` made of it.
#[derive(Clone, Debug)]
pub struct FilterFailure {
    /// Whose filter.
    pub subscription: Arc<Subscription>,
    /// What happened.
    pub error: FilterError,
    /// What becomes of the event.
    pub on_error: OnError,
}

/// Outcome of matching one event.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// The snapshot that matched are places of, if there are any.
    partition: Option<Arc<Partition>>,
    matched: Vec<MatchedListener>,
    /// Deliveries to make although the filter failed.
    delivered_on_error: Vec<Match>,
    /// Filters that failed.
    pub failures: Vec<FilterFailure>,
    /// Subscriptions left out by `ignoreSelf` or for want of a licence, of those whose filter the
    /// index did not rule out.
    pub ignored: usize,
    /// Filters that the index could not rule out.
    pub candidates: usize,
    /// Filters evaluated, each once for all subscriptions that share it.
    pub evaluated: EvaluationCounts,
}

/// A subscription whose filter holds: where it stands, since looking at it costs more than finding
/// it did.
#[derive(Clone, Copy, Debug)]
struct MatchedListener {
    segment: u32,
    listener: ListenerId,
}

impl Matches {
    /// How many deliveries there are to make.
    #[must_use]
    pub fn len(&self) -> usize {
        self.matched.len() + self.delivered_on_error.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all but the memory.
    fn clear(&mut self) {
        self.partition = None;
        self.matched.clear();
        self.delivered_on_error.clear();
        self.failures.clear();
        (self.ignored, self.candidates, self.evaluated) = Default::default();
    }
}

/// How many evaluations ended how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EvaluationCounts {
    /// True.
    pub matched: u32,
    /// False.
    pub not_matched: u32,
    /// Neither.
    pub failed: u32,
}

#[cfg(test)]
mod tests;
