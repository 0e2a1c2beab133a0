//! Matches events against subscriptions: for one event, returns the subscriptions whose filter and
//! conditions hold.
//!
//! Contract: for every (event, subscription) the outcome equals that of the reference evaluator run
//! on that subscription alone; the index may skip a subscription only if its outcome is provably
//! "no match". Readers see one snapshot per event. This stage knows neither the broker nor HTTP nor
//! how a match is delivered.

mod conditions;
mod dry_run;
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

pub use conditions::{Subscriber, UnmetCondition};
pub use dry_run::Decision;
pub use evaluate::Scratch;
pub use snapshot::Matcher;
pub use subscription::{
    DeliverySettings, EventConditions, EventSubscription, EventSubscriptions, Owner, Subscription,
};

/// A subscription that receives the event.
#[derive(Clone, Debug)]
pub struct Match {
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// Whether the app itself caused the event.
    pub self_generated: bool,
    /// Set when the filter failed and `onError` says to deliver anyway. Boxed because it is rare:
    /// without it, the list of an event's matches takes less than a third of the memory and stays
    /// within the allocator's cache.
    pub filter_error: Option<Box<FilterError>>,
}

/// A filter whose evaluation failed, whatever `onError` says about delivery.
#[derive(Clone, Debug)]
pub struct FilterFailure {
    /// The subscription with the filter.
    pub subscription: Arc<Subscription>,
    /// The evaluation error.
    pub error: FilterError,
    /// Whether the event is delivered in spite of the error.
    pub on_error: OnError,
}

/// Outcome of matching one event.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// The snapshot that `matched` refers to; none if `matched` is empty.
    partition: Option<Arc<Partition>>,
    matched: Vec<MatchedListener>,
    /// Matches whose filter failed and whose `onError` says to deliver.
    delivered_on_error: Vec<Match>,
    /// Evaluation errors, one for each subscription.
    pub failures: Vec<FilterFailure>,
    /// Number of subscriptions left out by `ignoreSelf` or for lack of a licence, among those whose
    /// filter the index did not rule out.
    pub ignored: usize,
    /// Number of filters that the index could not rule out.
    pub candidates: usize,
    /// Number of segments that could not be looked up, because they are corrupt; all of their filters
    /// were evaluated.
    pub index_errors: usize,
    /// Number of evaluations by result; equal filters are evaluated once.
    pub evaluated: EvaluationCounts,
}

/// A subscription whose filter holds, by position: reading the subscription itself costs more than
/// finding it did.
#[derive(Clone, Copy, Debug)]
struct MatchedListener {
    segment: u32,
    listener: ListenerId,
}

impl Matches {
    /// Returns the number of matches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.matched.len() + self.delivered_on_error.len()
    }

    /// Whether there are no matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Clears all results and keeps the allocated memory.
    fn clear(&mut self) {
        self.partition = None;
        self.matched.clear();
        self.delivered_on_error.clear();
        self.failures.clear();
        (self.ignored, self.candidates, self.index_errors) = (0, 0, 0);
        self.evaluated = EvaluationCounts::default();
    }
}

/// Number of evaluations by result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EvaluationCounts {
    /// Evaluated to true.
    pub matched: u32,
    /// Evaluated to false.
    pub not_matched: u32,
    /// Ended in an error.
    pub failed: u32,
}

#[cfg(test)]
mod tests;
