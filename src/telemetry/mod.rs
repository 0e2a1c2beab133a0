//! What operators see: metric names, per-subscription counters, logs and the live feed.

pub mod exporter;
pub mod live;
pub mod log_budget;
pub mod names;
pub mod stats;
pub mod subscriptions;

pub use live::{Live, Notice};
pub use log_budget::LogBudget;
pub use stats::{Counters, SubscriptionStats};
