//! Jira: its webhook names and event types, webhooks to events and back.

mod names;
mod source;
#[cfg(test)]
mod tests;
mod to_event;
mod to_webhook;

pub use source::JiraSource;
