//! Endpoints that accept events: webhooks of sites, and events published over HTTP.

pub mod events;
pub mod webhooks;
