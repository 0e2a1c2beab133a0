//! From the event stream to the handler and back to the acknowledgement, with parked and
//! dead-lettered deliveries.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use switchyard::bus::{
    BackpressureGate, Connections, CrashRecordBucket, DeadLetterReader, DeadLetterStream,
    DeliveryLogStream, EventPublisher, FunctionClient, JetStreamClient, JobOutcomeCounter,
    ParkingStream, PublishGates, PullSubscription, StreamMonitor, Subjects, streams,
};
use switchyard::clock;
use switchyard::config::Config;
use switchyard::delivery::{
    ChannelPorts, DeliveryLog, Dispatcher, EgressGuard, FunctionCaller, FunctionError,
    FunctionReply, HttpSender, Ports, Random, Shares, SubscriptionDirectory,
};
use switchyard::domain::{Handler, Secret, SubscriptionId};
use switchyard::event::codec::HeaderList;
use switchyard::event::{Envelope, Publisher};
use switchyard::matcher::{
    DeliverySettings, EventConditions, EventSubscription, EventSubscriptions, Matcher, Owner,
    Subscription,
};
use switchyard::router::Router;
use switchyard::telemetry::{LiveFeed, SubscriptionStats};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{
    NEVER, NatsServer, SECRET, Sink, WAIT_MAX, eventually, issue_event, publish, publish_raw,
};

const SITE: &str = "site-1";
const EVENT_TYPE: &str = "avi:jira:updated:issue";
const LONG: Duration = WAIT_MAX;

/// The subscriptions of a rig, in place of the registry.
#[derive(Default)]
struct Roll(Mutex<HashMap<SubscriptionId, Arc<Subscription>>>);

impl SubscriptionDirectory for Roll {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.lock().unwrap().get(id).cloned()
    }
}

/// Calls functions, and panics at those of the subject `panic`, as a defect of ours would.
struct FunctionsWithDefect(FunctionClient);

impl FunctionCaller for FunctionsWithDefect {
    fn call(
        &self,
        subject: &str,
        headers: HeaderList,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<FunctionReply, FunctionError>> {
        assert_ne!(subject, "panic", "a defect");
        self.0.call(subject, headers, body, timeout)
    }
}

/// A router in this process with its own broker.
pub(crate) struct Rig {
    matcher: Arc<Matcher>,
    roll: Arc<Roll>,
    pub(crate) broker: async_nats::Client,
    publisher: EventPublisher,
    watch: StreamMonitor,
    gate: Arc<BackpressureGate>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// Settings that allow handlers on loopback and retry soon.
pub(crate) fn quick() -> Config {
    let mut config = Config::defaults().unwrap();
    config.delivery.allow_http = true;
    config.delivery.allow_ports = vec!["any".into()];
    config.delivery.allow_cidrs = vec!["127.0.0.0/8".parse().unwrap()];
    config.delivery.retry_schedule_s = vec![1, 1];
    config.delivery.park_after_ms = 200;
    config
}

/// Records what became of deliveries of jobs.
fn job_outcomes(
    outbound: &JetStreamClient,
    subjects: &Subjects,
    shares: Arc<Shares>,
) -> Arc<JobOutcomeCounter> {
    let letters = DeadLetterReader::new(outbound.clone(), subjects.clone(), shares);
    let letters = Arc::new(letters);
    Arc::new(JobOutcomeCounter::new(outbound.clone(), subjects.clone(), letters))
}

/// The ports of a dispatcher over the broker.
fn ports(outbound: &JetStreamClient, subjects: &Subjects, config: &Config) -> Ports {
    let (shares, gates) = (Arc::new(Shares::new(&config.delivery)), Arc::<PublishGates>::default());
    Ports {
        channels: ChannelPorts {
            functions: Arc::new(FunctionsWithDefect(FunctionClient::new(outbound.client.clone()))),
            keys: Arc::default(),
        },
        parking: Arc::new(ParkingStream::new(
            outbound.clone(),
            subjects.clone(),
            shares.clone(),
            gates.clone(),
        )),
        dead_letters: Arc::new(DeadLetterStream::new(
            outbound.clone(),
            subjects.clone(),
            shares.clone(),
            gates.clone(),
        )),
        jobs: job_outcomes(outbound, subjects, shares),
        endpoint_reports: tokio::sync::mpsc::channel(1).0,
        log: config.delivery.log.then(|| log_of(outbound, subjects, &gates)),
    }
}

impl Rig {
    pub(crate) async fn start(nats: &NatsServer, config: &Config) -> Self {
        Self::start_at(nats.url(), config).await
    }

    async fn start_at(url: String, config: &Config) -> Self {
        let connections = Connections::open(&config.nats, &[url]).await.unwrap();
        let subjects = Subjects::new(&config.nats.prefix);
        let (control, nats) = (&connections.control, &config.nats);
        streams::ensure(control, &subjects, nats, &config.events, &config.delivery).await.unwrap();
        let gate = Arc::<BackpressureGate>::default();
        let outbound = connections.outbound.clone();
        let guard = Arc::new(EgressGuard::new(&config.delivery).unwrap());
        let ports = ports(&outbound, &subjects, config);
        let live = LiveFeed::default();
        let sender = HttpSender::new(&config.delivery, guard).unwrap();
        let dispatcher = Arc::new(Dispatcher::new(
            &config.delivery,
            sender,
            ports,
            Random::seeded(7),
            live.clone(),
        ));
        let (matcher, roll) = (Arc::new(Matcher::new(1000)), Arc::<Roll>::default());
        let stop = CancellationToken::new();
        let router = Arc::new(Router::new(
            config,
            matcher.clone(),
            dispatcher,
            roll.clone(),
            Arc::new(CrashRecordBucket::new(&connections, &subjects)),
            live,
            stop.clone(),
        ));
        let events: Vec<PullSubscription> = (0..2)
            .map(|_| PullSubscription::events(&connections, &subjects, &config.events, 2))
            .collect();
        let due = PullSubscription::due(&connections, &subjects, &config.events);
        events[0].ensure().await.unwrap();
        due.ensure().await.unwrap();
        let control = connections.control.clone();
        let watch = StreamMonitor::new(control, subjects.clone(), &config.events, gate.clone());
        Self {
            matcher,
            roll,
            broker: connections.control.client.clone(),
            publisher: EventPublisher::new(outbound, subjects, gate.clone()),
            watch,
            gate,
            stop,
            running: tokio::spawn(router.run(events, due)),
        }
    }

    /// Registers a trigger of an installation on all events of the type.
    pub(crate) fn subscribe(&self, installation: &str, handler: Handler) -> Arc<Subscription> {
        let id = SubscriptionId { installation: installation.into(), key: "k1".into() };
        let subscription = Arc::new(Subscription {
            owner: Arc::new(Owner {
                id: id.installation.clone(),
                app: "app-1".into(),
                app_account_id: None,
                cloud_id: SITE.into(),
                licensed: true,
                permissions: None,
                settings: DeliverySettings::new(Arc::new(handler)),
            }),
            key: id.key.clone(),
            event_subscriptions: EventSubscriptions::One(EventSubscription {
                conditions: Arc::new(EventConditions::unconditional(EVENT_TYPE.into())),
                program: None,
            }),
            revision: 1,
            stats: SubscriptionStats::default(),
        });
        self.matcher.replace_installation(&id.installation, vec![subscription.clone()]);
        self.roll.0.lock().unwrap().insert(id, subscription.clone());
        subscription
    }

    pub(crate) fn unsubscribe(&self, subscription: &Subscription) {
        self.matcher.replace_installation(&subscription.owner.id, Vec::new());
        self.roll.0.lock().unwrap().remove(&subscription.id());
    }

    pub(crate) async fn publish(&self, number: u64) {
        publish(&self.broker, SITE, number, "XXX").await;
    }

    /// The state of the router's consumer; `None` while the broker is unreachable.
    async fn consumer(&self) -> Option<jetstream::consumer::Info> {
        let context = crate::support::jetstream(self.broker.clone());
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let mut consumer: PullConsumer = stream.get_consumer("router").await.ok()?;
        consumer.info().await.ok().cloned()
    }

    /// Number of events not acknowledged: pending or delivered to a router.
    pub(crate) async fn open_events(&self) -> u64 {
        let info = self.consumer().await;
        info.map_or(u64::MAX, |info| info.num_pending + info.num_ack_pending as u64)
    }

    pub(crate) async fn until_all_acknowledged(&self) {
        eventually(LONG, "every event is acknowledged", || async {
            (self.open_events().await == 0).then_some(())
        })
        .await;
    }

    pub(crate) async fn stored(&self, stream: &str) -> u64 {
        let context = crate::support::jetstream(self.broker.clone());
        let stream = context.get_stream(stream).await.unwrap();
        stream.get_info().await.unwrap().state.messages
    }

    /// The only dead letter in the stream.
    async fn dead_letter(&self) -> jetstream::message::StreamMessage {
        let context = crate::support::jetstream(self.broker.clone());
        let stream = context.get_stream("SW_DLQ").await.unwrap();
        eventually(LONG, "a dead letter", || async { stream.direct_get(1).await.ok() }).await
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn log_of(
    outbound: &JetStreamClient,
    subjects: &Subjects,
    gates: &Arc<PublishGates>,
) -> Arc<dyn DeliveryLog> {
    let kept = Duration::from_secs(3600);
    Arc::new(DeliveryLogStream::new(outbound.clone(), subjects.clone(), gates.clone(), kept))
}

pub(crate) fn http(url: &str) -> Handler {
    Handler::http(url.parse().unwrap(), Secret::new(SECRET))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_reaches_its_handler_signed_and_is_acknowledged() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    let subscription = rig.subscribe("inst-1", http(&sink.url("/hook")));
    rig.publish(1).await;
    let received = eventually(LONG, "a delivery", || async { sink.received().pop() }).await;

    let body = received.json();
    assert_eq!(body["issue"], issue_event(1, "XXX")["issue"]);
    assert_eq!(body["context"], json!({ "cloudId": SITE, "moduleKey": "k1" }));
    assert_eq!(body["selfGenerated"], false);
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("content-length"), received.body.len().to_string());
    assert_eq!(received.header("switchyard-installation"), "inst-1");
    assert_eq!(received.header("switchyard-attempt"), "1");
    assert_eq!(received.header("switchyard-sequence"), "1");
    let signed = switchyard::delivery::sign(
        &Secret::new(SECRET),
        received.header("webhook-id"),
        received.header("webhook-timestamp").parse().unwrap(),
        &received.body,
    );
    assert_eq!(received.header("webhook-signature"), signed.unwrap());
    rig.until_all_acknowledged().await;
    eventually(LONG, "the delivery is counted", || async {
        let delivered = &subscription.stats.delivered;
        (delivered.load(std::sync::atomic::Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_delivery_is_parked_and_fires_again_until_it_succeeds() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    // Long enough to look at the parked record before it is due.
    config.delivery.retry_schedule_s = vec![5, 5];
    let rig = Rig::start(&nats, &config).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    sink.answer("/hook", 503, None);
    rig.publish(1).await;
    rig.until_all_acknowledged().await;
    assert_eq!(rig.stored("SW_PARKED").await, 1, "acknowledged because it is parked");
    sink.answer("/hook", 200, None);
    let received =
        eventually(LONG, "the second attempt", || async { sink.received().into_iter().nth(1) })
            .await;

    let first = &sink.received()[0];
    assert_eq!(received.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(received.header("switchyard-attempt"), "2");
    let mut body = received.json();
    assert_eq!(body["retryContext"]["retryCount"], 1);
    assert_eq!(body["retryContext"]["retryReason"], "INVALID_REMOTE_INVOCATION_ERROR");
    body.as_object_mut().unwrap().remove("retryContext");
    assert_eq!(body, first.json());
    eventually(LONG, "SW_PARKED is empty", || async {
        (rig.stored("SW_PARKED").await == 0).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_that_never_succeeds_ends_as_an_exhausted_dead_letter() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    // The retry is due at once: its fire time has passed when it is stored.
    config.delivery.retry_schedule_s = vec![0, 0];
    let rig = Rig::start(&nats, &config).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    sink.answer("/hook", 500, None);
    rig.publish(1).await;
    let letter = rig.dead_letter().await;
    assert_eq!(sink.count(), 3, "as many attempts as the schedule has");
    let header = |name: &str| letter.headers.get(name).unwrap().as_str();
    assert_eq!(header("switchyard-dlq-reason"), "exhausted");
    assert_eq!(header("switchyard-dlq-attempts"), "3");
    assert_eq!(header("switchyard-dlq-subscription"), "inst-1/k1");
    assert_eq!(letter.payload, issue_event(1, "XXX").to_string().as_bytes());
    assert_eq!(letter.subject.as_str(), "sw.dlq.delivery.app-1.inst-1");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_delivery_is_a_dead_letter_at_once() {
    for (status, reason) in [(410, "gone"), (404, "rejected_404"), (302, "rejected_302")] {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let rig = Rig::start(&nats, &quick()).await;
        rig.subscribe("inst-1", http(&sink.url("/hook")));
        sink.answer("/hook", status, None);
        rig.publish(1).await;
        let letter = rig.dead_letter().await;
        assert_eq!(letter.headers.get("switchyard-dlq-reason").unwrap().as_str(), reason);
        rig.until_all_acknowledged().await;
        assert_eq!(sink.count(), 1);
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_event_become_a_dead_letter_with_the_reason() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    // An event type without subscriptions is not decoded at all.
    publish_raw(&rig.broker, SITE, EVENT_TYPE, "unread", b"{\xff".to_vec()).await;
    rig.until_all_acknowledged().await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    publish_raw(&rig.broker, SITE, EVENT_TYPE, "bad", b"{\xff".to_vec()).await;
    let letter = rig.dead_letter().await;
    assert_eq!(letter.payload.as_ref(), b"{\xff");
    assert_eq!(letter.headers.get("switchyard-dlq-reason").unwrap().as_str(), "poison_utf8");
    assert_eq!(letter.headers.get("ce-id").unwrap().as_str(), "bad");
    assert_eq!(letter.subject.as_str(), "sw.dlq.event.site-1");
    rig.until_all_acknowledged().await;
    assert_eq!((sink.count(), rig.stored("SW_DLQ").await), (0, 1));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_handler_holds_up_neither_events_nor_other_handlers() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.delivery.endpoint_concurrency = 2;
    config.delivery.endpoint_queue_max = 3;
    config.delivery.timeout_ms = 2_000;
    let rig = Rig::start(&nats, &config).await;
    sink.answer("/silent", NEVER, None);
    rig.subscribe("silent", http(&sink.url("/silent")));
    rig.subscribe("quick", http(&sink.url("/quick")));
    for number in 1..=20 {
        rig.publish(number).await;
    }
    let count = || async { (sink.received_at("/quick").len() == 20).then_some(()) };
    eventually(LONG, "the other handler has everything", count).await;
    rig.until_all_acknowledged().await;
    // Those that did not time out are due again soon: for a moment such a record is stored twice.
    eventually(LONG, "deliveries to the silent handler are parked", || async {
        (rig.stored("SW_PARKED").await == 20).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_for_capacity_are_delivered_by_the_broker_once() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    // Capacity for one event; the ack deadline of waiting events is extended every two seconds.
    config.events.in_flight_max = 1;
    config.events.ack_wait_s = 6;
    let rig = Rig::start(&nats, &config).await;
    let subscription = rig.subscribe("inst-1", http(&sink.url("/hook")));
    let (started, mut published) = (clock::tick(), 0);
    while clock::since(started) < Duration::from_secs(5) {
        published += 1;
        rig.publish(published).await;
    }
    rig.until_all_acknowledged().await;
    assert_eq!(subscription.stats.delivered.load(Relaxed), published);
    let broker_deliveries = rig.consumer().await.unwrap().delivered.consumer_sequence;
    assert_eq!(broker_deliveries, published, "none was redelivered after its deadline");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_behind_a_slow_handler_keep_their_deadline() {
    const COUNT: u64 = 60;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    // An event waits behind up to 40 others, for three times the ack deadline.
    config.events.in_flight_max = 20;
    config.events.ack_wait_s = 5;
    config.delivery.endpoint_concurrency = 1;
    config.delivery.park_after_ms = 600_000;
    sink.slow("/hook", Duration::from_millis(400));
    let rig = Rig::start(&nats, &config).await;
    let subscription = rig.subscribe("inst-1", http(&sink.url("/hook")));
    for number in 1..=COUNT {
        rig.publish(number).await;
    }
    rig.until_all_acknowledged().await;
    assert_eq!(subscription.stats.delivered.load(Relaxed), COUNT);
    let broker_deliveries = rig.consumer().await.unwrap().delivered.consumer_sequence;
    assert_eq!(broker_deliveries, COUNT, "none was redelivered after its deadline");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_stays_open_until_its_delivery_is_accounted_for() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    sink.answer("/hook", NEVER, None);
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    rig.publish(1).await;
    eventually(LONG, "the attempt runs", || async { (sink.count() == 1).then_some(()) }).await;
    assert_eq!(rig.open_events().await, 1);
    rig.stop.cancel();
    rig.running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_of_a_killed_router_is_delivered_by_the_next_one() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.events.ack_wait_s = 3;
    sink.answer("/hook", NEVER, None);
    // Its own runtime, so that dropping it ends all tasks of the router.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (url, hook, settings) = (nats.url(), sink.url("/hook"), config.clone());
    let started = runtime.spawn(async move {
        let rig = Rig::start_at(url, &settings).await;
        rig.subscribe("inst-1", http(&hook));
        rig.publish(1).await;
        rig
    });
    let _rig = started.await.unwrap();
    eventually(LONG, "the attempt runs", || async { (sink.count() == 1).then_some(()) }).await;
    runtime.shutdown_background();

    sink.answer("/hook", 204, None);
    let next = Rig::start(&nats, &config).await;
    next.subscribe("inst-1", http(&sink.url("/hook")));
    next.until_all_acknowledged().await;
    let ids: Vec<_> =
        sink.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_when_the_broker_is_killed_under_load() {
    let (mut nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.events.ack_wait_s = 2;
    let rig = Rig::start(&nats, &config).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    for number in 1..=300 {
        rig.publish(number).await;
        if number == 150 {
            nats.kill_and_restart().await;
        }
    }
    let ids = eventually(LONG, "all deliveries arrive", || async {
        let ids: HashSet<_> =
            sink.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
        (ids.len() == 300).then_some(ids)
    })
    .await;
    assert_eq!(ids.len(), 300);
    rig.until_all_acknowledged().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_publish_of_an_event_is_stored_once() {
    let nats = NatsServer::start().await;
    let rig = Rig::start(&nats, &quick()).await;
    let envelope = Envelope {
        cloud_id: "ari:cloud:x/1".into(),
        event_id: "é 1".into(),
        event_type: EVENT_TYPE.into(),
        time: Some(Timestamp::UNIX_EPOCH),
        origin_app: None,
        entity: Some("A-1".into()),
        traceparent: None,
        trace: None,
        webhook: None,
    };
    let body = bytes::Bytes::from_static(b"{}");
    let first = rig.publisher.publish(envelope.clone(), body.clone()).await.unwrap();
    let second = rig.publisher.publish(envelope, body).await.unwrap();
    assert_eq!((first.sequence, first.duplicate), (1, false));
    assert_eq!((second.sequence, second.duplicate), (1, true));
    assert_eq!(rig.stored("SW_EVENTS").await, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_delivery_of_a_removed_subscription_is_dropped() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    // Long enough to remove the subscription before the record is due.
    config.delivery.retry_schedule_s = vec![5, 5];
    let rig = Rig::start(&nats, &config).await;
    let subscription = rig.subscribe("inst-1", http(&sink.url("/hook")));
    sink.answer("/hook", 503, None);
    rig.publish(1).await;
    rig.until_all_acknowledged().await;
    rig.unsubscribe(&subscription);
    eventually(LONG, "the parked record is removed", || async {
        (rig.stored("SW_PARKED").await == 0).then_some(())
    })
    .await;
    assert_eq!((sink.count(), rig.stored("SW_DLQ").await), (1, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn function_replies_over_the_broker_and_may_request_a_retry() {
    let nats = NatsServer::start().await;
    let rig = Rig::start(&nats, &quick()).await;
    let subject: Arc<str> = "sw.fn.inst-1.main".into();
    let mut calls = rig.broker.subscribe(subject.to_string()).await.unwrap();
    rig.broker.flush().await.unwrap();
    rig.subscribe("inst-1", Handler::function(subject));
    rig.publish(1).await;
    let first = tokio::time::timeout(LONG, calls.next()).await.unwrap().unwrap();
    let ask =
        r#"{"_retry":true,"retryOptions":{"retryAfter":1,"retryReason":"BUSY","retryData":7}}"#;
    rig.broker.publish(first.reply.unwrap(), ask.into()).await.unwrap();
    let second = tokio::time::timeout(LONG, calls.next()).await.unwrap().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&second.payload).unwrap();
    assert_eq!(
        body["retryContext"],
        json!({ "retryCount": 1, "retryReason": "BUSY", "retryData": 7 })
    );
    rig.broker.publish(second.reply.unwrap(), "ok".into()).await.unwrap();
    rig.until_all_acknowledged().await;
    eventually(LONG, "SW_PARKED is empty", || async {
        (rig.stored("SW_PARKED").await == 0).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_rejects_events_while_the_backlog_fills_the_stream() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.events.max_bytes = 64 * 1024;
    config.delivery.timeout_ms = 60_000;
    config.delivery.park_after_ms = 60_000;
    let mut rig = Rig::start(&nats, &config).await;
    rig.watch.check_once().await.unwrap();
    assert_eq!(rig.gate.refuse_for_s(), None);
    sink.answer("/hook", NEVER, None);
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    // The stream can store some 150 of these events.
    let mut number = 0;
    while rig.publisher.refuse_for_s().is_none() {
        number += 1;
        rig.publish(number).await;
        rig.watch.check_once().await.unwrap();
    }
    let context = crate::support::jetstream(rig.broker.clone());
    let stored = context.get_stream("SW_EVENTS").await.unwrap().cached_info().state.bytes;
    let share = stored * 100 / (64 * 1024);
    assert!((80..100).contains(&share), "refused at {share} % of the stream, {number} events");
    rig.stop.cancel();
    rig.running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_with_thousands_of_subscriptions_reaches_each_of_them_once() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.delivery.park_after_ms = 30_000;
    let rig = Rig::start(&nats, &config).await;
    for number in 0..2_000 {
        rig.subscribe(&format!("inst-{number}"), http(&sink.url("/hook")));
    }
    rig.publish(1).await;
    rig.until_all_acknowledged().await;
    // Those that had to wait for long were parked.
    eventually(LONG, "every subscription has its delivery", || async {
        (sink.count() >= 2_000).then_some(())
    })
    .await;
    let who: HashSet<_> = sink
        .received()
        .iter()
        .map(|one| one.header("switchyard-installation").to_owned())
        .collect();
    assert_eq!((sink.count(), who.len()), (2_000, 2_000));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_waits_until_running_attempts_are_accounted_for() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.delivery.timeout_ms = 1_000;
    let rig = Rig::start(&nats, &config).await;
    sink.answer("/hook", NEVER, None);
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    rig.publish(1).await;
    eventually(LONG, "the attempt runs", || async { (sink.count() == 1).then_some(()) }).await;
    rig.stop.cancel();
    rig.running.await.unwrap();
    let context = nats.context().await;
    eventually(LONG, "the attempt is parked for its retry", || async {
        let stream = context.get_stream("SW_PARKED").await.ok()?;
        (stream.cached_info().state.messages == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_events_are_not_redelivered_while_a_handler_is_slow() {
    let nats = NatsServer::start().await;
    let mut config = quick();
    config.events.ack_wait_s = 4;
    config.events.in_flight_max = 1;
    config.delivery.park_after_ms = 60_000;
    config.delivery.timeout_ms = 60_000;
    let rig = Rig::start(&nats, &config).await;
    let subject: Arc<str> = "sw.fn.inst-1.main".into();
    let mut calls = rig.broker.subscribe(subject.to_string()).await.unwrap();
    rig.broker.flush().await.unwrap();
    rig.subscribe("inst-1", Handler::function(subject));
    for number in 1..=40 {
        rig.publish(number).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 40 {
        let call = tokio::time::timeout(LONG, calls.next()).await.unwrap().unwrap();
        seen.push(call.headers.unwrap().get("webhook-id").unwrap().to_string());
        if seen.len() == 1 {
            // The handler takes three times the ack deadline of an event.
            tokio::time::sleep(Duration::from_secs(12)).await;
        }
        rig.broker.publish(call.reply.unwrap(), "ok".into()).await.unwrap();
    }
    rig.until_all_acknowledged().await;
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 40, "a delivery came twice");
    let repeated = tokio::time::timeout(Duration::from_millis(200), calls.next()).await;
    assert!(repeated.is_err(), "a delivery came once more");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_whose_delivery_panics_becomes_a_dead_letter_and_holds_up_no_other() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.events.ack_wait_s = 1;
    config.events.deliver_max = 3;
    let rig = Rig::start(&nats, &config).await;
    let defect = rig.subscribe("inst-1", Handler::function("panic"));
    rig.publish(1).await;
    let letter = rig.dead_letter().await;
    assert_eq!(letter.headers.get("switchyard-dlq-reason").unwrap().as_str(), "poison_crash");
    rig.unsubscribe(&defect);
    rig.subscribe("inst-2", http(&sink.url("/hook")));
    rig.publish(2).await;
    rig.until_all_acknowledged().await;
    assert_eq!(sink.count(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_delivery_whose_resumption_panics_becomes_a_dead_letter() {
    let nats = NatsServer::start().await;
    let rig = Rig::start(&nats, &quick()).await;
    rig.subscribe("inst-1", Handler::function("no.subscriber"));
    rig.publish(1).await;
    eventually(LONG, "a parked delivery", || async {
        (rig.stored("SW_PARKED").await > 0).then_some(())
    })
    .await;
    rig.subscribe("inst-1", Handler::function("panic"));
    let letter = rig.dead_letter().await;
    assert_eq!(letter.headers.get("switchyard-dlq-reason").unwrap().as_str(), "poison_crash");
    eventually(LONG, "SW_PARKED is empty", || async {
        (rig.stored("SW_PARKED").await == 0).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_functions_leave_nothing_in_the_client() {
    let nats = NatsServer::start().await;
    let rig = Rig::start(&nats, &quick()).await;
    rig.subscribe("inst-1", Handler::function("app.function"));
    let mut calls = rig.broker.subscribe("app.function").await.unwrap();
    rig.broker.flush().await.unwrap();
    rig.publish(1).await;
    let call = tokio::time::timeout(LONG, calls.next()).await.unwrap().unwrap();
    // `_INBOX.<id>`: a subscription for this call, which ends with it. The shared inbox,
    // `_INBOX.<id>.<token>`, keeps an entry for each call that is never answered.
    let reply = call.reply.unwrap();
    assert_eq!(reply.split('.').count(), 2, "{reply}");
    rig.broker.publish(reply, "ok".into()).await.unwrap();
    rig.until_all_acknowledged().await;
    rig.stop().await;
}
