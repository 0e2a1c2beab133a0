//! One tenant fills its shares of the parking stream and of the dead-letter stream; another tenant
//! is not affected, and every event is accounted for.

use async_nats::jetstream;
use futures_util::StreamExt;
use jiff::SignedDuration;
use serde_json::json;

use crate::support::{
    NatsServer, Proxy, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

/// The site of the tenant whose handler fails.
const BUSY: &str = "site-busy";
/// The site of the tenant whose handler works.
const OTHER: &str = "site-other";
/// Events of the tenant whose handler fails: more than may be in flight.
const BUSY_EVENTS: u64 = 300;
const OTHER_EVENTS: u64 = 50;
/// Failed publishes allowed: those that the broker refuses at once, and few tries afterwards.
const FAILED_MAX: f64 = 150.0;

/// Settings in which an installation may park 20 deliveries and have 20 dead letters, of which 10
/// are guaranteed.
fn setup(nats: &NatsServer, name: &str) -> Setup {
    Setup::new(&nats.url(), nats.folder().join(name))
        .with("SWITCHYARD_EVENTS__IN_FLIGHT_MAX", 100)
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600,3600")
        .with("SWITCHYARD_DELIVERY__PARKED_MAX", 100)
        .with("SWITCHYARD_DELIVERY__DEAD_LETTERS_MAX", 100)
        .with("SWITCHYARD_DELIVERY__SHARE_GUARANTEED", 10)
}

/// Provisions both tenants; the handler of the busy one answers `status`.
async fn provision(router: &RouterProcess, sink: &Sink, status: u16) {
    sink.answer("/busy", status, None);
    for (app, installation, site, path) in
        [("app-busy", "inst-busy", BUSY, "/busy"), ("app-other", "inst-other", OTHER, "/other")]
    {
        let app = router.provision(app, installation, site, &sink.url(path)).await;
        let events = json!(["avi:jira:updated:issue"]);
        let filter = json!({ "expression": "event.issue.fields.project.key == 'XXX'" });
        register(&app, json!({ "endpoint": "hook", "events": events, "filter": filter })).await;
    }
}

/// Starts a router whose busy tenant has a handler that fails, and waits until it has counted what is
/// parked.
async fn start_with_failing_handler(mut setup: Setup, sink: &Sink) -> RouterProcess {
    let router = setup.start().await;
    provision(&router, sink, 503).await;
    until_counted(&router).await;
    router
}

async fn publish_all(broker: &async_nats::Client, site: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(broker, site, number, "XXX").await;
    }
}

/// Messages of a stream.
async fn stored(context: &jetstream::Context, stream: &str) -> u64 {
    let stream = context.get_stream(stream).await.expect("the stream");
    stream.cached_info().state.messages
}

async fn until_all_acknowledged(context: &jetstream::Context) {
    eventually(WAIT_MAX, "every event is acknowledged", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let consumer: jetstream::consumer::PullConsumer =
            stream.get_consumer("router").await.ok()?;
        let info = consumer.cached_info();
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

async fn until_counted(router: &RouterProcess) {
    let series = r#"switchyard_parked_recounts_total{reason="start",result="ok"}"#;
    eventually(WAIT_MAX, "the parked deliveries are counted", || async {
        (router.metric(series).await >= 1.0).then_some(())
    })
    .await;
}

/// Publishes the events of the other tenant and waits until all are delivered.
async fn other_tenant_is_served(broker: &async_nats::Client, sink: &Sink) {
    publish_all(broker, OTHER, 0..OTHER_EVENTS).await;
    eventually(WAIT_MAX, "the other tenant's events are delivered", || async {
        let delivered = sink.received_at("/other").len() as u64;
        (delivered >= OTHER_EVENTS).then_some(())
    })
    .await;
}

async fn failed_publishes(router: &RouterProcess) -> f64 {
    let mut failed = 0.0;
    for stream in ["parked", "dlq"] {
        for reason in ["timeout", "other", "no_space"] {
            let labels = format!(r#"{{stream="{stream}",reason="{reason}"}}"#);
            let series = format!("switchyard_broker_publish_failures_total{labels}");
            failed += router.metric(&series).await;
        }
    }
    failed
}

/// The value of a counter.
#[expect(clippy::cast_possible_truncation, reason = "counters are whole and small")]
fn whole(value: f64) -> u64 {
    value as u64
}

async fn dropped(router: &RouterProcess) -> u64 {
    let mut dropped = 0.0;
    for lane in ["live", "retry"] {
        let labels = format!(r#"{{outcome="dropped_by_policy",lane="{lane}"}}"#);
        dropped += router.metric(&format!("switchyard_deliveries_total{labels}")).await;
    }
    whole(dropped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_shares_of_one_tenant_stop_no_other_and_every_event_is_accounted_for() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = start_with_failing_handler(setup(&nats, "router"), &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish_all(&broker, BUSY, 0..BUSY_EVENTS).await;
    other_tenant_is_served(&broker, &sink).await;
    until_all_acknowledged(&context).await;

    let (parked, dead) = (stored(&context, "SW_PARKED").await, stored(&context, "SW_DLQ").await);
    let dropped = dropped(&router).await;
    eprintln!("parked {parked}, dead {dead}, dropped {dropped}");
    assert_eq!((parked, dead), (20, 20), "the shares of one installation");
    assert_eq!(BUSY_EVENTS + OTHER_EVENTS, OTHER_EVENTS + parked + dead + dropped);
    let owner = r#"{app="app-busy",installation="inst-busy"}"#;
    let named = router.metric(&format!("switchyard_share_exceeded_total{owner}")).await;
    assert_eq!(whole(named), dropped, "the owner is named");
    let full = router.metric(r#"switchyard_dlq_total{reason="backlog_full"}"#).await;
    assert_eq!(whole(full), dead);
    let failed = failed_publishes(&router).await;
    assert!(failed <= FAILED_MAX, "{failed} failed publishes");
    assert!(router.get("/healthz/ready").await.is_ok(), "a full share is not a fault");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letter_stream_that_the_broker_refuses_stops_no_other_tenant() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router =
        setup(&nats, "router").with("SWITCHYARD_DELIVERY__DEAD_LETTERS_MAX", 10_000).start().await;
    provision(&router, &sink, 404).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    // Another writer of the broker took the space that the shares count on.
    let mut config = context.get_stream("SW_DLQ").await.unwrap().cached_info().config.clone();
    config.max_bytes = 30_000;
    context.update_stream(config).await.unwrap();
    publish_all(&broker, BUSY, 0..BUSY_EVENTS).await;
    other_tenant_is_served(&broker, &sink).await;
    until_all_acknowledged(&context).await;

    let (dead, dropped) = (stored(&context, "SW_DLQ").await, dropped(&router).await);
    let failed = failed_publishes(&router).await;
    eprintln!("dead {dead}, dropped {dropped}, failed publishes {failed}");
    assert_eq!(BUSY_EVENTS, dead + dropped, "no event is lost");
    assert!(dead >= 10, "the guaranteed letters are stored: {dead}");
    assert!(failed <= FAILED_MAX, "{failed} failed publishes");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_deliveries_count_after_a_crash_and_on_other_replicas() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = start_with_failing_handler(setup(&nats, "router"), &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish_all(&broker, BUSY, 0..40).await;
    until_all_acknowledged(&context).await;
    assert_eq!(stored(&context, "SW_PARKED").await, 20);
    router.kill().await;

    let (first, second) =
        (setup(&nats, "first").start().await, setup(&nats, "second").start().await);
    until_counted(&first).await;
    until_counted(&second).await;
    publish_all(&broker, BUSY, 40..80).await;
    until_all_acknowledged(&context).await;
    let parked = stored(&context, "SW_PARKED").await;
    assert_eq!(parked, 20, "no replica parks more for the installation");
    first.kill().await;
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_and_removed_deliveries_give_their_places_back() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let setup = setup(&nats, "router").with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,1");
    let router = start_with_failing_handler(setup, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    // Fewer than open the breaker.
    publish_all(&broker, BUSY, 0..5).await;
    until_all_acknowledged(&context).await;
    sink.answer("/busy", 204, None);
    eventually(WAIT_MAX, "the parked deliveries are delivered", || async {
        (stored(&context, "SW_PARKED").await == 0).then_some(())
    })
    .await;
    eventually(WAIT_MAX, "no place is taken", || async {
        let used = router.metric(r#"switchyard_share_used_ratio{pool="parking"}"#).await;
        (used == 0.0).then_some(())
    })
    .await;
    router.kill().await;
}

/// The keys of the documents in which replicas store their counts.
async fn documents(context: &jetstream::Context) -> Vec<String> {
    let Ok(stream) = context.get_stream("KV_SW_STATE").await else { return Vec::new() };
    let subjects = stream.info_with_subjects("$KV.SW_STATE.parked.*").await;
    let subjects = subjects.expect("the subjects of the bucket");
    subjects.map(|found| found.expect("a subject").0).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_state_bucket_loses_no_parked_delivery_and_gets_its_documents_again() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = start_with_failing_handler(setup(&nats, "router"), &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish_all(&broker, BUSY, 0..40).await;
    until_all_acknowledged(&context).await;
    eventually(WAIT_MAX, "the replica stored all that it parked", || async {
        let subject = documents(&context).await.pop()?;
        let bucket = context.get_key_value("SW_STATE").await.ok()?;
        let key = subject.strip_prefix("$KV.SW_STATE.")?;
        let document = String::from_utf8(bucket.get(key).await.ok()??.to_vec()).ok()?;
        document.contains(r#""messages":20,"#).then_some(())
    })
    .await;
    context.delete_stream("KV_SW_STATE").await.unwrap();
    eventually(WAIT_MAX, "the replica stored it again, although nothing changed", || async {
        (!documents(&context).await.is_empty()).then_some(())
    })
    .await;
    other_tenant_is_served(&broker, &sink).await;
    until_all_acknowledged(&context).await;
    assert_eq!(stored(&context, "SW_PARKED").await, 20, "the share is still used up");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_of_a_replica_that_stopped_long_ago_is_deleted_without_a_trace() {
    const DEAD: &str = "parked.1-1";
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    setup(&nats, "first").start().await.kill().await;
    let bucket = context.get_key_value("SW_STATE").await.unwrap();
    let document = json!({ "format": 1, "atMs": 0, "changes": [] }).to_string();
    bucket.put(DEAD, document.into()).await.unwrap();
    // To this replica, all that is stored is two hours old.
    let proxy = Proxy::shifting(&nats.url(), SignedDuration::from_hours(2)).await;
    let data = nats.folder().join("later");
    let router = Setup::new(&proxy.url(), data).start().await;
    eventually(WAIT_MAX, "the document and its subject are deleted", || async {
        let left = documents(&context).await;
        (!left.contains(&format!("$KV.SW_STATE.{DEAD}"))).then_some(())
    })
    .await;
    router.kill().await;
}
