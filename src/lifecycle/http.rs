//! The HTTP listener: APIs, probes, metrics and console on one address.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use super::background::Background;
use crate::api::health::{self, Health};
use crate::api::ingest::{EventsState, IngestState};
use crate::api::scrape::{self, Scrape};
use crate::api::{self, AdminTokens, ApiState};
use crate::config::Config;
use crate::console::{self, Console};
use crate::delivery::{EgressGuard, FailedWebhooks, Shares};
use crate::domain::Secret;
use crate::event::Publisher;
use crate::event::sources::SOURCES;
use crate::matcher::Matcher;
use crate::registry::Registry;
use crate::telemetry::LiveFeed;
use crate::telemetry::subscriptions::TopSubscriptions;

/// What the HTTP listener needs to serve its routes.
pub(super) struct HttpParts {
    pub(super) registry: Arc<Registry>,
    pub(super) matcher: Arc<Matcher>,
    pub(super) guard: Arc<EgressGuard>,
    pub(super) failed_webhooks: Arc<dyn FailedWebhooks>,
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) live: LiveFeed,
    pub(super) shares: Arc<Shares>,
    pub(super) health: Arc<Health>,
    pub(super) metrics: PrometheusHandle,
    pub(super) top: Arc<TopSubscriptions>,
    pub(super) admin_tokens: AdminTokens,
    /// Whether the console asks for an admin token.
    pub(super) console_asks_token: bool,
}

impl HttpParts {
    /// Returns the routes: registration and event APIs, operator API, probes, metrics and console.
    pub(super) fn routes(self, config: &Config) -> axum::Router {
        let state = Arc::new(ApiState {
            registry: Arc::clone(&self.registry),
            matcher: Arc::clone(&self.matcher),
            admin_tokens: self.admin_tokens.clone(),
            body_max: config.limits.body,
            failed_webhooks: self.failed_webhooks,
            guard: self.guard,
        });
        let events = events_state(config, &self.publisher);
        let ingest = ingest_state(config, &self.publisher);
        let scrape_state = Scrape {
            process: self.metrics,
            top: self.top,
            registry: Arc::clone(&self.registry),
            matcher: Arc::clone(&self.matcher),
            shares: self.shares,
        };
        let pages = Console {
            registry: self.registry,
            matcher: self.matcher,
            live: self.live,
            tokens: self.console_asks_token.then_some(self.admin_tokens),
        };
        api::router(Arc::clone(&state))
            .merge(api::event_routes(&state, events, ingest))
            .merge(health::probes(self.health, state.admin_tokens.clone()))
            .merge(scrape::metrics(scrape_state))
            .merge(console::routes(pages))
    }
}

/// Opens the listener; returns its address, too.
pub(super) async fn listen(config: &Config) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(&config.server.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves `app` on `listener` until the router stops; running requests end first.
pub(super) fn serve(background: &Background, listener: TcpListener, app: axum::Router) {
    let stopped = background.stop.clone().cancelled_owned();
    background.tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "HTTP listener failed");
        }
    });
}

fn events_state(config: &Config, publisher: &Arc<dyn Publisher>) -> EventsState {
    EventsState {
        publisher: Arc::clone(publisher),
        body_bytes_max: config.limits.body,
        event_bytes_max: config.limits.event,
    }
}

fn ingest_state(config: &Config, publisher: &Arc<dyn Publisher>) -> IngestState {
    let sites = SOURCES.iter().flat_map(|source| {
        let sites = config.ingest.get(source.name());
        debug_assert!(sites.is_some(), "the section [ingest.{}]", source.name());
        sites.into_iter().flatten().map(|(site, settings)| {
            ((source.product(), site.as_str().into()), Secret::new(settings.secret.as_str()))
        })
    });
    IngestState {
        publisher: Arc::clone(publisher),
        secrets: Arc::new(sites.collect()),
        body_bytes_max: config.limits.body,
    }
}
