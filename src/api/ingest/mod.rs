//! Endpoints that accept events: webhooks of Jira and Confluence sites, and events published over
//! HTTP.

mod body;
mod events;
mod parsing;
mod webhooks;

pub use events::{EventsState, event_routes};
pub use webhooks::{IngestState, webhook_routes};
