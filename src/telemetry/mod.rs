//! What operators see: metric names, per-subscription counters, log set-up.

pub mod log_budget;
pub mod names;
pub mod stats;

pub use log_budget::LogBudget;
pub use stats::SubscriptionStats;
