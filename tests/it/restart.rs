//! Kills the router and the broker under load: no event is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream;
use serde_json::json;

use crate::support::{NatsServer, Received, Setup, Sink, eventually, publish, register};

const SITE: &str = "site-1";
const EVENTS: u64 = 20_000;
const KILLS: usize = 5;

/// Sequences that were not acknowledged when the router was killed: after the ack floor, up to the
/// last one delivered to it.
async fn unacknowledged(broker: &async_nats::Client) -> std::ops::RangeInclusive<u64> {
    let context = crate::support::jetstream(broker.clone());
    let stream = context.get_stream("SW_EVENTS").await.expect("the event stream");
    let mut consumer: jetstream::consumer::PullConsumer =
        stream.get_consumer("router").await.expect("the router's consumer");
    let info = consumer.info().await.expect("consumer info");
    info.ack_floor.stream_sequence + 1..=info.delivered.stream_sequence
}

/// Deliveries by id, each with the event of every arrival.
fn by_id(received: &[Received]) -> BTreeMap<String, Vec<u64>> {
    let mut by_id: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for one in received {
        let sequence = one.header("switchyard-sequence").parse().expect("a sequence");
        by_id.entry(one.header("webhook-id").to_owned()).or_default().push(sequence);
    }
    by_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_nothing_when_the_router_is_killed_five_times_under_load() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    // The lane holds the whole backlog: parking has its own tests; here each repeat must be
    // explained by an unacknowledged event.
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
        .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000)
        // No ack deadline expires on a machine that is busy with other tests: that would repeat an
        // event, too, without a kill.
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 15);
    let mut router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    let events = json!(["avi:jira:updated:issue"]);
    for expression in ["event.issue.fields.project.key == 'XXX'", "event.issue.id != null"] {
        register(
            &app,
            json!({ "endpoint": "hook", "events": events, "filter": { "expression": expression } }),
        )
        .await;
    }
    let broker = nats.client().await;
    let feeding = tokio::spawn(feed(broker.clone()));

    let mut open: BTreeSet<u64> = BTreeSet::new();
    for kill in 1..=KILLS {
        // A random moment while events flow: after a few thousand more deliveries.
        let so_far = sink.count();
        let more = usize::try_from(uuid::Uuid::new_v4().as_u128() % 3_000).unwrap() + 500;
        eventually(Duration::from_secs(120), "deliveries flow", || async {
            (sink.count() >= so_far + more).then_some(())
        })
        .await;
        router.kill().await;
        open.extend(unacknowledged(&broker).await);
        eprintln!("kill {kill}: {} deliveries so far", sink.count());
        router = setup.start().await;
    }
    feeding.await.expect("all events are published");
    let wanted = usize::try_from(2 * EVENTS).unwrap();
    let arrived = eventually(Duration::from_secs(240), "every delivery arrives", || async {
        let arrived = by_id(&sink.received());
        (arrived.len() >= wanted).then_some(arrived)
    })
    .await;

    assert_eq!(arrived.len(), wanted, "no delivery without a match");
    let mut repeats = 0;
    for (id, sequences) in &arrived {
        assert!(sequences.windows(2).all(|pair| pair[0] == pair[1]), "{id} names one event");
        if sequences.len() > 1 {
            repeats += sequences.len() - 1;
            assert!(
                open.contains(&sequences[0]),
                "{id} was repeated but its event was acknowledged"
            );
        }
    }
    eprintln!("{wanted} deliveries, 0 lost, {repeats} repeats after {KILLS} kills");
    router.kill().await;
}

/// Publishes the events as a producer does: each under one id, repeated until it is stored.
async fn feed(broker: async_nats::Client) {
    for number in 0..EVENTS {
        publish(&broker, SITE, number, "XXX").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_when_the_broker_is_killed_under_load() {
    const COUNT: u64 = 3_000;
    let mut nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 5);
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(
        &app,
        json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": { "expression": "event.issue.fields.project.key == 'XXX'" } }),
    )
    .await;
    let broker = nats.client().await;
    let feeding = tokio::spawn(async move {
        for number in 0..COUNT {
            publish(&broker, SITE, number, "XXX").await;
        }
    });
    for _ in 0..2 {
        let so_far = sink.count();
        eventually(Duration::from_secs(60), "deliveries flow", || async {
            (sink.count() >= so_far + 300).then_some(())
        })
        .await;
        nats.kill_and_restart().await;
    }
    feeding.await.expect("all events are published");
    eventually(Duration::from_secs(120), "every delivery arrives", || async {
        let arrived = by_id(&sink.received());
        (arrived.len() as u64 == COUNT).then_some(())
    })
    .await;
    assert!(router.get("/healthz/ready").await.is_ok(), "the router is ready again");
    router.kill().await;
}
