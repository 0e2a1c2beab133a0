//! State of the console.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::api::{AdminTokens, OwnHosts, Shared};
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
    /// Names under which browsers may open it.
    pub hosts: OwnHosts,
    /// Counts visitors with a wrong token.
    pub api: Shared,
    /// Ends the live feed when the router stops.
    pub stop: CancellationToken,
}
