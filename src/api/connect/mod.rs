//! The Connect API: dynamic modules of Connect apps in Jira and Confluence.

pub(in crate::api) mod auth;
pub(in crate::api) mod modules;
