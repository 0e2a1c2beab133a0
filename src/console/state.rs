//! State of the console.

use std::sync::Arc;

use crate::api::AdminTokens;
use crate::matcher::Matcher;
use crate::registry::Registry;
use crate::telemetry::LiveFeed;

/// State of the console, shared by its pages.
#[derive(Clone)]
pub struct Console {
    /// The subscriptions.
    pub registry: Arc<Registry>,
    /// Counts of events that did not match.
    pub matcher: Arc<Matcher>,
    /// Feed of routed events and deliveries.
    pub live: LiveFeed,
    /// Required of visitors; none in `dev` mode.
    pub tokens: Option<AdminTokens>,
}
