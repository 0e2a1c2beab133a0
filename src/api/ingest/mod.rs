//! Endpoints that accept events: webhooks of Jira and Confluence sites, and events published over
//! HTTP.

mod body;
mod events;
mod parsing;
mod recent_refusals;
mod refusals;
mod repeats;
mod sites;
mod webhooks;

pub use events::{EventsState, event_routes};
pub use recent_refusals::RefusedSite;
pub use refusals::IngestRefusals;
pub use sites::{SiteAccess, SiteDirectory, SiteRules};
pub use webhooks::{IngestState, webhook_routes};
