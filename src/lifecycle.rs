//! Starts all parts in order, reports readiness, and drains and stops them.

mod app_calls;
mod broker;
mod broker_monitor;
mod descriptors;
mod endpoint_gone;
mod http;
mod managed_broker;
mod readiness;
mod registry;
mod routing;
mod running;
mod skew;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use broker_monitor::BrokerMonitor;
use http::HttpParts;
use managed_broker::ManagedBroker;

use crate::api::health::Health;
use crate::bus::stream_monitor::StreamMonitor;
use crate::bus::{
    BackpressureGate, Connections, CrashRecordBucket, FailedWebhookStream, PublishGates, Subjects,
    streams,
};
use crate::clock;
use crate::config::Config;
use crate::delivery::{Dispatcher, EgressGuard, HttpSender, Random, Shares, SubscriptionDirectory};
use crate::matcher::Matcher;
use crate::registry::Registry;
use crate::router::Router;
use crate::telemetry::LiveFeed;
use crate::telemetry::exporter;
use crate::telemetry::subscriptions::TopSubscriptions;

pub use running::Running;

/// Interval of the heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How the router was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Started by `switchyard serve`.
    Serve,
    /// Started by `switchyard dev`: the console asks for no token.
    Dev,
}

/// Starts all parts and returns once triggers can be registered and events are routed.
///
/// # Errors
/// A setting is wrong, the port is in use, or the broker cannot be used; each error says what to
/// do.
pub async fn start(config: &Config, mode: Mode) -> anyhow::Result<Running> {
    // rustls needs one crypto provider for the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = exporter::install_metrics()?;
    let listener = TcpListener::bind(&config.server.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;

    let (server, urls) = broker::open(config).await?;
    let connections = Connections::open(&config.nats, &urls).await?;
    let subjects = Subjects::new(&config.nats.prefix);
    let (control, nats) = (&connections.control, &config.nats);
    streams::ensure(control, &subjects, nats, &config.events, &config.delivery).await?;

    let health = Arc::new(Health::default());
    let monitor = BrokerMonitor::start(&connections, &subjects, config, &health).await;

    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let live = LiveFeed::default();
    let matcher = Arc::new(Matcher::new(config.limits.steps));
    let registry = registry::open(config, address, &connections, &matcher, &tasks, &stop).await?;
    let (guard, sender) = guarded_sender(config, address, &urls).await?;
    registry::call_apps(config, sender.clone(), &registry, &tasks, &stop);
    let endpoint_reports =
        registry::collect_endpoint_reports(&connections, &subjects, &registry, &tasks, &stop);

    let gate = Arc::new(BackpressureGate::default());
    let (shares, gates) = (Arc::new(Shares::new(&config.delivery)), Arc::default());
    let (publisher, trimmer) = routing::event_stream(config, &connections, &subjects, &gate);
    let watch = StreamMonitor::new(control.clone(), subjects.clone(), &config.events, gate);
    let ports =
        routing::ports(&connections, &subjects, (&shares, &gates), &registry, endpoint_reports);
    let dispatcher =
        Dispatcher::new(&config.delivery, sender, ports, Random::from_system(), live.clone());
    let directory: Arc<dyn SubscriptionDirectory> =
        Arc::new(routing::LiveSubscriptions(Arc::clone(&registry)));
    routing::count_shares(config, &connections, &shares, &directory, &tasks, &stop);
    let router = Arc::new(Router::new(
        config,
        Arc::clone(&matcher),
        Arc::new(dispatcher),
        Arc::clone(&directory),
        Arc::new(CrashRecordBucket::new(&connections, &subjects)),
        live.clone(),
        stop.clone(),
    ));
    let (pulls, due) = routing::consumers(config, &connections, &subjects).await?;

    let top = TopSubscriptions::parse(&config.metrics.subscriptions, &config.metrics.pinned)
        .map_err(anyhow::Error::msg)?;
    let parts = HttpParts {
        registry: Arc::clone(&registry),
        matcher,
        guard,
        failed_webhooks: Arc::new(FailedWebhookStream::new(connections.control.clone(), subjects)),
        publisher,
        live: live.clone(),
        shares,
        health: Arc::clone(&health),
        metrics: metrics.clone(),
        top: Arc::new(top),
        console_asks_token: mode == Mode::Serve,
    };
    http::serve(&tasks, listener, parts.routes(config), &stop);
    tasks.spawn(run_heartbeat(Arc::clone(&health), gates, registry, metrics, stop.clone()));
    spawn_until(&stop, &tasks, monitor.run());
    spawn_until(&stop, &tasks, async move { watch.run().await });
    spawn_until(&stop, &tasks, async move { trimmer.run().await });
    tasks.spawn(router.run(pulls, due));
    health.started.store(true, Relaxed);
    let managed_url = server.as_ref().map(|server| server.url().to_owned());
    let server = server.map(ManagedBroker::supervise);
    Ok(Running { address, managed_url, live, tasks, stop, health, connections, server })
}

/// Returns the rules for outbound addresses, and the sender that applies them.
async fn guarded_sender(
    config: &Config,
    address: SocketAddr,
    urls: &[String],
) -> anyhow::Result<(Arc<EgressGuard>, HttpSender)> {
    let guard = Arc::new(EgressGuard::new(&config.delivery)?);
    let own = broker::own_addresses(address, &config.server.public_url, urls).await;
    guard.forbid(own);
    let sender = HttpSender::new(&config.delivery, Arc::clone(&guard))?
        .with_sockets(descriptors::socket_budget(&config.delivery));
    Ok((guard, sender))
}

/// Starts a task that ends when `stop` is cancelled.
fn spawn_until(
    stop: &CancellationToken,
    tasks: &TaskTracker,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move { stop.run_until_cancelled(work).await });
}

/// Updates the heartbeat.
async fn run_heartbeat(
    health: Arc<Health>,
    gates: Arc<PublishGates>,
    registry: Arc<Registry>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        health.heartbeat_ms.store(clock::uptime_ms(), Relaxed);
        health.writes_blocked.store(gates.are_blocked(), Relaxed);
        health.unreadable_documents.store(registry.unreadable_count(), Relaxed);
        metrics.run_upkeep();
        stop.run_until_cancelled(tokio::time::sleep(HEARTBEAT)).await;
    }
}
