//! Without a fault nothing is repeated, whatever the bound on events in flight and however slow the
//! handlers.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::consumer;
use serde_json::json;

use crate::support::{NatsServer, Received, Setup, Sink, eventually, publish, register};

const SITE: &str = "site-1";
const LONG: Duration = Duration::from_secs(180);

/// The state of the router's consumer.
pub(crate) async fn consumer(broker: &async_nats::Client) -> consumer::Info {
    let context = crate::support::jetstream(broker.clone());
    let stream = context.get_stream("SW_EVENTS").await.expect("the event stream");
    let mut consumer: consumer::PullConsumer =
        stream.get_consumer("router").await.expect("the router's consumer");
    consumer.info().await.expect("consumer info").clone()
}

/// Waits until no event is pending or unacknowledged.
pub(crate) async fn until_all_acknowledged(broker: &async_nats::Client) {
    eventually(LONG, "every event is acknowledged", || async {
        let info = consumer(broker).await;
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

/// Number of requests beyond the first of each delivery.
pub(crate) fn repeats(received: &[Received]) -> usize {
    let ids: HashSet<_> = received.iter().map(|one| one.header("webhook-id")).collect();
    received.len() - ids.len()
}

/// Ack deadline in seconds: a machine that is busy with other tests may delay its extension, which is
/// due three times within the deadline.
const ACK_WAIT_S: u64 = 5;

/// Routes `events` events to a handler that takes `handling`, and checks that the broker delivered each event once.
async fn repeats_nothing(in_flight_max: usize, events: u64, handling: Duration) {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", ACK_WAIT_S)
        .with("SWITCHYARD_EVENTS__IN_FLIGHT_MAX", in_flight_max)
        .with("SWITCHYARD_DELIVERY__ENDPOINT_CONCURRENCY", 500)
        .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
        .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000);
    let broker = nats.client().await;
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(&app, json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] })).await;
    sink.slow("/hook", handling);
    for number in 0..events {
        publish(&broker, SITE, number, "XXX").await;
    }
    until_all_acknowledged(&broker).await;
    let (info, received) = (consumer(&broker).await, sink.received());
    let redelivered = info.delivered.consumer_sequence - events;
    eprintln!(
        "in_flight_max {in_flight_max}, {events} events: {redelivered} redelivered, {} repeats",
        repeats(&received)
    );
    assert_eq!((redelivered, info.num_redelivered), (0, 0), "the broker redelivered");
    assert_eq!((received.len() as u64, repeats(&received)), (events, 0));
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_in_flight_repeats_nothing() {
    repeats_nothing(1, 4, Duration::from_secs(6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_events_in_flight_repeat_nothing() {
    repeats_nothing(40, 2_000, Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_slower_than_the_ack_deadline_repeat_nothing() {
    repeats_nothing(4_096, 200, Duration::from_secs(7)).await;
}
