//! A bad day of the event stream: it is full, its consumer is deleted, events disappear from it, or
//! an older release configures it. No accepted event is lost, and none is handled again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info};
use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use switchyard::clock;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, event_envelope, eventually,
    issue_event, publish, register,
};

const SITE: &str = "site-1";
const TYPE: &str = "avi:jira:updated:issue";
const LONG: Duration = WAIT_MAX;
/// Size of the event stream in the tests that fill it.
const STREAM_BYTES: u64 = 4 << 20;
const EVENTS: u64 = 6_000;
const CONCURRENT: usize = 32;

/// What became of the events that were sent.
#[derive(Debug, Default)]
struct Sent {
    accepted: BTreeSet<u64>,
    refused: u64,
    unknown: u64,
}

impl Sent {
    fn count(&mut self, number: u64, accepted: Option<bool>) {
        match accepted {
            Some(true) => {
                self.accepted.insert(number);
            }
            Some(false) => self.refused += 1,
            None => self.unknown += 1,
        }
    }
}

fn body(number: u64) -> Vec<u8> {
    let mut event = issue_event(number, "OPS");
    event["issue"]["fields"]["description"] = "x".repeat(1_000).into();
    event.to_string().into_bytes()
}

/// Sends events to the API; each must be answered with 202, or with 503 and `Retry-After`.
async fn send_to_api(router: &RouterProcess, numbers: impl IntoIterator<Item = u64>) -> Sent {
    let pool = Pool::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answers = stream::iter(numbers).map(|number| {
        let request = Request::post(format!(
            "{}/admin/v1/events?cloudId={SITE}&type={TYPE}",
            router.api.base()
        ))
        .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
        .header("ce-id", format!("event-{number}"))
        .body(Full::from(body(number)))
        .unwrap();
        let pool = &pool;
        async move {
            let answer = pool.request(request).await.expect("an answer");
            let accepted = match answer.status().as_u16() {
                202 => true,
                503 => {
                    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                    false
                }
                other => panic!("status {other}"),
            };
            let _ = answer.into_body().collect().await;
            (number, Some(accepted))
        }
    });
    let mut sent = Sent::default();
    let mut answers = answers.buffer_unordered(CONCURRENT);
    while let Some((number, accepted)) = answers.next().await {
        sent.count(number, accepted);
    }
    sent
}

/// Publishes events on the bus, each once.
async fn send_to_bus(broker: &async_nats::Client, numbers: std::ops::Range<u64>) -> Sent {
    let context = crate::support::jetstream(broker.clone());
    let answers = stream::iter(numbers).map(|number| {
        let context = context.clone();
        async move {
            let (subject, headers) = event_envelope(SITE, TYPE, &format!("event-{number}"));
            let ack = context.publish_with_headers(subject, headers, body(number).into()).await;
            let accepted = match ack.expect("the publish is sent").await {
                Ok(_) => Some(true),
                Err(error) if error.kind() == jetstream::context::PublishErrorKind::Other => {
                    Some(false)
                }
                Err(_) => None,
            };
            (number, accepted)
        }
    });
    let mut sent = Sent::default();
    let mut answers = answers.buffer_unordered(CONCURRENT);
    while let Some((number, accepted)) = answers.next().await {
        sent.count(number, accepted);
    }
    sent
}

/// A router with a small event stream and one handler that is matched by every event.
struct SmallStream {
    nats: NatsServer,
    sink: Sink,
    setup: Setup,
    router: RouterProcess,
    context: jetstream::Context,
}

impl SmallStream {
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
            .with("SWITCHYARD_EVENTS__MAX_BYTES", STREAM_BYTES)
            .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000)
            .with("SWITCHYARD_DELIVERY__TIMEOUT_MS", 120_000);
        let router = setup.start().await;
        let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
        register(&app, json!({ "endpoint": "hook", "events": [TYPE] })).await;
        let context = nats.context().await;
        Self { nats, sink, setup, router, context }
    }

    async fn info(&self) -> Info {
        self.context.get_stream("SW_EVENTS").await.unwrap().cached_info().clone()
    }

    async fn floor(&self) -> u64 {
        let stream = self.context.get_stream("SW_EVENTS").await.unwrap();
        let router: PullConsumer = stream.get_consumer("router").await.unwrap();
        router.cached_info().ack_floor.stream_sequence
    }

    /// Numbers of the delivered events, with how often each came.
    fn delivered(&self) -> BTreeMap<u64, usize> {
        let mut delivered = BTreeMap::new();
        for one in self.sink.received_at("/hook") {
            let id = one.json()["issue"]["id"].as_str().unwrap().parse::<u64>().unwrap();
            *delivered.entry(id - 10_000).or_default() += 1;
        }
        delivered
    }

    async fn until_handled(&self) {
        eventually(LONG, "all events are acknowledged", || async {
            (self.floor().await == self.info().await.state.last_sequence).then_some(())
        })
        .await;
    }

    /// Every accepted event is delivered once the handler answers, and no other is.
    async fn check_account(&self, sent: &Sent) {
        self.sink.release("/hook");
        self.until_handled().await;
        // Parked deliveries come a little later.
        let delivered = eventually(LONG, "every accepted event is delivered", || async {
            let parked = self.context.get_stream("SW_PARKED").await.ok()?;
            let is_done = parked.cached_info().state.messages == 0;
            let delivered: BTreeSet<u64> = self.delivered().into_keys().collect();
            (is_done || delivered.is_superset(&sent.accepted)).then_some(delivered)
        })
        .await;
        let lost: Vec<_> = sent.accepted.difference(&delivered).collect();
        assert!(lost.is_empty(), "{} of {} lost", lost.len(), sent.accepted.len());
        assert!(sent.unknown > 0 || delivered == sent.accepted, "a refused event was delivered");
        let gap = self.router.metric("switchyard_input_gap_events_total").await;
        assert!(gap == 0.0, "{gap} events in a gap");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_stream_refuses_events_of_the_api_and_loses_none() {
    let rig = SmallStream::start().await;
    rig.sink.hold("/hook");
    let sent = send_to_api(&rig.router, 0..EVENTS).await;
    eprintln!("API: accepted {}, refused {}", sent.accepted.len(), sent.refused);
    assert!(sent.refused > 0, "the stream is smaller than the events");
    let refused =
        rig.router.metric("switchyard_events_refused_total{reason=\"stream_full\"}").await
            + rig.router.metric("switchyard_events_refused_total{reason=\"backlog\"}").await;
    assert!(refused == f64::from(u32::try_from(sent.refused).unwrap()), "{refused} counted");
    rig.check_account(&sent).await;
    rig.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_stream_refuses_events_of_the_bus_and_loses_none() {
    let rig = SmallStream::start().await;
    rig.sink.hold("/hook");
    let sent = send_to_bus(&rig.nats.client().await, 0..EVENTS).await;
    eprintln!("bus: accepted {}, refused {}", sent.accepted.len(), sent.refused);
    assert!(sent.refused > 0, "the stream is smaller than the events");
    rig.check_account(&sent).await;
    rig.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_make_space_for_new_ones() {
    let rig = SmallStream::start().await;
    let (mut sent, mut accepted_at) = (Sent::default(), clock::tick());
    let mut waiting: BTreeSet<u64> = (0..EVENTS).collect();
    // A refused event is sent again, as clients do: a busy machine may handle events later than they
    // are sent.
    while !waiting.is_empty() {
        let refused = waiting.len();
        assert!(clock::since(accepted_at) < LONG, "{refused} events are refused for {LONG:?}");
        let answered = send_to_api(&rig.router, waiting.iter().copied()).await;
        if !answered.accepted.is_empty() {
            accepted_at = clock::tick();
        }
        waiting = waiting.difference(&answered.accepted).copied().collect();
        sent.accepted.extend(answered.accepted);
        sent.refused += answered.refused;
    }
    eprintln!("healthy: accepted {}, refused {} times", sent.accepted.len(), sent.refused);
    rig.check_account(&sent).await;
    eventually(LONG, "stored bytes are below the share", || async {
        (rig.info().await.state.bytes <= STREAM_BYTES * 70 / 100).then_some(())
    })
    .await;
    eventually(LONG, "all deleted events are counted", || async {
        let first = rig.info().await.state.first_sequence;
        let series = "switchyard_input_trimmed_total{reason=\"bytes\"}";
        let trimmed = rig.router.metric(series).await;
        (trimmed == f64::from(u32::try_from(first - 1).unwrap())).then_some(())
    })
    .await;
    // The backpressure gate is set by samples, so it may still refuse.
    eventually(LONG, "a handled event is accepted again", || async {
        (send_to_api(&rig.router, 0..1).await.accepted.len() == 1).then_some(())
    })
    .await;
    let last = rig.info().await.state.last_sequence;
    assert_eq!(last, EVENTS, "a deleted event is recognised within the deduplication window");
    rig.router.kill().await;
}

/// Waits until the floor of the stream is stored apart from the consumer.
async fn until_floor_is_stored(context: &jetstream::Context, floor: u64) {
    eventually(LONG, "the floor is stored", || async {
        let bucket: kv::Store = context.get_key_value("SW_STATE").await.ok()?;
        let value = bucket.get("floor.router").await.ok()??;
        let stored: Value = serde_json::from_slice(&value).ok()?;
        (stored["sequence"] == floor).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_consumer_handles_no_event_again() {
    const HANDLED: u64 = 1_000;
    let mut rig = SmallStream::start().await;
    let broker = rig.nats.client().await;
    let sent = send_to_bus(&broker, 0..HANDLED).await;
    assert_eq!(sent.accepted.len() as u64, HANDLED);
    rig.until_handled().await;
    until_floor_is_stored(&rig.context, HANDLED).await;

    // While the router runs: its pull creates the consumer again.
    let stream = rig.context.get_stream("SW_EVENTS").await.unwrap();
    stream.delete_consumer("router").await.unwrap();
    publish(&broker, SITE, HANDLED, "OPS").await;
    eventually(LONG, "the next event is delivered", || async {
        rig.delivered().contains_key(&HANDLED).then_some(())
    })
    .await;
    let series = "switchyard_input_consumers_recreated_total{start=\"floor\"}";
    assert!(rig.router.metric(series).await == 1.0, "counted once");
    until_floor_is_stored(&rig.context, HANDLED + 1).await;

    // While it is down: its start does.
    rig.router.kill().await;
    stream.delete_consumer("router").await.unwrap();
    publish(&broker, SITE, HANDLED + 1, "OPS").await;
    rig.router = rig.setup.start().await;
    eventually(LONG, "the last event is delivered", || async {
        rig.delivered().contains_key(&(HANDLED + 1)).then_some(())
    })
    .await;
    assert!(rig.router.metric(series).await == 1.0, "counted once");

    // A start updates a consumer that it finds, whatever its start sequence.
    rig.router.kill().await;
    rig.router = rig.setup.start().await;
    publish(&broker, SITE, HANDLED + 2, "OPS").await;
    eventually(LONG, "an event is delivered", || async {
        rig.delivered().contains_key(&(HANDLED + 2)).then_some(())
    })
    .await;
    let again = rig.delivered().into_values().filter(|times| *times > 1).count();
    eprintln!("{again} of {HANDLED} events handled again");
    assert_eq!(again, 0);
    rig.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_of_another_stream_is_ignored() {
    let mut rig = SmallStream::start().await;
    let broker = rig.nats.client().await;
    for number in 0..20 {
        publish(&broker, SITE, number, "OPS").await;
    }
    rig.until_handled().await;
    until_floor_is_stored(&rig.context, 20).await;
    rig.router.kill().await;
    rig.context.delete_stream("SW_EVENTS").await.unwrap();
    rig.router = rig.setup.start().await;
    for number in 100..105 {
        publish(&broker, SITE, number, "OPS").await;
    }
    eventually(LONG, "the events of the new stream are delivered", || async {
        (rig.delivered().range(100..).count() == 5).then_some(())
    })
    .await;
    until_floor_is_stored(&rig.context, 5).await;
    let gap = rig.router.metric("switchyard_input_gap_events_total").await;
    assert!(gap == 0.0, "{gap}");
    rig.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_disappear_are_counted() {
    let rig = SmallStream::start().await;
    let broker = rig.nats.client().await;
    for number in 0..10 {
        publish(&broker, SITE, number, "OPS").await;
    }
    rig.until_handled().await;
    until_floor_is_stored(&rig.context, 10).await;
    rig.sink.hold("/hook");
    for number in 10..30 {
        publish(&broker, SITE, number, "OPS").await;
    }
    let stream = rig.context.get_stream("SW_EVENTS").await.unwrap();
    stream.delete_message(20).await.unwrap();
    stream.delete_message(22).await.unwrap();
    let series = "switchyard_input_gap_events_total";
    eventually(LONG, "the deleted events are counted", || async {
        (rig.router.metric(series).await == 2.0).then_some(())
    })
    .await;
    stream.purge().sequence(14).await.unwrap();
    eventually(LONG, "the purged events are counted", || async {
        (rig.router.metric(series).await == 5.0).then_some(())
    })
    .await;
    rig.router.kill().await;
}

/// The event stream as the release before this one configures it.
fn previous_config(found: &Info) -> Config {
    Config {
        max_age: Duration::from_secs(72 * 3600),
        discard: DiscardPolicy::Old,
        metadata: std::collections::HashMap::new(),
        ..found.config.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_an_older_release_takes_back_are_restored() {
    let rig = SmallStream::start().await;
    let info = rig.info().await;
    assert_eq!((info.config.discard, info.config.max_age), (DiscardPolicy::New, Duration::ZERO));
    rig.context.update_stream(previous_config(&info)).await.unwrap();
    eventually(LONG, "the limits are restored", || async {
        let config = rig.info().await.config;
        let is_new = config.discard == DiscardPolicy::New && config.max_age == Duration::ZERO;
        is_new.then_some(())
    })
    .await;
    assert!(rig.router.metric("switchyard_stream_config_restored_total").await >= 1.0);
    rig.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_newer_release_are_not_updated() {
    let mut rig = SmallStream::start().await;
    rig.router.kill().await;
    let names = ["SW_EVENTS", "SW_PARKED", "SW_DLQ", "KV_SW_STATE", "KV_SW_REG"];
    for name in names {
        let mut config = rig.context.get_stream(name).await.unwrap().cached_info().config.clone();
        config.description = Some("of a newer release".into());
        config.metadata.insert("switchyard-config".into(), "1000".into());
        rig.context.update_stream(config).await.unwrap();
    }
    rig.router = rig.setup.start().await;
    for name in names {
        let config = rig.context.get_stream(name).await.unwrap().cached_info().config.clone();
        assert_eq!(config.description.as_deref(), Some("of a newer release"), "{name}");
        assert_eq!(config.metadata["switchyard-config"], "1000", "{name}");
    }
    let newer = rig.router.metric("switchyard_stream_config_newer{stream=\"events\"}").await;
    assert!(newer == 1.0, "visible");
    rig.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_of_the_previous_release_is_upgraded_in_place() {
    let mut rig = SmallStream::start().await;
    let broker = rig.nats.client().await;
    publish(&broker, SITE, 0, "OPS").await;
    rig.until_handled().await;
    let info = rig.info().await;
    rig.router.kill().await;
    // As that release left it: its limits, its consumer, and no floor.
    rig.context.update_stream(previous_config(&info)).await.unwrap();
    rig.context.delete_key_value("SW_STATE").await.unwrap();
    let stream = rig.context.get_stream("SW_EVENTS").await.unwrap();
    stream.delete_consumer("router").await.unwrap();
    let config = pull::Config {
        durable_name: Some("router".into()),
        ack_policy: AckPolicy::Explicit,
        max_deliver: -1,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let first = consumer.fetch().max_messages(1).messages().await.unwrap().next().await;
    first.unwrap().unwrap().double_ack().await.unwrap();

    publish(&broker, SITE, 1, "OPS").await;
    rig.router = rig.setup.start().await;
    eventually(LONG, "the next event is delivered", || async {
        rig.delivered().contains_key(&1).then_some(())
    })
    .await;
    let config = rig.info().await.config;
    assert_eq!((config.discard, config.max_age), (DiscardPolicy::New, Duration::ZERO));
    until_floor_is_stored(&rig.context, 2).await;
    assert_eq!(rig.delivered(), BTreeMap::from([(0, 1), (1, 1)]));
    rig.router.kill().await;
}

/// The streams of a broker without a router.
struct Streams {
    config: switchyard::config::Config,
    connections: switchyard::bus::Connections,
    nats: NatsServer,
}

impl Streams {
    async fn start() -> Self {
        let config = switchyard::config::Config::defaults().unwrap();
        let nats = NatsServer::start().await;
        let urls = [nats.url()];
        let connections = switchyard::bus::Connections::open(&config.nats, &urls).await.unwrap();
        Self { config, connections, nats }
    }

    /// Creates or updates the streams as a start does; returns the error's text.
    async fn ensure(&self) -> Result<(), String> {
        let (config, jet) = (&self.config, &self.connections.control);
        let subjects = switchyard::bus::Subjects::new(&config.nats.prefix);
        let (events, delivery) = (&config.events, &config.delivery);
        switchyard::bus::streams::ensure(jet, &subjects, &config.nats, events, delivery)
            .await
            .map_err(|error| error.to_string())
    }

    async fn info(&self, stream: &str) -> Info {
        let context = &self.connections.control.context;
        context.get_stream(stream).await.unwrap().cached_info().clone()
    }

    /// Stores five messages of a megabyte.
    async fn fill(&self, subject: &str) {
        let context = self.nats.context().await;
        for _ in 0..5 {
            let body = vec![b'x'; 1 << 20].into();
            context.publish(subject.to_owned(), body).await.unwrap().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn size_below_what_is_stored_is_refused_at_start() {
    let mut streams = Streams::start().await;
    streams.config.events.max_bytes = 1 << 20;
    streams.ensure().await.unwrap();
    let sent = send_to_bus(&streams.connections.control.client, 0..100).await;
    assert_eq!(sent.accepted.len(), 100);
    streams.config.events.max_bytes = 64 << 10;
    let error = streams.ensure().await.unwrap_err();
    assert!(error.contains("more than events.max_bytes = 65536"), "{error}");
    assert!(error.contains("nats stream purge SW_EVENTS --seq=1"), "{error}");
    let stored = streams.info("SW_EVENTS").await;
    assert_eq!(stored.state.messages, 100, "nothing is evicted");
    assert_eq!(stored.config.max_bytes, 1 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_size_of_dead_letters_names_its_own_key() {
    let mut streams = Streams::start().await;
    streams.ensure().await.unwrap();
    streams.fill("sw.dlq.app").await;
    let before = streams.info("SW_DLQ").await;
    assert_eq!(before.state.messages, 5);
    // The stream has a margin of 4 MiB.
    streams.config.delivery.dead_letter_bytes_max = 1;
    let error = streams.ensure().await.unwrap_err();
    assert!(error.contains("Raise delivery.dead_letter_bytes_max, or"), "{error}");
    assert!(error.contains("nats stream purge SW_DLQ --keep=N"), "{error}");
    assert!(!error.contains("events."), "{error}");
    let after = streams.info("SW_DLQ").await;
    assert_eq!(after.state.messages, 5, "nothing is deleted");
    assert_eq!(after.config.max_bytes, before.config.max_bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parking_stream_has_no_size_that_could_be_below_what_is_stored() {
    let mut streams = Streams::start().await;
    streams.ensure().await.unwrap();
    streams.fill("sw.retry.dlv_1").await;
    (streams.config.delivery.parked_bytes_max, streams.config.delivery.parked_max) = (1, 1);
    streams.ensure().await.expect("the router applies the bound, not the stream");
    let stored = streams.info("SW_PARKED").await;
    assert_eq!((stored.state.messages, stored.config.max_bytes), (5, -1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_without_room_for_a_stream_is_reported_with_the_key_of_that_stream() {
    const TOO_MUCH: i64 = 1 << 40;
    let mut streams = Streams::start().await;
    let defaults = streams.config.clone();
    let refused_for = |error: &str, stream: &str, key: &str, other: &str| {
        let starts = format!("stream {stream}: the broker has no room for ");
        assert!(error.starts_with(&starts), "{error}");
        assert!(error.ends_with(&format!("or set {key} lower")), "{error}");
        assert!(!error.contains(other), "{error}");
    };
    // Before the streams exist, and when they are updated.
    for _ in 0..2 {
        let (events, letters) = ("events.max_bytes", "delivery.dead_letter_bytes_max");
        streams.config.events.max_bytes = TOO_MUCH;
        refused_for(&streams.ensure().await.unwrap_err(), "SW_EVENTS", events, letters);
        streams.config = defaults.clone();
        streams.config.delivery.dead_letter_bytes_max = TOO_MUCH.unsigned_abs();
        refused_for(&streams.ensure().await.unwrap_err(), "SW_DLQ", letters, events);
        streams.config = defaults.clone();
        streams.ensure().await.unwrap();
    }
}
