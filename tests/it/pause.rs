//! A process that was stopped and continues delivers nothing to what was removed in that time.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::repeats::{consumer, repeats, until_all_acknowledged};
use crate::support::{NatsServer, Setup, Sink, WAIT_MAX, eventually, publish, register};

const SITE: &str = "site-1";
const EVENTS: u64 = 400;
/// Events of one replica in flight; as many again are pulled and wait.
const IN_FLIGHT: usize = 16;
const LONG: Duration = WAIT_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_was_stopped_delivers_nothing_to_a_deleted_module() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let setup = |name: &str| {
        Setup::new(&nats.url(), nats.folder().join(name))
            .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 4)
            .with("SWITCHYARD_EVENTS__IN_FLIGHT_MAX", IN_FLIGHT)
            .with("SWITCHYARD_DELIVERY__ENDPOINT_CONCURRENCY", 2)
            .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
            .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000)
    };
    let broker = nats.client().await;
    let stopped = setup("stopped").start().await;
    let kept = stopped.provision("app-1", "inst-1", SITE, &sink.url("/kept")).await;
    let deleted = stopped.provision("app-2", "inst-2", SITE, &sink.url("/deleted")).await;
    let on = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] });
    register(&kept, on.clone()).await;
    register(&deleted, on).await;
    for path in ["/kept", "/deleted"] {
        sink.slow(path, Duration::from_millis(100));
    }
    for number in 0..EVENTS {
        publish(&broker, SITE, number, "XXX").await;
    }
    eventually(LONG, "deliveries flow", || async { (sink.count() > 40).then_some(()) }).await;
    stopped.signal("STOP").await;

    let other = setup("other").start().await;
    let path = "/admin/v1/installations/inst-2";
    other.api.send(Method::DELETE, path, &[], &Value::Null).await.expect("it is deleted");
    // The other replica finishes what it attempts; then nothing may arrive any more.
    eventually(LONG, "deliveries to the deleted module end", || async {
        let before = sink.received_at("/deleted").len();
        // Longer than the ack deadline.
        tokio::time::sleep(Duration::from_secs(6)).await;
        (sink.received_at("/deleted").len() == before).then_some(())
    })
    .await;
    let before = sink.received_at("/deleted").len();
    stopped.signal("CONT").await;
    until_all_acknowledged(&broker).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let (received, info) = (sink.received(), consumer(&broker).await);
    let late = sink.received_at("/deleted").len() - before;
    let again = repeats(&received);
    eprintln!("{late} deliveries to the deleted module, {again} repeats, {info:?}");
    assert_eq!(late, 0, "deliveries to the deleted module after the process continued");
    assert!(again <= 2 * IN_FLIGHT, "{again} repeats, of at most {IN_FLIGHT} events in flight");
    let ids: std::collections::HashSet<_> = sink
        .received_at("/kept")
        .iter()
        .map(|one| one.header("switchyard-sequence").to_owned())
        .collect();
    assert_eq!(ids.len() as u64, EVENTS, "every event reached the module that is kept");
    let series = r#"switchyard_events_received_total{event_type="avi:jira:updated:issue"}"#;
    let counted = stopped.metric(series).await + other.metric(series).await;
    assert!(counted <= EVENTS as f64, "{counted} events received: redelivered ones count again");
    stopped.kill().await;
    other.kill().await;
}

/// A stop that the broker does not notice: the process keeps its work, and waits for its registry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_was_stopped_for_less_than_the_ack_deadline_waits_for_its_registry() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let setup = |name: &str| {
        Setup::new(&nats.url(), nats.folder().join(name))
            .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 300)
            .with("SWITCHYARD_EVENTS__DEDUP_WINDOW_S", 400)
            .with("SWITCHYARD_DELIVERY__ENDPOINT_CONCURRENCY", 2)
            .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
            .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000)
    };
    let broker = nats.client().await;
    let stopped = setup("stopped").start().await;
    let kept = stopped.provision("app-1", "inst-1", SITE, &sink.url("/kept")).await;
    let deleted = stopped.provision("app-2", "inst-2", SITE, &sink.url("/deleted")).await;
    let on = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] });
    register(&kept, on.clone()).await;
    register(&deleted, on).await;
    for path in ["/kept", "/deleted"] {
        sink.slow(path, Duration::from_millis(100));
    }
    for number in 0..EVENTS {
        publish(&broker, SITE, number, "XXX").await;
    }
    eventually(LONG, "deliveries flow", || async { (sink.count() > 40).then_some(()) }).await;
    stopped.signal("STOP").await;

    let other = setup("other").start().await;
    let path = "/admin/v1/installations/inst-2";
    other.api.send(Method::DELETE, path, &[], &Value::Null).await.expect("it is deleted");
    // Requests that were sent before the stop may arrive until then.
    eventually(LONG, "deliveries to the deleted module end", || async {
        let before = sink.received_at("/deleted").len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        (sink.received_at("/deleted").len() == before).then_some(())
    })
    .await;
    let before = sink.received_at("/deleted").len();
    stopped.signal("CONT").await;
    until_all_acknowledged(&broker).await;

    let late = sink.received_at("/deleted").len() - before;
    assert_eq!(late, 0, "deliveries to the deleted module after the process continued");
    let ids: std::collections::HashSet<_> = sink
        .received_at("/kept")
        .iter()
        .map(|one| one.header("switchyard-sequence").to_owned())
        .collect();
    assert_eq!(ids.len() as u64, EVENTS, "every event reached the module that is kept");
    stopped.kill().await;
    other.kill().await;
}
