//! The products whose webhooks are mapped to events.

pub mod confluence;
pub mod jira;
