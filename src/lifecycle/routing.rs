//! The parts that route events: publisher, router, consumers, and the tasks that keep the streams.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::background::Background;
use super::broker::Broker;
use super::retention::InstallationRetention;
use super::subscriptions::{LiveShadows, LiveSubscriptions, RevisedSubscriptions};
use crate::bus::{
    AccountDocument, AccountStreamReader, BackpressureGate, CrashRecordBucket, DeadLetterReader,
    DeadLetterStream, DeliveryLogStream, ErasableStreamsOnBroker, EventArchiveStream,
    EventPublisher, FunctionClient, JobBucket, JobOutcomeCounter, LogOffMark, ParkingStream,
    PublishGates, PullSubscription, RepeatRecorder, Repeats, ReplayStreamReader, RoomRequests,
    ShadowTallies, ShareCounter, StreamMonitor, Trimmer,
};
use crate::config::Config;
use crate::delivery::{
    ChannelPorts, DeliveryLog, Dispatcher, EndpointGoneReport, HttpSender, Ports, Random, Shares,
    SubscriptionDirectory,
};
use crate::event::{EventArchive, Publisher};
use crate::matcher::Matcher;
use crate::recovery::account::{AccountKeeper, AccountStreams, Accountant};
use crate::recovery::erase::EraseWork;
use crate::recovery::jobs::{JobRunner, JobWork, Jobs};
use crate::recovery::redrive::{DeadLetters, RedriveWork};
use crate::recovery::replay::{EventReader, ReplayParts, ReplayWork, do_overlap};
use crate::recovery::retention::RetentionSweeper;
use crate::recovery::shadow::ShadowFollower;
use crate::registry::{Listeners, Registry};
use crate::router::Router;
use crate::telemetry::LiveFeed;
use crate::telemetry::traces::Traces;

/// Consumers of the event stream; each decodes and matches on its own task.
const WORKERS: usize = 2;

/// The parts that route events, connected with each other and not started.
pub(super) struct Routing {
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) events: Arc<dyn EventArchive>,
    pub(super) shares: Arc<Shares>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) gates: Arc<PublishGates>,
    pub(super) letters: Arc<dyn DeadLetters>,
    pub(super) jobs: Arc<Jobs>,
    pub(super) directory: Arc<dyn SubscriptionDirectory>,
    pub(super) replay: ReplayParts,
    pub(super) shadows: Arc<ShadowFollower>,
    pub(super) log: Option<Arc<dyn DeliveryLog>>,
    pub(super) accountant: Arc<Accountant>,
    log_stream: Option<Arc<DeliveryLogStream>>,
    /// None if the delivery log is on.
    log_off_mark: Option<LogOffMark>,
    account_keeper: Option<AccountKeeper>,
    job_runner: JobRunner,
    sweeper: RetentionSweeper,
    router: Arc<Router>,
    pulls: Vec<PullSubscription>,
    due: PullSubscription,
    stream_monitor: StreamMonitor,
    trimmer: Trimmer,
    repeat_recorder: Option<RepeatRecorder>,
    share_counter: ShareCounter,
}

impl Routing {
    /// Connects the parts, and creates the consumers, so that events are kept for them from now on.
    pub(super) async fn connect(
        config: &Config,
        broker: &Broker,
        (matcher, registry, live, listeners): (
            &Arc<Matcher>,
            &Arc<Registry>,
            &LiveFeed,
            &Arc<Listeners>,
        ),
        traces: Traces,
        sender: HttpSender,
        endpoint_reports: mpsc::Sender<EndpointGoneReport>,
        background: &Background,
    ) -> anyhow::Result<Self> {
        let (control, subjects) = (&broker.connections.control, &broker.subjects);
        let (shares, gates) = (Arc::new(Shares::new(&config.delivery)), Arc::default());
        let gate = Arc::new(BackpressureGate::default());
        let repeats = Arc::<Repeats>::default();
        let repeat_recorder = repeat_recorder(config, broker, &repeats).await;
        let events = archive(config, broker, repeat_recorder.is_some().then_some(&repeats));
        let (publisher, trimmer) = event_stream(config, broker, &gate, repeats);
        let stream_monitor =
            StreamMonitor::new(control.clone(), subjects.clone(), &config.events, gate);
        let directory: Arc<dyn SubscriptionDirectory> =
            Arc::new(LiveSubscriptions(Arc::clone(registry), Arc::clone(listeners)));
        let share_counter = ShareCounter::new(
            control.clone(),
            subjects.clone(),
            Arc::clone(&shares),
            Arc::clone(&directory),
        );
        let letters =
            Arc::new(DeadLetterReader::new(control.clone(), subjects.clone(), Arc::clone(&shares)));
        let mut ports = ports(broker, (&shares, &gates), &letters, registry, endpoint_reports);
        let log_stream = config.delivery.log.then(|| delivery_log(config, broker, &gates));
        let log = log_stream.clone().map(|log| log as Arc<dyn DeliveryLog>);
        ports.log.clone_from(&log);
        let letters: Arc<dyn DeadLetters> = letters;
        let (accountant, account_keeper) = account(config, broker, &letters);
        let replay =
            replay_parts(config, broker, matcher, (&letters, &directory), (&ports, registry));
        let shadows = shadow_follower(broker, &replay, registry);
        let (jobs, job_runner) = jobs(broker, &replay);
        let sweeper = sweeper(registry, &letters, &ports);
        let dispatcher = dispatcher(config, sender, ports, (live, traces));
        let router = Router::new(
            config,
            Arc::clone(matcher),
            Arc::clone(&dispatcher),
            Arc::clone(&directory),
            Arc::new(CrashRecordBucket::new(&broker.connections, subjects)),
            live.clone(),
            background.stop.clone(),
        );
        let log_off_mark = log_off_mark(config, broker).await?;
        let (pulls, due) = consumers(config, broker).await?;
        Ok(Self {
            publisher,
            events,
            shares,
            dispatcher,
            gates,
            letters,
            jobs,
            directory,
            replay,
            shadows,
            log,
            accountant,
            log_stream,
            log_off_mark,
            account_keeper,
            job_runner,
            sweeper,
            router: Arc::new(router),
            pulls,
            due,
            stream_monitor,
            trimmer,
            repeat_recorder,
            share_counter,
        })
    }

    /// Starts to route events.
    pub(super) fn start(self, background: &Background) {
        let Self {
            log_stream,
            log_off_mark,
            account_keeper,
            job_runner,
            shadows,
            sweeper,
            router,
            pulls,
            due,
            stream_monitor,
            trimmer,
            repeat_recorder,
            share_counter,
            ..
        } = self;
        if let Some(recorder) = repeat_recorder {
            background.spawn(recorder.run());
        }
        if let Some(log) = log_stream {
            background.spawn(log.store_floors());
        }
        if let Some(mark) = log_off_mark {
            background.spawn(mark.run());
        }
        if let Some(keeper) = account_keeper {
            background.spawn(keeper.run());
        }
        background.spawn(share_counter.run());
        background.spawn(job_runner.run());
        background.spawn(shadows.run());
        background.spawn(sweeper.run());
        background.spawn(stream_monitor.run());
        background.spawn(async move { trimmer.run().await });
        // Ends by itself, after what is running.
        background.tasks.spawn(router.run(pulls, due));
    }
}

/// Returns what brings deliveries to their outcome.
fn dispatcher(
    config: &Config,
    sender: HttpSender,
    ports: Ports,
    (live, traces): (&LiveFeed, Traces),
) -> Arc<Dispatcher> {
    let random = Random::from_system();
    let dispatcher = Dispatcher::new(&config.delivery, sender, ports, random, live.clone());
    Arc::new(dispatcher.with_traces(traces))
}

/// Returns what records the ids of stored events, once those of earlier ones are remembered.
async fn repeat_recorder(
    config: &Config,
    broker: &Broker,
    repeats: &Arc<Repeats>,
) -> Option<RepeatRecorder> {
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    let mut recorder = RepeatRecorder::new(control, subjects, &config.events, Arc::clone(repeats))?;
    recorder.catch_up().await;
    Some(recorder)
}

/// Returns what reads single events, by the ids that are remembered.
fn archive(
    config: &Config,
    broker: &Broker,
    known_ids: Option<&Arc<Repeats>>,
) -> Arc<dyn EventArchive> {
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    let (event_max, known_ids) = (config.limits.event, known_ids.cloned());
    Arc::new(EventArchiveStream::new(control, subjects, event_max, known_ids))
}

/// Connects what computes accounts, and what checks them in the background.
fn account(
    config: &Config,
    broker: &Broker,
    letters: &Arc<dyn DeadLetters>,
) -> (Arc<Accountant>, Option<AccountKeeper>) {
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    let reader = || AccountStreamReader::new(control.clone(), subjects.clone());
    let streams = config.delivery.log.then(|| Arc::new(reader()) as Arc<dyn AccountStreams>);
    let accountant = Arc::new(Accountant::new(streams, Arc::clone(letters)));
    let interval = Duration::from_secs(config.delivery.account_interval_s);
    let keeper = (config.delivery.log && !interval.is_zero()).then(|| {
        let document = Arc::new(AccountDocument::new(control.clone(), subjects.clone()));
        AccountKeeper::new(Arc::clone(&accountant), document, interval)
    });
    (accountant, keeper)
}

/// Returns what deletes dead letters whose bodies are too old.
fn sweeper(
    registry: &Arc<Registry>,
    letters: &Arc<dyn DeadLetters>,
    ports: &Ports,
) -> RetentionSweeper {
    let retention = Arc::new(InstallationRetention(Arc::clone(registry)));
    RetentionSweeper::new(Arc::clone(letters), retention, ports.log.clone())
}

/// Connects what replays need.
fn replay_parts(
    config: &Config,
    broker: &Broker,
    matcher: &Arc<Matcher>,
    (letters, directory): (&Arc<dyn DeadLetters>, &Arc<dyn SubscriptionDirectory>),
    (ports, registry): (&Ports, &Arc<Registry>),
) -> ReplayParts {
    let (control, subjects) = (&broker.connections.control, &broker.subjects);
    let reader = |has_log| ReplayStreamReader::new(control.clone(), subjects.clone(), has_log);
    ReplayParts {
        streams: Arc::new(reader(ports.log.is_some())),
        letters: Arc::clone(letters),
        parking: Arc::clone(&ports.parking),
        log: ports.log.clone(),
        directory: Arc::clone(directory),
        past: Arc::new(RevisedSubscriptions(Arc::clone(registry))),
        reader: EventReader::new(
            Arc::clone(matcher),
            config.limits.event,
            config.events.trust_body_self,
        ),
        jobs: Arc::new(JobBucket::new(control.clone(), subjects.clone())),
    }
}

/// Connects what counts what shadow filters would deliver.
fn shadow_follower(
    broker: &Broker,
    replay: &ReplayParts,
    registry: &Arc<Registry>,
) -> Arc<ShadowFollower> {
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    Arc::new(ShadowFollower::new(
        Arc::clone(&replay.streams),
        replay.reader.clone(),
        Arc::new(ShadowTallies::new(control, subjects)),
        Arc::new(LiveShadows::new(Arc::clone(registry))),
    ))
}

/// Marks that the delivery log is off, before this router takes an event; none if it is on.
async fn log_off_mark(config: &Config, broker: &Broker) -> anyhow::Result<Option<LogOffMark>> {
    if config.delivery.log {
        return Ok(None);
    }
    let mark = LogOffMark::new(broker.connections.control.clone(), broker.subjects.clone());
    let set = mark.set().await;
    set.map_err(|error| anyhow::anyhow!("mark of the delivery log that is off: {error}"))?;
    Ok(Some(mark))
}

/// Connects the jobs of operators, and what they do.
fn jobs(broker: &Broker, replay: &ReplayParts) -> (Arc<Jobs>, JobRunner) {
    let (control, subjects) = (&broker.connections.control, &broker.subjects);
    let jobs = Jobs::new(Arc::clone(&replay.jobs)).without_overlap(do_overlap);
    let jobs = Arc::new(jobs);
    let ReplayParts { letters, parking, directory, log, .. } = replay;
    let redrive = RedriveWork::new(
        Arc::clone(letters),
        Arc::clone(parking),
        Arc::clone(directory),
        log.clone(),
    );
    let streams = Arc::new(ErasableStreamsOnBroker::new(control.clone(), subjects.clone()));
    let erase = EraseWork::new(streams, Arc::clone(letters), log.clone(), Arc::clone(&replay.jobs));
    let works: Vec<Arc<dyn JobWork>> =
        vec![Arc::new(redrive), Arc::new(ReplayWork::new(replay.clone())), Arc::new(erase)];
    let runner = JobRunner::new(Arc::clone(&jobs), works);
    (jobs, runner)
}

/// Connects the ports of the dispatcher to the broker.
fn ports(
    broker: &Broker,
    (shares, gates): (&Arc<Shares>, &Arc<PublishGates>),
    letters: &Arc<DeadLetterReader>,
    registry: &Registry,
    endpoint_reports: mpsc::Sender<EndpointGoneReport>,
) -> Ports {
    let (outbound, subjects) = (&broker.connections.outbound, &broker.subjects);
    Ports {
        channels: ChannelPorts {
            functions: Arc::new(FunctionClient::new(outbound.client.clone())),
            keys: Arc::clone(registry.keys()),
        },
        parking: Arc::new(ParkingStream::new(
            outbound.clone(),
            subjects.clone(),
            Arc::clone(shares),
            Arc::clone(gates),
        )),
        dead_letters: Arc::new(DeadLetterStream::new(
            outbound.clone(),
            subjects.clone(),
            Arc::clone(shares),
            Arc::clone(gates),
        )),
        jobs: Arc::new(JobOutcomeCounter::new(
            outbound.clone(),
            subjects.clone(),
            Arc::clone(letters),
        )),
        endpoint_reports,
        log: None,
    }
}

fn delivery_log(
    config: &Config,
    broker: &Broker,
    gates: &Arc<PublishGates>,
) -> Arc<DeliveryLogStream> {
    let kept = Duration::from_secs(config.delivery.log_max_age_h.saturating_mul(3600));
    let (outbound, subjects) = (broker.connections.outbound.clone(), broker.subjects.clone());
    Arc::new(DeliveryLogStream::new(outbound, subjects, Arc::clone(gates), kept))
}

/// Returns the publisher of events, and the trimmer that makes space for it.
fn event_stream(
    config: &Config,
    broker: &Broker,
    gate: &Arc<BackpressureGate>,
    repeats: Arc<Repeats>,
) -> (Arc<dyn Publisher>, Trimmer) {
    let room = Arc::<RoomRequests>::default();
    let (outbound, control) =
        (broker.connections.outbound.clone(), broker.connections.control.clone());
    let publisher = EventPublisher::new(outbound, broker.subjects.clone(), Arc::clone(gate));
    let publisher = publisher.with_room(Arc::clone(&room));
    let has_memory = config.events.repeat_memory_h > 0;
    let publisher = Arc::new(match has_memory {
        true => publisher.with_repeats(Arc::clone(&repeats)),
        false => publisher,
    });
    let trimmer = Trimmer::new(control, broker.subjects.clone(), config, room, repeats);
    (publisher, trimmer)
}

/// Opens the consumers of the event stream and the one of parked deliveries that are due.
async fn consumers(
    config: &Config,
    broker: &Broker,
) -> anyhow::Result<(Vec<PullSubscription>, PullSubscription)> {
    let (connections, subjects) = (&broker.connections, &broker.subjects);
    let events = |_| PullSubscription::events(connections, subjects, &config.events, WORKERS);
    let pulls: Vec<PullSubscription> = (0..WORKERS).map(events).collect();
    let due = PullSubscription::due(connections, subjects, &config.events);
    for pull in pulls.iter().chain([&due]) {
        pull.ensure().await.map_err(|error| anyhow::anyhow!("consumer: {error}"))?;
    }
    Ok((pulls, due))
}
