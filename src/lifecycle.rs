//! Starts all parts in order, reports readiness, and drains and stops them.

mod app_calls;
mod broker_monitor;
mod endpoint_gone;
mod managed_broker;
mod readiness;
mod skew;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use app_calls::AppCalls;
use broker_monitor::BrokerMonitor;
use managed_broker::ManagedBroker;

use crate::api::health::{self, Health};
use crate::api::ingest::{EventsState, IngestState};
use crate::api::scrape::{self, Scrape};
use crate::api::{self, ApiState};
use crate::bus::stream_monitor::StreamMonitor;
use crate::bus::{
    BackpressureGate, Connections, DeadLetterStream, EventPublisher, FailedWebhookStream,
    FunctionClient, GoneBroadcast, ManagedServer, ParkingCapacity, ParkingStream, PullSubscription,
    Subjects, streams,
};
use crate::clock;
use crate::config::{self, Config};
use crate::console::{self, Console};
use crate::delivery::{
    ChannelPorts, Dispatcher, EgressGuard, EndpointGoneReport, FailedWebhooks, HttpSender, Ports,
    Random, SubscriptionDirectory,
};
use crate::domain::{Secret, SubscriptionId};
use crate::event::Publisher;
use crate::event::sources::SOURCES;
use crate::matcher::{Matcher, Subscription};
use crate::registry::{Registry, Settings};
use crate::router::Router;
use crate::store::{KvOptions, KvStore};
use crate::telemetry::LiveFeed;
use crate::telemetry::exporter;
use crate::telemetry::subscriptions::TopSubscriptions;

/// Consumers of the event stream; each decodes and matches on its own task.
const WORKERS: usize = 2;
/// Interval of the heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Longest time that a start waits for the registry to load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Capacity of the channel of [`EndpointGoneReport`]s; reports beyond it are dropped.
const ENDPOINT_REPORTS_MAX: usize = 256;

/// Storage that a managed broker gets in addition to events: parked deliveries, dead letters,
/// registry.
const MANAGED_RESERVE_BYTES: u64 = 16 << 30;

/// How the router was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Started by `switchyard serve`.
    Serve,
    /// Started by `switchyard dev`: the console asks for no token.
    Dev,
}

/// A started router.
pub struct Running {
    /// Address of the HTTP listener.
    pub address: SocketAddr,
    /// URL of the managed broker, if there is one.
    pub managed_url: Option<String>,
    /// The live feed.
    pub live: LiveFeed,
    /// Tasks that must end before the broker's connections are closed.
    pub tasks: TaskTracker,
    /// Stops the router when cancelled.
    pub stop: CancellationToken,
    health: Arc<Health>,
    connections: Connections,
    server: Option<ManagedBroker>,
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

    let (server, urls) = broker(config).await?;
    let connections = Connections::open(&config.nats, &urls).await?;
    let subjects = Subjects::new(&config.nats.prefix);
    streams::ensure(&connections.control, &subjects, &config.nats, &config.events).await?;

    let health = Arc::new(Health::default());
    let monitor = BrokerMonitor::start(&connections, &subjects, config, &health).await;

    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let live = LiveFeed::default();
    let matcher = Arc::new(Matcher::new(config.limits.steps));
    let registry = open_registry(config, address, &connections, &matcher, &tasks, &stop).await?;
    let guard = Arc::new(EgressGuard::new(&config.delivery)?);
    guard.forbid(own_addresses(address, &urls).await);
    let sender = HttpSender::new(&config.delivery, Arc::clone(&guard))?;
    call_apps(config, sender.clone(), &registry, &tasks, &stop);
    let endpoint_reports =
        collect_endpoint_reports(&connections, &subjects, &registry, &tasks, &stop);

    let (gate, room) = (
        Arc::new(BackpressureGate::default()),
        Arc::new(ParkingCapacity::new(config.delivery.parked_max)),
    );
    let outbound = connections.outbound.clone();
    let publisher: Arc<dyn Publisher> =
        Arc::new(EventPublisher::new(outbound, subjects.clone(), Arc::clone(&gate)));
    let control = connections.control.clone();
    let watch =
        StreamMonitor::new(control, subjects.clone(), &config.events, gate, Arc::clone(&room));
    let ports = ports(&connections, &subjects, room, &registry, endpoint_reports);
    let random = Random::from_system();
    let dispatcher = Dispatcher::new(&config.delivery, sender, ports, random, live.clone());
    let router = Arc::new(Router::new(
        config,
        Arc::clone(&matcher),
        Arc::new(dispatcher),
        Arc::new(LiveSubscriptions(Arc::clone(&registry))),
        live.clone(),
        stop.clone(),
    ));
    let (pulls, due) = consumers(config, &connections, &subjects).await?;

    let top = TopSubscriptions::parse(&config.metrics.subscriptions, &config.metrics.pinned)
        .map_err(anyhow::Error::msg)?;
    let parts = Parts {
        registry,
        matcher,
        guard,
        failed_webhooks: Arc::new(FailedWebhookStream::new(connections.control.clone(), subjects)),
        publisher,
        live: live.clone(),
        health: Arc::clone(&health),
        metrics: metrics.clone(),
        top: Arc::new(top),
    };
    let app = parts.listener(config, mode);

    spawn_server(&tasks, listener, app, &stop);
    tasks.spawn(run_heartbeat(Arc::clone(&health), metrics, stop.clone()));
    spawn_until(&stop, &tasks, monitor.run());
    spawn_until(&stop, &tasks, async move { watch.run().await });
    tasks.spawn(router.run(pulls, due));
    health.started.store(true, Relaxed);
    let managed_url = server.as_ref().map(|server| server.url().to_owned());
    let server = server.map(ManagedBroker::supervise);
    Ok(Running { address, managed_url, live, tasks, stop, health, connections, server })
}

impl Running {
    /// Waits until `stop` is cancelled or a signal arrives, then stops in order: no new work,
    /// running attempts finished or released, the managed broker last. A second signal stops at
    /// once.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub async fn until_stopped(self) -> anyhow::Result<()> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            () = self.stop.cancelled() => {}
        }
        self.health.draining.store(true, Relaxed);
        tracing::info!("stopping: finishing running work");
        self.stop.cancel();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped by a second signal"),
            _ = terminate.recv() => anyhow::bail!("stopped by a second signal"),
        }
        // The last acknowledgements must be sent before the connections are closed.
        self.connections.flush().await;
        drop(self.connections);
        if let Some(server) = self.server {
            server.stop().await;
        }
        Ok(())
    }
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

/// What the HTTP listener needs to serve its routes.
struct Parts {
    registry: Arc<Registry>,
    matcher: Arc<Matcher>,
    guard: Arc<EgressGuard>,
    failed_webhooks: Arc<dyn FailedWebhooks>,
    publisher: Arc<dyn Publisher>,
    live: LiveFeed,
    health: Arc<Health>,
    metrics: PrometheusHandle,
    top: Arc<TopSubscriptions>,
}

impl Parts {
    /// Returns the routes: registration and event APIs, operator API, probes, metrics and console.
    fn listener(self, config: &Config, mode: Mode) -> axum::Router {
        let token = Secret::new(config.admin.token.as_str());
        let guard = self.guard;
        let state = Arc::new(ApiState {
            registry: Arc::clone(&self.registry),
            matcher: Arc::clone(&self.matcher),
            admin_token: token.clone(),
            body_max: config.limits.body,
            failed_webhooks: self.failed_webhooks,
            check_url: Box::new(move |url| guard.check_url(url).map_err(|rule| rule.to_string())),
        });
        let events = events_state(config, &self.publisher);
        let ingest = ingest_state(config, &self.publisher);
        let scrape_state = Scrape {
            process: self.metrics,
            top: self.top,
            registry: Arc::clone(&self.registry),
            matcher: Arc::clone(&self.matcher),
        };
        let pages = Console {
            registry: self.registry,
            matcher: self.matcher,
            live: self.live,
            token: (mode == Mode::Serve).then_some(token),
        };
        api::router(Arc::clone(&state))
            .merge(api::event_routes(&state, events, ingest))
            .merge(health::probes(self.health, state.admin_token.clone()))
            .merge(scrape::metrics(scrape_state))
            .merge(console::routes(pages))
    }
}

/// Returns the URLs of the configured broker, or starts a managed one.
async fn broker(config: &Config) -> anyhow::Result<(Option<ManagedServer>, Vec<String>)> {
    if !config.nats.url.is_empty() {
        return Ok((None, config.nats.url.clone()));
    }
    let events = u64::try_from(config.events.max_bytes).unwrap_or_default();
    let file_bytes = events.saturating_add(MANAGED_RESERVE_BYTES);
    let candidates: Vec<PathBuf> = config::nats_server_candidates();
    let server = ManagedServer::start(&config.nats.data_dir, &candidates, file_bytes).await?;
    let urls = vec![server.url().to_owned()];
    Ok((Some(server), urls))
}

async fn open_registry(
    config: &Config,
    address: SocketAddr,
    connections: &Connections,
    matcher: &Arc<Matcher>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<Registry>> {
    let options = KvOptions { prefix: config.nats.prefix.clone(), replicas: config.nats.replicas };
    let store = KvStore::open(connections.control.context.clone(), &options).await?;
    let own_url = format!("http://{address}");
    let public_url = Some(config.server.public_url.as_str()).filter(|url| !url.is_empty());
    let settings = Settings::new(config, public_url.unwrap_or(&own_url));
    let registry = Arc::new(Registry::new(Arc::new(store), Arc::clone(matcher), settings));
    let (running, stopped) = (Arc::clone(&registry), stop.clone());
    tasks.spawn(async move { stopped.run_until_cancelled(running.run()).await });
    tokio::time::timeout(LOAD_TIMEOUT, registry.wait_until_ready())
        .await
        .with_context(|| format!("the registry did not load within {LOAD_TIMEOUT:?}"))?;
    registry.signing_keys().maintain().await.context("signing keys")?;
    Ok(registry)
}

fn ports(
    connections: &Connections,
    subjects: &Subjects,
    room: Arc<ParkingCapacity>,
    registry: &Registry,
    endpoint_reports: mpsc::Sender<EndpointGoneReport>,
) -> Ports {
    let outbound = &connections.outbound;
    Ports {
        channels: ChannelPorts {
            functions: Arc::new(FunctionClient::new(outbound.client.clone())),
            keys: Arc::clone(registry.keys()),
        },
        parking: Arc::new(ParkingStream::new(outbound.clone(), subjects.clone(), room)),
        dead_letters: Arc::new(DeadLetterStream::new(outbound.clone(), subjects.clone())),
        endpoint_reports,
    }
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

/// Opens the consumers of the event stream and the one of parked deliveries that are due.
async fn consumers(
    config: &Config,
    connections: &Connections,
    subjects: &Subjects,
) -> anyhow::Result<(Vec<PullSubscription>, PullSubscription)> {
    let events = |_| PullSubscription::events(connections, subjects, &config.events, WORKERS);
    let pulls: Vec<PullSubscription> = (0..WORKERS).map(events).collect();
    let due = PullSubscription::due(connections, subjects, &config.events);
    for pull in pulls.iter().chain([&due]) {
        pull.ensure().await.map_err(|error| anyhow::anyhow!("consumer: {error}"))?;
    }
    Ok((pulls, due))
}

/// Connects the registry to the caller of apps and starts its background tasks.
fn call_apps(
    config: &Config,
    sender: HttpSender,
    registry: &Arc<Registry>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    registry.set_app_caller(Arc::new(AppCalls::new(sender, config.limits.body)));
    let (looking, stopped) = (Arc::clone(registry), stop.clone());
    tasks.spawn(async move { stopped.run_until_cancelled(looking.run_background_tasks()).await });
}

/// Starts the task that disables modules of removed endpoints; returns where to report them.
fn collect_endpoint_reports(
    connections: &Connections,
    subjects: &Subjects,
    registry: &Arc<Registry>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> mpsc::Sender<EndpointGoneReport> {
    let broadcast = GoneBroadcast::new(connections.outbound.client.clone(), subjects);
    let (reports, received) = mpsc::channel(ENDPOINT_REPORTS_MAX);
    let (registry, stop) = (Arc::clone(registry), stop.clone());
    tasks.spawn(async move {
        let disable =
            endpoint_gone::disable_modules_of_removed_endpoints(registry, broadcast, received);
        stop.run_until_cancelled(disable).await
    });
    reports
}

/// Returns the addresses of our listener and of the broker, where no handler may be.
async fn own_addresses(listener: SocketAddr, urls: &[String]) -> Vec<SocketAddr> {
    let mut own = vec![listener];
    for url in urls {
        let host = url.rsplit_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
        if let Ok(found) = lookup_host(host).await {
            own.extend(found);
        }
    }
    own
}

fn spawn_server(
    tasks: &TaskTracker,
    listener: TcpListener,
    app: axum::Router,
    stop: &CancellationToken,
) {
    let stopped = stop.clone().cancelled_owned();
    tasks.spawn(async move {
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "HTTP listener failed");
        }
    });
}

/// Updates the heartbeat.
async fn run_heartbeat(health: Arc<Health>, metrics: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        health.heartbeat_ms.store(clock::uptime_ms(), Relaxed);
        metrics.run_upkeep();
        stop.run_until_cancelled(tokio::time::sleep(HEARTBEAT)).await;
    }
}

/// Looks subscriptions of parked deliveries up in the registry.
struct LiveSubscriptions(Arc<Registry>);

impl SubscriptionDirectory for LiveSubscriptions {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.subscription(id)
    }
}
