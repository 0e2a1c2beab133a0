//! Endpoints that accept events: webhooks of Jira and Confluence sites, and events published over
//! HTTP.

mod body;
mod events;
mod parsing;
mod refusals;
mod repeats;
mod sites;
mod webhooks;

pub use events::{EventsState, event_routes};
pub use refusals::{IngestRefusals, RefusedSite};
pub use sites::{SiteAccess, SiteDirectory, SiteRules};
pub use webhooks::{IngestState, webhook_routes};
