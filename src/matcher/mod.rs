//! Matches events against subscriptions: for one event, returns the subscriptions whose filter and
//! conditions hold.
//!
//! Contract: for every (event, subscription) the outcome equals that of the reference evaluator run
//! on that subscription alone; the index may skip a subscription only if its outcome is provably
//! "no match". Readers see one snapshot per event. This stage knows neither the broker nor HTTP nor
//! how a match is delivered.

mod conditions;
mod decision;
mod dry_run;
mod evaluate;
pub mod evaluation_share;
mod index;
mod index_metrics;
mod indexer;
mod low_priority;
mod matches;
pub mod metrics;
mod one_by_one;
mod partition;
mod projection_cache;
pub mod snapshot;
pub mod subscription;

pub use conditions::{Subscriber, UnmetCondition};
pub use dry_run::TriggerDecision;
pub use evaluate::{MatchLimits, Scratch};
pub use evaluation_share::{EvaluationShares, ExceededShare, LeftOut};
pub use index_metrics::render_sites;
pub use low_priority::lower_priority;
pub use matches::{EvaluationCounts, FilterFailure, Match, Matches};
pub use one_by_one::{DecidedAgain, LateMatches, MatchAgain, MatchedAgain};
pub use snapshot::Matcher;
pub use subscription::{
    DeliverySettings, EventConditions, EventSubscription, EventSubscriptions, IncludedProperty,
    KeptBodies, Owner, Subscription,
};

#[cfg(test)]
mod tests;
