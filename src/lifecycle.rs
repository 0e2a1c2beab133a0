//! Starts all parts in order, reports readiness, and drains and stops them.

mod admin_tokens;
mod app_calls;
mod background;
mod broker;
mod broker_monitor;
mod descriptors;
mod doctor;
mod encryption;
mod endpoint_gone;
mod history;
mod http;
mod listening;
mod managed_broker;
mod readiness;
mod registry;
mod retention;
mod routing;
mod running;
mod sign_on;
mod skew;
mod subscriptions;
mod traces;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use tokio::sync::Semaphore;

use admin_tokens::follow_token_file;
use background::Background;
use broker::Broker;
use broker_monitor::BrokerMonitor;
use http::{HttpParts, Listeners};
use managed_broker::ManagedBroker;
use routing::Routing;

use crate::api::health::Health;
use crate::api::{AdminTokens, BrokerAnswers, Operations, PingLimit, Recovery};
use crate::audit::AuditLog;
use crate::bus::{
    AuditStream, DeliveryLogStreamReader, FailedWebhookStream, LogIndexer, PublishGates,
    StreamInspector, UnmappedWebhookCounts,
};
use crate::clock;
use crate::config::{Config, LimitsConfig};
use crate::delivery::{DeliveryLogReader, EgressGuard, HttpSender, NoDeliveryLog};
use crate::matcher::Matcher;
use crate::recovery::explain::ExplainTurns;
use crate::registry::{Registry, catalog};
use crate::telemetry::exporter;
use crate::telemetry::subscriptions::TopSubscriptions;
use crate::telemetry::{LiveFeed, list_event_types};

pub use admin_tokens::admin_tokens;
pub use http::ListenError;
pub use running::{ManagedAccess, Running};

/// Interval of the heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How the router was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Started by `switchyard serve`.
    Serve,
    /// Started by `switchyard dev`: the console asks for no token, webhooks need no secret.
    Dev,
}

/// Starts all parts and returns once triggers can be registered and events are routed.
///
/// # Errors
/// A setting is wrong, the port is in use, or the broker cannot be used; each error says what to
/// do.
pub async fn start(
    config: &Config,
    admin_tokens: AdminTokens,
    mode: Mode,
) -> anyhow::Result<Running> {
    // rustls needs one crypto provider for the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = exporter::install_metrics()?;
    list_event_types(|name| catalog::find(name).is_some());
    let listeners = Listeners::bind(config).await?;
    let (address, url) = (listeners.address(), listeners.url());
    let broker = Broker::open(config).await?;
    let health = Arc::new(Health::default());
    let answers = Arc::<BrokerAnswers>::default();
    let monitor = BrokerMonitor::start(&broker, config, &health, &answers).await;

    let (background, live) = (Background::default(), LiveFeed::default());
    let matcher = matcher(&config.limits);
    let keys = encryption::keys(config, mode == Mode::Dev)?;
    let announced = encryption::announce(&broker, &keys).await;
    let registry = registry::open(config, (&url, keys), &broker, &matcher, &background).await?;
    let others = announced.others();
    encryption::follow_replicas(announced, &registry, &background);
    let listening = listening::connect(config, &broker, (&registry, &matcher), others, &background);
    let (guard, sender) = guarded_sender(config, address, &broker).await?;
    registry::call_apps(config, sender.clone(), &registry, &background);
    background.spawn(registry::report_exceeded_shares(Arc::clone(&registry), Arc::clone(&matcher)));
    let reports = registry::collect_endpoint_reports(&broker, &registry, &background);
    let parts = (&matcher, &registry, &live, &listening.listeners);
    let (traces, trace_export) = traces::start(&config.traces)?;
    let routing =
        Routing::connect(config, &broker, parts, traces, sender, reports, &background).await?;

    let (failed_webhooks, unmapped_webhooks) = webhook_readers(&broker);
    let http = HttpParts {
        registry: Arc::clone(&registry),
        matcher,
        guard,
        failed_webhooks,
        unmapped_webhooks,
        delivery_log: delivery_log(config, &broker),
        events: Arc::clone(&routing.events),
        publisher: Arc::clone(&routing.publisher),
        recovery: recovery(&routing),
        listening,
        operations: operations(config, mode, &broker, (&routing, &live, &health), &background),
        answers,
        audit: audit_log(config, &broker).await?,
        sessions: sign_on::sessions(config, &broker).await?,
        oidc: sign_on::provider(config)?,
        metrics: metrics.clone(),
        top: top_subscriptions(config)?,
        admin_tokens: admin_tokens.clone(),
        asks_token: mode == Mode::Serve,
    };
    listeners.serve(&background, http.routes(config, &background.stop), &config.server);
    let gates = Arc::clone(&routing.gates);
    background.spawn(run_heartbeat(Arc::clone(&health), gates, registry, metrics));
    background.spawn(monitor.run());
    index_log(config, &broker, &background);
    follow_tokens(config, admin_tokens, &background);
    routing.start(&background);
    health.started.store(true, Relaxed);
    let Background { tasks, stop } = background;
    Ok(Running {
        address,
        url,
        managed_broker: broker.managed_access(),
        live,
        tasks,
        stop,
        health,
        trace_export,
        connections: broker.connections,
        server: broker.server.map(ManagedBroker::supervise),
    })
}

/// Returns what reads the webhooks that no handler took, and counts those that no type is known of.
fn webhook_readers(broker: &Broker) -> (Arc<FailedWebhookStream>, Arc<UnmappedWebhookCounts>) {
    let (control, subjects) = (&broker.connections.control, &broker.subjects);
    (
        Arc::new(FailedWebhookStream::new(control.clone(), subjects.clone())),
        Arc::new(UnmappedWebhookCounts::new(control.clone(), subjects.clone())),
    )
}

/// Follows the file of admin tokens, if there is one.
fn follow_tokens(config: &Config, tokens: AdminTokens, background: &Background) {
    if !config.admin.token_file.is_empty() {
        let config = config.clone();
        background.spawn(async move { follow_token_file(&config, tokens).await });
    }
}

/// Opens the audit log.
async fn audit_log(config: &Config, broker: &Broker) -> anyhow::Result<Arc<dyn AuditLog>> {
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    Ok(Arc::new(AuditStream::open(control, subjects, config).await?))
}

/// Indexes the delivery log, if it is on.
fn index_log(config: &Config, broker: &Broker, background: &Background) {
    if config.delivery.log {
        let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
        background.spawn(LogIndexer::new(control, subjects, config.clone()).run());
    }
}

fn matcher(limits: &LimitsConfig) -> Arc<Matcher> {
    Arc::new(Matcher::new(limits.steps).with_evaluation_share(limits.evaluation_share))
}

/// Returns what operators inspect of this replica, and begins to sample what it does.
fn operations(
    config: &Config,
    mode: Mode,
    broker: &Broker,
    (routing, live, health): (&Routing, &LiveFeed, &Arc<Health>),
    background: &Background,
) -> Operations {
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    let operations = Operations {
        replica: doctor::replica(),
        health: Arc::clone(health),
        live: live.clone(),
        dispatcher: Arc::clone(&routing.dispatcher),
        shares: Arc::clone(&routing.shares),
        publisher: Arc::clone(&routing.publisher),
        broker: Arc::new(StreamInspector::new(control, subjects, config.delivery.log)),
        broker_address: broker.address(),
        configuration: doctor::of_configuration(config, mode == Mode::Dev),
        history: Arc::default(),
        pings: PingLimit::default(),
        stop: background.stop.clone(),
    };
    sample_history(&operations, background);
    operations
}

/// Samples what this replica does.
fn sample_history(operations: &Operations, background: &Background) {
    let Operations { history, publisher, health, shares, .. } = operations;
    let seen = (Arc::clone(health), Arc::clone(shares));
    background.spawn(history::sample(Arc::clone(history), Arc::clone(publisher), seen));
}

/// Returns what the APIs on deliveries that failed, and on stored events, need.
fn recovery(routing: &Routing) -> Recovery {
    Recovery {
        letters: Arc::clone(&routing.letters),
        jobs: Arc::clone(&routing.jobs),
        directory: Arc::clone(&routing.directory),
        replay: routing.replay.clone(),
        shadows: Arc::clone(&routing.shadows),
        log: routing.log.clone(),
        accountant: Arc::clone(&routing.accountant),
        ledger_turn: Semaphore::new(1),
        explain_turns: ExplainTurns::default(),
        backtests: Arc::default(),
    }
}

/// Returns what reads the delivery log.
fn delivery_log(config: &Config, broker: &Broker) -> Arc<dyn DeliveryLogReader> {
    if !config.delivery.log {
        return Arc::new(NoDeliveryLog);
    }
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    Arc::new(DeliveryLogStreamReader::new(control, subjects))
}

/// Returns the rules for outbound addresses, and the sender that applies them.
async fn guarded_sender(
    config: &Config,
    address: SocketAddr,
    broker: &Broker,
) -> anyhow::Result<(Arc<EgressGuard>, HttpSender)> {
    let guard = Arc::new(EgressGuard::new(&config.delivery)?);
    guard.forbid(broker.own_addresses(address, &config.server.public_url).await);
    let sender = HttpSender::new(&config.delivery, Arc::clone(&guard))?
        .with_sockets(descriptors::socket_budget(&config.delivery));
    Ok((guard, sender))
}

fn top_subscriptions(config: &Config) -> anyhow::Result<Arc<TopSubscriptions>> {
    TopSubscriptions::parse(&config.metrics.subscriptions, &config.metrics.pinned)
        .map(Arc::new)
        .map_err(anyhow::Error::msg)
}

/// Updates the heartbeat until the future is dropped.
async fn run_heartbeat(
    health: Arc<Health>,
    gates: Arc<PublishGates>,
    registry: Arc<Registry>,
    metrics: PrometheusHandle,
) {
    loop {
        health.heartbeat_ms.store(clock::uptime_ms(), Relaxed);
        health.writes_blocked.store(gates.are_blocked(), Relaxed);
        health.unreadable_documents.store(registry.unreadable_documents().len(), Relaxed);
        metrics.run_upkeep();
        tokio::time::sleep(HEARTBEAT).await;
    }
}
