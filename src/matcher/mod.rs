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
pub mod snapshot;
pub mod subscription;

use std::sync::Arc;

use crate::domain::{FilterError, OnError};

pub use evaluate::Scratch;
pub use snapshot::Matcher;
pub use subscription::{Filter, Listen, Subscription};

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
    /// Deliveries to make, in no particular order.
    pub matches: Vec<Match>,
    /// Filters that failed.
    pub failures: Vec<FilterFailure>,
    /// Subscriptions left out by `ignoreSelf` or for want of a licence, of those whose filter the
    /// index did not rule out.
    pub ignored: usize,
    /// Filters that the index could not rule out.
    pub candidates: usize,
    /// Filters evaluated, each once for all subscriptions that share it.
    pub evaluated: Evaluated,
}

impl Matches {
    /// Forgets all but the memory.
    fn clear(&mut self) {
        let Self { matches, failures, ignored, candidates, evaluated } = self;
        matches.clear();
        failures.clear();
        (*ignored, *candidates, *evaluated) = Default::default();
    }
}

/// How many evaluations ended how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Evaluated {
    /// True.
    pub matched: u32,
    /// False.
    pub not_matched: u32,
    /// Neither.
    pub failed: u32,
}

#[cfg(test)]
mod tests;
