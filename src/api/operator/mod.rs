//! The operator API, behind the admin token.

pub(in crate::api) mod apps;
pub(in crate::api) mod filters;
pub(in crate::api) mod modules;
pub(in crate::api) mod signing_keys;
pub(in crate::api) mod subscriptions;
