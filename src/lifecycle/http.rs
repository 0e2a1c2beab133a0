//! The HTTP listener: APIs, probes, metrics and console on one address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::background::Background;
use super::descriptors;
use crate::api::health;
use crate::api::ingest::{EventsState, IngestRefusals, IngestState, SiteAccess, SiteRules};
use crate::api::scrape::{self, MetricsAccess, Scrape};
use crate::api::{
    self, AccessUse, AdminTokens, ApiParts, ApiState, BrokerAnswers, Listening, Operations,
    OwnHosts, Recovery, Shared,
};
use crate::audit::AuditLog;
use crate::config::{Config, MetricsConfig, ServerConfig};
use crate::console::{self, Console, OidcProvider, OperatorApi, SessionParts, Sessions};
use crate::delivery::{DeliveryLogReader, EgressGuard, FailedWebhooks};
use crate::domain::Secret;
use crate::event::sources::SOURCES;
use crate::event::{EventArchive, Publisher, UnmappedWebhooks};
use crate::listener::{self, AuthFailures, BodyIntake, Listener};
use crate::matcher::Matcher;
use crate::registry::Registry;
use crate::sessions::SessionStore;
use crate::telemetry::subscriptions::TopSubscriptions;

/// Connections of the listener for metrics and probes.
const METRICS_CONNECTIONS_MAX: usize = 64;

/// What the HTTP listener needs to serve its routes.
pub(super) struct HttpParts {
    pub(super) registry: Arc<Registry>,
    pub(super) matcher: Arc<Matcher>,
    pub(super) guard: Arc<EgressGuard>,
    pub(super) failed_webhooks: Arc<dyn FailedWebhooks>,
    pub(super) unmapped_webhooks: Arc<dyn UnmappedWebhooks>,
    pub(super) delivery_log: Arc<dyn DeliveryLogReader>,
    pub(super) events: Arc<dyn EventArchive>,
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) recovery: Recovery,
    pub(super) listening: Listening,
    pub(super) operations: Operations,
    pub(super) answers: Arc<BrokerAnswers>,
    pub(super) audit: Arc<dyn AuditLog>,
    pub(super) sessions: Arc<dyn SessionStore>,
    pub(super) oidc: Option<OidcProvider>,
    pub(super) metrics: PrometheusHandle,
    pub(super) top: Arc<TopSubscriptions>,
    pub(super) admin_tokens: AdminTokens,
    /// Whether the console asks for an admin token, and webhooks of sites without settings are refused.
    pub(super) asks_token: bool,
}

/// The routes by listener.
pub(super) struct Routes {
    /// All APIs, probes, metrics and console.
    all: axum::Router,
    /// Metrics and probes only.
    metrics: axum::Router,
}

impl HttpParts {
    fn events_state(
        &self,
        config: &Config,
        bodies: Arc<BodyIntake>,
        refusals: &Arc<IngestRefusals>,
    ) -> EventsState {
        EventsState {
            publisher: Arc::clone(&self.publisher),
            body_bytes_max: config.limits.body,
            event_bytes_max: config.limits.event,
            bodies,
            refusals: Arc::clone(refusals),
            broker: Arc::clone(&self.answers),
            directory: Arc::clone(&self.registry) as _,
            allows_unknown_types: config.events.allow_unknown,
        }
    }

    fn ingest_state(
        &self,
        config: &Config,
        bodies: Arc<BodyIntake>,
        failures: Arc<AuthFailures>,
        refusals: &Arc<IngestRefusals>,
    ) -> IngestState {
        IngestState {
            publisher: Arc::clone(&self.publisher),
            directory: Arc::clone(&self.registry) as _,
            rules: Arc::new(site_rules(config, !self.asks_token)),
            bodies,
            failures,
            refusals: Arc::clone(refusals),
            body_bytes_max: config.limits.body,
            event_bytes_max: config.limits.event,
        }
    }

    /// Returns the routes; `stop` ends live feeds.
    pub(super) fn routes(self, config: &Config, stop: &CancellationToken) -> Routes {
        api::begin_auth_failures();
        let shares = Arc::clone(&self.operations.shares);
        let (health, dispatcher) =
            (Arc::clone(&self.operations.health), Arc::clone(&self.operations.dispatcher));
        let bodies = Arc::new(BodyIntake::new(&config.server));
        let failures = Arc::new(AuthFailures::new(config.server.auth_failures_per_minute));
        let refusals = Arc::<IngestRefusals>::default();
        let events = self.events_state(config, Arc::clone(&bodies), &refusals);
        let ingest =
            self.ingest_state(config, Arc::clone(&bodies), Arc::clone(&failures), &refusals);
        let state = Arc::new(ApiState {
            registry: Arc::clone(&self.registry),
            matcher: Arc::clone(&self.matcher),
            broker: Arc::clone(&self.answers),
            admin_tokens: self.admin_tokens.clone(),
            access: AccessUse::default(),
            audit: Arc::clone(&self.audit),
            body_max: config.limits.body,
            bodies,
            failures,
            failed_webhooks: self.failed_webhooks,
            unmapped_webhooks: self.unmapped_webhooks,
            refusals: Arc::clone(&refusals),
            delivery_log: self.delivery_log,
            events: self.events,
            guard: self.guard,
            recovery: self.recovery,
            operations: self.operations,
            listening: self.listening,
        });
        let hosts = OwnHosts::new(&config.server.public_url, &config.server.hosts);
        let scrape_state = Scrape {
            process: self.metrics,
            top: self.top,
            registry: Arc::clone(&self.registry),
            matcher: Arc::clone(&self.matcher),
            shares,
            dispatcher,
            refusals,
            access: metrics_access(&config.metrics, hosts.clone(), Arc::clone(&state)),
        };
        let mut own_scrape = scrape_state.clone();
        own_scrape.access.is_open = true;
        let probes = health::probes(Arc::clone(&health), Arc::clone(&state));
        let parts =
            ApiParts { state: Arc::clone(&state), events, ingest, health, scrape: scrape_state };
        let (apis, document) = api::routes(parts);
        let server = &config.server;
        let sessions = self.asks_token.then(|| SessionParts {
            store: self.sessions,
            audit: self.audit,
            api: Arc::clone(&state),
            is_secure: server.public_url.starts_with("https:") || !server.tls_cert_file.is_empty(),
            oidc: self.oidc,
        });
        let pages = Console {
            operator_api: OperatorApi::new(apis.clone()),
            sessions: sessions.map(Sessions::new),
            hosts,
            api: state,
            csrf: Arc::new(Secret::new(uuid::Uuid::new_v4().simple().to_string())),
            stop: stop.clone(),
        };
        let all = apis.merge(console::reference_routes(document)).merge(console::routes(pages));
        Routes { all, metrics: scrape::metrics(own_scrape).merge(probes).into() }
    }
}

/// Returns who may read the metrics on the common listener.
fn metrics_access(config: &MetricsConfig, hosts: OwnHosts, api: Shared) -> MetricsAccess {
    let token = Some(config.token.clone()).filter(|token| !token.is_empty());
    MetricsAccess { token, hosts, is_open: false, api }
}

/// A listener cannot use its address.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {cause}; {help}")]
pub struct ListenError {
    address: String,
    cause: io::Error,
    help: String,
}

impl ListenError {
    fn new(name: &str, address: &str, cause: io::Error) -> Self {
        let setting = match name {
            "main" => "--listen or server.listen",
            _ => "metrics.listen",
        };
        let help = match cause.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another program uses the port, perhaps another router: choose a port with {setting}; 0 is any free one"
            ),
            _ => format!("{setting} is ADDR:PORT, with an address of this machine"),
        };
        Self { address: address.to_owned(), cause, help }
    }
}

/// The bound listeners.
pub(super) struct Listeners {
    main: Listener,
    /// For metrics and probes, if they have one of their own.
    metrics: Option<Listener>,
}

impl Listeners {
    /// Binds the listeners of the configuration.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |name, address: &str| {
            let bound = Listener::bind(name, address).await;
            bound.map_err(|cause| ListenError::new(name, address, cause))
        };
        let metrics = match config.metrics.listen.as_str() {
            "" => None,
            address => Some(bind("metrics", address).await?),
        };
        let mut main = bind("main", &config.server.listen).await?;
        let ServerConfig { tls_cert_file: cert, tls_key_file: key, .. } = &config.server;
        if !cert.is_empty() {
            main =
                main.with_tls(cert.as_ref(), key.as_ref()).await.context("server.tls_cert_file")?;
        }
        Ok(Self { main, metrics })
    }

    /// Returns the address of the main listener.
    pub(super) fn address(&self) -> SocketAddr {
        self.main.address
    }

    /// Returns the URL of the main listener.
    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.main.scheme(), self.main.address)
    }

    /// Serves `routes` until the router stops; running requests end first.
    pub(super) fn serve(self, background: &Background, routes: Routes, config: &ServerConfig) {
        let connections_max = descriptors::connections_max(config.connections_max);
        let spawn = |listener, routes, connections_max| {
            let (config, stop) = (config.clone(), background.stop.clone());
            background.tasks.spawn(async move {
                listener::serve(listener, routes, &config, connections_max, stop).await;
            });
        };
        spawn(self.main, routes.all, connections_max);
        if let Some(metrics) = self.metrics {
            tracing::info!(address = %metrics.address, "listening for metrics");
            spawn(metrics, routes.metrics, METRICS_CONNECTIONS_MAX);
        }
    }
}

fn both(current: &Option<Secret>, previous: &Option<Secret>) -> Vec<Secret> {
    current.iter().chain(previous).cloned().collect()
}

/// Returns what authenticates the webhooks of each site.
fn site_rules(config: &Config, is_open: bool) -> SiteRules {
    let sites = SOURCES.iter().flat_map(|source| {
        let sites = config.ingest.get(source.name());
        debug_assert!(sites.is_some(), "the section [ingest.{}]", source.name());
        sites.into_iter().flatten().map(|(site, settings)| {
            let access = SiteAccess {
                secrets: both(&settings.secret, &settings.previous_secret),
                tokens: both(&settings.token, &settings.previous_token),
                unsigned: settings.unsigned,
            };
            ((source.product(), site.as_str().into()), access)
        })
    });
    SiteRules { sites: sites.collect(), is_open }
}
