//! State of the console.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::api::{AdminTokens, OwnHosts, Shared};
use crate::domain::Secret;
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

/// A visitor of the console: the token that the browser presents.
#[derive(Clone)]
pub(super) struct Visitor(pub(super) Secret);

impl Console {
    /// Whether a visitor may see the pages now. Tokens can be revoked while a page is open.
    pub(super) fn admits(&self, visitor: Option<&Visitor>) -> bool {
        let Some(tokens) = &self.tokens else { return true };
        visitor.is_some_and(|Visitor(token)| tokens.accepts(token.reveal()))
    }
}
