//! Telemetry: metric names, per-subscription counters, logs, traces and the live feed.

mod escape;
mod event_types;
pub mod exporter;
pub mod history;
pub mod live_feed;
pub mod log_budget;
pub mod logs;
pub mod names;
pub mod sites;
pub mod stats;
pub mod subscriptions;
pub mod totals;
pub mod traces;

pub use escape::Escaped;
pub use event_types::{EventTypeCounters, list_event_types};
pub use live_feed::{FEED_EVENTS_MAX, LiveEvent, LiveFailure, LiveFeed};
pub use log_budget::LogBudget;
pub use stats::{FilterOutcomes, SubscriptionCounters, SubscriptionStats};
