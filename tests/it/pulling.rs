//! What a router pulls ahead of its work is bounded by its bytes, and one message blocks no other.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream;
use serde_json::json;
use switchyard::bus::{Connections, PullSubscription, Subjects, streams};
use switchyard::config::Config;
use switchyard::event::{Message, MessageStream};

use crate::repeats::{consumer, repeats, until_all_acknowledged};
use crate::support::{
    NatsServer, Setup, Sink, WAIT_MAX, eventually, publish, publish_raw, register,
};

const SITE: &str = "site-1";
const MIB: usize = 1 << 20;
const LONG: Duration = WAIT_MAX;
/// How long a subscription without a worker is observed; what is pulled comes in milliseconds.
const OBSERVED: Duration = Duration::from_secs(3);

/// A subscription to the events that may hold 4 MiB, and a client.
async fn subscription(nats: &NatsServer) -> (PullSubscription, async_nats::Client) {
    let mut config = Config::defaults().unwrap();
    config.events.in_flight_bytes_max = 4 * MIB;
    let connections = Connections::open(&config.nats, &[nats.url()]).await.unwrap();
    let subjects = Subjects::new(&config.nats.prefix);
    let (control, settings) = (&connections.control, &config.nats);
    streams::ensure(control, &subjects, settings, &config.events, &config.delivery).await.unwrap();
    let pull = PullSubscription::events(&connections, &subjects, &config.events, 1);
    pull.ensure().await.unwrap();
    (pull, connections.outbound.client)
}

async fn send(broker: &async_nats::Client, number: usize, bytes: usize) {
    let id = format!("event-{number}");
    publish_raw(broker, SITE, "avi:jira:updated:issue", &id, vec![b' '; bytes]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_that_wait_for_a_worker_are_bounded_by_their_bytes() {
    const EVENTS: usize = 24;
    let nats = NatsServer::start().await;
    let (mut pull, broker) = subscription(&nats).await;
    for number in 0..EVENTS {
        send(&broker, number, MIB).await;
    }
    let first = tokio::time::timeout(LONG, pull.next()).await.expect("the first event");
    tokio::time::sleep(OBSERVED).await;
    let pulled = consumer(&broker).await.num_ack_pending;
    assert!(pulled <= 5, "{pulled} MiB are pulled, and 4 may wait");
    first.ack().await;
    for _ in 1..EVENTS {
        let next = tokio::time::timeout(LONG, pull.next()).await.expect("the next event");
        next.ack().await;
    }
    eventually(LONG, "every event is acknowledged", || async {
        (consumer(&broker).await.ack_floor.stream_sequence == EVENTS as u64).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_larger_than_the_limit_of_a_request_blocks_no_other() {
    let nats = NatsServer::accepting("8MB").await;
    let (mut pull, broker) = subscription(&nats).await;
    for (number, bytes) in [(1, 10), (2, 6 * MIB), (3, 10), (4, 6 * MIB), (5, 10)] {
        send(&broker, number, bytes).await;
        let event = tokio::time::timeout(LONG, pull.next()).await.expect("the event is pulled");
        assert_eq!((event.sequence(), event.payload().len()), (number as u64, bytes));
        event.ack().await;
    }
    let context = jetstream::new(broker.clone());
    eventually(LONG, "every event is acknowledged", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let last = stream.cached_info().state.last_sequence;
        (consumer(&broker).await.ack_floor.stream_sequence == last).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_was_frozen_for_longer_than_the_ack_deadline_loses_no_event() {
    const EVENTS: u64 = 400;
    const IN_FLIGHT: usize = 40;
    // Longer than two pings, so that the connections are opened again.
    const FROZEN: Duration = Duration::from_secs(15);
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 2)
        .with("SWITCHYARD_EVENTS__IN_FLIGHT_MAX", IN_FLIGHT)
        .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
        .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000);
    let (broker, router) = (nats.client().await, setup.start().await);
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(&app, json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] })).await;
    sink.slow("/hook", Duration::from_millis(300));
    for number in 0..EVENTS {
        publish(&broker, SITE, number, "XXX").await;
    }
    eventually(LONG, "deliveries flow", || async { (sink.count() > 40).then_some(()) }).await;
    nats.freeze();
    tokio::time::sleep(FROZEN).await;
    nats.thaw();
    let broker = nats.client().await;
    until_all_acknowledged(&broker).await;
    let received = sink.received();
    let sequences: HashSet<_> =
        received.iter().map(|one| one.header("switchyard-sequence")).collect();
    eprintln!("{} repeats after a broker was frozen for {FROZEN:?}", repeats(&received));
    assert_eq!(sequences.len() as u64, EVENTS, "every event is delivered");
    router.kill().await;
}
