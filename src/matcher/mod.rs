//! 2. Who wants it: an event and the live subscriptions become the list of matches.
//!
//! Contract: for every (event, subscription) the outcome equals that of the reference evaluator run
//! on that subscription alone; the index may skip a subscription only if its outcome is provably
//! "no match". Readers take no lock and see one snapshot per event. This stage knows neither the
//! broker nor HTTP nor how a match is delivered.

pub mod metrics;
pub mod snapshot;
pub mod subscription;

pub use snapshot::{FilterFailure, Match, Matcher, Matches, Scratch};
pub use subscription::{Filter, Listen, Subscription};
