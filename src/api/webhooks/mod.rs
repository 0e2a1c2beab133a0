//! The API of Jira's dynamic webhooks.

pub(in crate::api) mod registration;
