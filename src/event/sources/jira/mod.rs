//! Jira.

#[cfg(test)]
mod tests;
pub mod to_event;
pub mod to_webhook;
