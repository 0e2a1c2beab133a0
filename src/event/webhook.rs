//! Webhook mapping: converts the webhooks of the products to events and back.

pub mod delta;

pub use super::sources::confluence::mapping as confluence;
pub use super::sources::jira::to_event::{WebhookError, map_webhook};
pub use super::sources::jira::to_webhook as reverse;
