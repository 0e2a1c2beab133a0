//! A broker for the bench, and the router's parts connected to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use async_nats::jetstream::consumer::{self, PullConsumer};
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use metrics_exporter_prometheus::PrometheusHandle;
use switchyard::bus::subjects::ROUTER_CONSUMER;
use switchyard::bus::{
    BackpressureGate, Connections, CrashRecordBucket, DeadLetterReader, DeadLetterStream,
    DeliveryLogStream, EventPublisher, FunctionClient, JobOutcomeCounter, ManagedServer,
    ParkingStream, PublishGates, PullSubscription, RepeatRecorder, Repeats, Subjects, streams,
};
use switchyard::config::Config;
use switchyard::delivery::{
    ChannelPorts, DeliveryLog, Dispatcher, EgressGuard, HttpSender, Ports, Random, Shares,
    SubscriptionDirectory,
};
use switchyard::domain::SubscriptionId;
use switchyard::event::Publisher;
use switchyard::matcher::{Matcher, Subscription};
use switchyard::router::Router;
use switchyard::telemetry::{LiveFeed, exporter};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::corpus;
use crate::report::Stopwatch;

/// Pulls on the event stream, as many as the router runs with.
pub(crate) const WORKERS: usize = 2;
/// Size limit of the streams on disk.
const FILE_BYTES_MAX: u64 = 8 << 30;
/// Publishes in flight at once.
const PUBLISHING: usize = 512;
/// Pause between two checks of a running round.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A broker with the streams of a router.
pub(crate) struct Rig {
    server: ManagedServer,
    _folder: TempDir,
    pub(crate) config: Config,
    pub(crate) connections: Connections,
    subjects: Subjects,
    metrics: PrometheusHandle,
}

/// A directory with the subscriptions of a round.
struct Few(Vec<Arc<Subscription>>);

impl SubscriptionDirectory for Few {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.iter().find(|subscription| subscription.id() == *id).cloned()
    }
}

/// What a round with deliveries is.
pub(crate) struct Wanted<'a> {
    /// Who receives every event.
    pub(crate) subscriptions: &'a [Arc<Subscription>],
    /// Events, each of which each of them receives.
    pub(crate) events: usize,
    /// Whether the delivery log is stored.
    pub(crate) has_log: bool,
    /// Whether the processor time of the broker counts.
    pub(crate) counts_broker: bool,
}

impl Rig {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let metrics = exporter::install_metrics()?;
        let mut config = Config::defaults()?;
        config.delivery.allow_http = true;
        config.delivery.allow_ports = vec!["any".into()];
        config.delivery.allow_cidrs = vec!["127.0.0.0/8".parse()?];
        // Each round does the same work on any machine: no delivery is parked because it waits long.
        config.delivery.park_after_ms = 60_000;
        let folder = tempfile::tempdir()?;
        let server = ManagedServer::start(folder.path(), &binaries(), FILE_BYTES_MAX).await?;
        config.nats = server.client_config(&config.nats);
        let connections = Connections::open(&config.nats, &config.nats.url).await?;
        let subjects = Subjects::new(&config.nats.prefix);
        let (control, nats) = (&connections.control, &config.nats);
        streams::ensure(control, &subjects, nats, &config.events, &config.delivery).await?;
        Ok(Self { server, _folder: folder, config, connections, subjects, metrics })
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// Purges the event stream and fills it again.
    pub(crate) async fn publish(&self, events: usize) -> anyhow::Result<()> {
        self.publish_forgotten(events).await.map(drop)
    }

    /// Purges the event stream and publishes as the HTTP APIs do, with the memory of ids and its
    /// recorder; returns the time.
    pub(crate) async fn publish_remembered(&self, events: usize) -> anyhow::Result<Stopwatch> {
        // Before the recorder starts: it would read again what a purge left.
        self.purge_events().await?;
        let repeats = Arc::<Repeats>::default();
        let recorder = RepeatRecorder::new(
            self.connections.control.clone(),
            self.subjects.clone(),
            &self.config.events,
            Arc::clone(&repeats),
        );
        let mut recorder = recorder.ok_or_else(|| anyhow!("the memory of ids is switched off"))?;
        recorder.catch_up().await;
        let recording = tokio::spawn(recorder.run());
        let publisher = self.publisher().with_repeats(repeats);
        let watch = self.publish_with(&publisher, events).await;
        recording.abort();
        watch
    }

    /// Purges the event stream and publishes without the memory of ids; returns the time.
    pub(crate) async fn publish_forgotten(&self, events: usize) -> anyhow::Result<Stopwatch> {
        self.purge_events().await?;
        self.publish_with(&self.publisher(), events).await
    }

    async fn purge_events(&self) -> anyhow::Result<()> {
        self.events_stream().await?.purge().await?;
        Ok(())
    }

    fn publisher(&self) -> EventPublisher {
        let outbound = self.connections.outbound.clone();
        EventPublisher::new(outbound, self.subjects.clone(), Arc::<BackpressureGate>::default())
    }

    async fn publish_with(
        &self,
        publisher: &EventPublisher,
        events: usize,
    ) -> anyhow::Result<Stopwatch> {
        let watch = Stopwatch::start();
        let last = self.events_stream().await?.cached_info().state.last_sequence;
        let bodies = corpus::bodies();
        let published = bodies.iter().cycle().zip(last..).take(events).map(Ok);
        stream::iter(published)
            .try_for_each_concurrent(PUBLISHING, async |(body, number): (&Bytes, u64)| {
                publisher.publish(corpus::envelope(number), body.clone()).await.map(drop)
            })
            .await?;
        Ok(watch.stop())
    }

    /// Runs the router over all stored events; returns the time until all are acknowledged and what is
    /// wanted has arrived.
    pub(crate) async fn run_router(
        &self,
        matcher: Arc<Matcher>,
        wanted: Option<Wanted<'_>>,
    ) -> anyhow::Result<Stopwatch> {
        let _ = self.events_stream().await?.delete_consumer(ROUTER_CONSUMER).await;
        let events = &self.config.events;
        let pull = || PullSubscription::events(&self.connections, &self.subjects, events, WORKERS);
        let due = PullSubscription::due(&self.connections, &self.subjects, events);
        for pull in [&pull(), &due] {
            pull.ensure().await.map_err(|error| anyhow!("consumer: {error}"))?;
        }
        let stop = CancellationToken::new();
        let router = Arc::new(Router::new(
            &self.config,
            matcher,
            Arc::new(self.dispatcher(wanted.as_ref().is_some_and(|wanted| wanted.has_log))?),
            Arc::new(Few(wanted
                .as_ref()
                .map_or(Vec::new(), |wanted| wanted.subscriptions.to_vec()))),
            Arc::new(CrashRecordBucket::new(&self.connections, &self.subjects)),
            LiveFeed::default(),
            stop.clone(),
        ));
        // A record of the delivery log costs the broker as much as this process.
        let watch = match &wanted {
            Some(wanted) if wanted.counts_broker => Stopwatch::start_with(self.server.pid()),
            _ => Stopwatch::start(),
        };
        let running = tokio::spawn(router.run((0..WORKERS).map(|_| pull()).collect(), due));
        self.until_acknowledged(ROUTER_CONSUMER).await?;
        if let Some(Wanted { subscriptions, events, .. }) = wanted {
            let delivered =
                || subscriptions.iter().map(|one| one.stats.delivered.load(Relaxed)).sum::<u64>();
            let deliveries = u64::try_from(events * subscriptions.len())?;
            while delivered() < deliveries {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            ensure!(delivered() == deliveries, "delivered more than once");
        }
        let watch = watch.stop();
        stop.cancel();
        running.await?;
        self.metrics.run_upkeep();
        Ok(watch)
    }

    fn dispatcher(&self, has_log: bool) -> anyhow::Result<Dispatcher> {
        let outbound = &self.connections.outbound;
        let config = &self.config.delivery;
        let (shares, gates) = (Arc::new(Shares::new(config)), Arc::<PublishGates>::default());
        let subjects = || self.subjects.clone();
        let ports = Ports {
            channels: ChannelPorts {
                functions: Arc::new(FunctionClient::new(outbound.client.clone())),
                keys: Arc::default(),
            },
            parking: Arc::new(ParkingStream::new(
                outbound.clone(),
                subjects(),
                Arc::clone(&shares),
                Arc::clone(&gates),
            )),
            dead_letters: Arc::new(DeadLetterStream::new(
                outbound.clone(),
                subjects(),
                Arc::clone(&shares),
                Arc::clone(&gates),
            )),
            jobs: Arc::new(JobOutcomeCounter::new(
                outbound.clone(),
                subjects(),
                Arc::new(DeadLetterReader::new(outbound.clone(), subjects(), shares)),
            )),
            endpoint_reports: tokio::sync::mpsc::channel(1).0,
            log: has_log.then(|| {
                let kept = Duration::from_secs(config.log_max_age_h * 3600);
                let log = DeliveryLogStream::new(outbound.clone(), subjects(), gates, kept);
                Arc::new(log) as Arc<dyn DeliveryLog>
            }),
        };
        let sender = HttpSender::new(config, Arc::new(EgressGuard::new(config)?))?;
        Ok(Dispatcher::new(config, sender, ports, Random::seeded(7), LiveFeed::default()))
    }

    /// Creates a consumer with the router's settings under another name.
    pub(crate) async fn consumer_like_ours(&self, name: &str) -> anyhow::Result<PullConsumer> {
        let pull = PullSubscription::events(
            &self.connections,
            &self.subjects,
            &self.config.events,
            WORKERS,
        );
        pull.ensure().await.map_err(|error| anyhow!("consumer: {error}"))?;
        let stream = self.events_stream().await?;
        let ours: PullConsumer = boxed(stream.get_consumer(ROUTER_CONSUMER).await)?;
        let config = consumer::pull::Config {
            durable_name: Some(name.to_owned()),
            name: None,
            ..consumer::FromConsumer::try_from_consumer_config(ours.cached_info().config.clone())
                .map_err(|error| anyhow!("consumer: {error}"))?
        };
        let _ = stream.delete_consumer(name).await;
        Ok(stream.create_consumer(config).await?)
    }

    pub(crate) async fn until_acknowledged(&self, consumer: &str) -> anyhow::Result<()> {
        let mut consumer: PullConsumer =
            boxed(self.events_stream().await?.get_consumer(consumer).await)?;
        loop {
            let info = consumer.info().await?;
            if info.num_pending == 0 && info.num_ack_pending == 0 {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn events_stream(&self) -> anyhow::Result<async_nats::jetstream::stream::Stream> {
        let name = self.subjects.events_stream();
        Ok(self.connections.control.context.get_stream(name).await?)
    }

    /// Deliveries parked so far.
    pub(crate) fn parked(&self) -> u64 {
        let text = self.metrics.render();
        let counts = text.lines().filter(|line| line.starts_with("switchyard_parkings_total"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

fn boxed<T>(result: Result<T, async_nats::Error>) -> anyhow::Result<T> {
    result.map_err(|error| anyhow!("{error}"))
}

/// The server of `NATS_SERVER`, then the pinned one that `make tools` installs.
pub(crate) fn binaries() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a bench has no configuration")]
    let named = std::env::var("NATS_SERVER").ok().map(PathBuf::from);
    let pinned = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/nats/bin/nats-server"));
    named.into_iter().chain([pinned]).collect()
}
