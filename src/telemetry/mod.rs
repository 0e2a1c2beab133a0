//! What operators see: metric names, per-subscription counters, log set-up.

pub mod names;
pub mod stats;

pub use stats::SubscriptionStats;
