//! The delivery log: a record of what became of each delivery, stored before its event is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;
use serde_json::{Value, json};
use switchyard::domain::{DeliveryId, SubscriptionId};

use crate::delivery::{Rig, http, quick};
use crate::support::{NatsServer, Setup, Sink, WAIT_MAX, eventually, publish, register};

const SITE: &str = "site-1";
const STREAM: &str = "SW_ATTEMPTS";
/// How long something that must not happen is waited for.
const NEVER: Duration = Duration::from_millis(500);

/// A stored record, its subject and its message id.
struct Stored {
    subject: String,
    id: String,
    record: Value,
}

impl Stored {
    /// The only delivery of the record.
    fn only(&self) -> &Value {
        let deliveries = self.record["deliveries"].as_array().expect("a list");
        assert_eq!(deliveries.len(), 1, "{}", self.record);
        &deliveries[0]
    }
}

/// Returns all records, oldest first.
async fn records(broker: &async_nats::Client) -> Vec<Stored> {
    let context = crate::support::jetstream(broker.clone());
    let stream = context.get_stream(STREAM).await.expect("the delivery log");
    let last = stream.cached_info().state.last_sequence;
    let mut records = Vec::new();
    for sequence in 1..=last {
        let message = stream.direct_get(sequence).await.expect("a record");
        let record = serde_json::from_slice(&message.payload).expect("JSON");
        let id = message.headers.get("Nats-Msg-Id").expect("a message id").to_string();
        records.push(Stored { subject: message.subject.to_string(), id, record });
    }
    records
}

/// Waits until there are `count` records and returns them.
async fn until_recorded(broker: &async_nats::Client, count: usize) -> Vec<Stored> {
    let condition = format!("{count} records are stored");
    eventually(WAIT_MAX, &condition, || async {
        Some(records(broker).await).filter(|records| records.len() >= count)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_event_has_a_record_of_its_deliveries() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    for installation in ["inst-1", "inst-2"] {
        rig.subscribe(installation, http(&sink.url("/hook")));
    }
    rig.publish(1).await;
    rig.until_all_acknowledged().await;
    // Acknowledged, so it is there.
    let records = records(&rig.broker).await;
    assert_eq!(records.len(), 1);
    let Stored { subject, record, .. } = &records[0];
    let (prefix, bucket) = subject.rsplit_once('.').unwrap();
    assert_eq!(prefix, "sw.att.ok.site-1");
    assert!(bucket.len() == 2 && bucket.parse::<u8>().unwrap() < 64, "{bucket}");
    assert_eq!(record["v"], 1);
    let event = &record["event"];
    assert_eq!(event["id"], "event-1");
    assert_eq!((&event["site"], &event["sequence"]), (&json!(SITE), &json!(1)));
    assert_eq!(event["type"], "avi:jira:updated:issue");
    assert!(event["stored_ms"].as_i64() > Some(1_700_000_000_000), "{event}");
    assert_eq!(record["source"], "event");
    assert!(record.get("delivery_count").is_none(), "delivered for the first time");
    assert!(record["router"].as_str().is_some_and(|name| !name.is_empty()));
    let deliveries = record["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 2);
    for delivery in deliveries {
        assert_eq!((&delivery["from"], &delivery["outcome"]), (&json!("new"), &json!("delivered")));
        assert_eq!((&delivery["attempt"], &delivery["class"]), (&json!(1), &json!("2xx")));
        assert_eq!((&delivery["status"], &delivery["key"]), (&json!(204), &json!("k1")));
        assert_eq!(delivery["revision"], 1);
        assert!(delivery["took_ms"].as_f64() > Some(0.0), "{delivery}");
        assert!(delivery["phases_ms"]["first_byte"].as_f64() > Some(0.0), "{delivery}");
        for absent in ["why", "blame", "detail", "response", "next_ms", "id", "also"] {
            assert!(delivery.get(absent).is_none(), "{absent}: {delivery}");
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_of_a_parked_delivery_adds_a_record() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    sink.answer("/hook", 503, None);
    rig.publish(1).await;
    let parked = &until_recorded(&rig.broker, 1).await[0];
    sink.answer("/hook", 200, None);
    let records = until_recorded(&rig.broker, 2).await;
    assert!(parked.subject.starts_with("sw.att.failed.site-1."), "{}", parked.subject);
    let first = parked.only();
    assert_eq!((&first["from"], &first["outcome"]), (&json!("new"), &json!("parked")));
    assert_eq!((&first["why"], &first["class"]), (&json!("backoff"), &json!("5xx")));
    assert_eq!((&first["blame"], &first["status"]), (&json!("handler"), &json!(503)));
    let started_ms = parked.record["started_ms"].as_i64().unwrap();
    assert!(first["next_ms"].as_i64() > Some(started_ms), "{first}");
    let last = records.last().unwrap();
    assert!(last.subject.starts_with("sw.att.ok.site-1."), "{}", last.subject);
    assert_eq!(last.record["source"], "parked");
    assert_eq!(last.record["event"]["id"], "event-1");
    let delivery = last.only();
    assert_eq!((&delivery["from"], &delivery["outcome"]), (&json!("parked"), &json!("delivered")));
    assert_eq!(delivery["attempt"], 2);
    eventually(WAIT_MAX, "SW_PARKED is empty", || async {
        (rig.stored("SW_PARKED").await == 0).then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letter_has_a_record_with_the_answer_and_without_its_secrets() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    sink.answer("/hook", 422, None);
    rig.publish(1).await;
    rig.until_all_acknowledged().await;
    let records = records(&rig.broker).await;
    let delivery = records[0].only();
    assert_eq!((&delivery["outcome"], &delivery["why"]), (&json!("dead"), &json!("rejected_422")));
    assert_eq!((&delivery["class"], &delivery["status"]), (&json!("4xx"), &json!(422)));
    assert_eq!(delivery["response"]["bytes"], 0, "the answer has no body: {delivery}");
    assert!(delivery["response"]["headers"]["date"].is_string(), "{delivery}");
    assert!(delivery.get("next_ms").is_none());
    assert_eq!(rig.stored("SW_DLQ").await, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_delivery_of_a_removed_subscription_has_a_record_that_it_was_dropped() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    let subscription = rig.subscribe("inst-1", http(&sink.url("/hook")));
    sink.answer("/hook", 503, None);
    rig.publish(1).await;
    until_recorded(&rig.broker, 1).await;
    rig.unsubscribe(&subscription);
    let records = eventually(WAIT_MAX, "it is dropped", || async {
        let records = records(&rig.broker).await;
        let is_last = records.last().is_some_and(|last| last.only()["outcome"] == "dropped");
        is_last.then_some(records)
    })
    .await;
    let last = records.last().unwrap();
    let delivery = last.only();
    assert_eq!(
        (&delivery["from"], &delivery["why"]),
        (&json!("parked"), &json!("subscription_removed"))
    );
    assert_eq!((&delivery["installation"], &delivery["key"]), (&json!("inst-1"), &json!("k1")));
    assert_eq!(last.record["event"]["site"], SITE);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_with_many_deliveries_has_several_records_and_no_delivery_twice() {
    const COUNT: usize = 450;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.delivery.park_after_ms = 30_000;
    let rig = Rig::start(&nats, &config).await;
    for number in 0..COUNT {
        rig.subscribe(&format!("inst-{number}"), http(&sink.url("/hook")));
    }
    rig.publish(1).await;
    rig.until_all_acknowledged().await;
    let records = records(&rig.broker).await;
    let mut found = BTreeMap::new();
    for Stored { record, .. } in &records {
        let deliveries = record["deliveries"].as_array().unwrap();
        assert!(deliveries.len() <= 200, "{}", deliveries.len());
        for delivery in deliveries {
            assert_eq!(delivery["from"], "new");
            let installation = delivery["installation"].as_str().unwrap().to_owned();
            *found.entry(installation).or_insert(0) += 1;
        }
    }
    assert!(records.len() >= 3, "{}", records.len());
    assert_eq!(found.len(), COUNT);
    assert!(found.values().all(|count| *count == 1));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_is_acknowledged_only_once_its_record_is_stored() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let rig = Rig::start(&nats, &quick()).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    let context = crate::support::jetstream(rig.broker.clone());
    let config = context.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    context.delete_stream(STREAM).await.unwrap();
    rig.publish(1).await;
    eventually(WAIT_MAX, "it is delivered", || async { (sink.count() == 1).then_some(()) }).await;
    tokio::time::sleep(NEVER).await;
    assert_eq!(rig.open_events().await, 1, "delivered, and not acknowledged");
    context.create_stream(config).await.unwrap();
    rig.until_all_acknowledged().await;
    assert_eq!(records(&rig.broker).await.len(), 1);
    assert_eq!(sink.count(), 1, "the record is stored again, not the delivery");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_that_is_off_has_no_stream_and_no_records() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.delivery.log = false;
    let rig = Rig::start(&nats, &config).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    rig.publish(1).await;
    rig.until_all_acknowledged().await;
    assert_eq!(sink.count(), 1);
    let context = crate::support::jetstream(rig.broker.clone());
    assert!(context.get_stream(STREAM).await.is_err(), "there is no such stream");
    rig.stop().await;
}

/// Outcomes of the log by event, in the order of the records, with the broker's delivery count.
async fn outcomes_by_event(broker: &async_nats::Client) -> BTreeMap<String, Vec<(i64, String)>> {
    let mut outcomes: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for Stored { record, .. } in records(broker).await {
        let count = record["delivery_count"].as_i64().unwrap_or(1);
        let event = record["event"]["id"].as_str().unwrap().to_owned();
        for delivery in record["deliveries"].as_array().unwrap() {
            let outcome = delivery["outcome"].as_str().unwrap().to_owned();
            outcomes.entry(event.clone()).or_default().push((count, outcome));
        }
    }
    outcomes
}

async fn router_consumer(broker: &async_nats::Client) -> Option<jetstream::consumer::Info> {
    let context = crate::support::jetstream(broker.clone());
    let stream = context.get_stream("SW_EVENTS").await.ok()?;
    let mut consumer: jetstream::consumer::PullConsumer =
        stream.get_consumer("router").await.ok()?;
    consumer.info().await.ok().cloned()
}

/// Waits until the router has all events and attempts the first.
async fn until_pulled(broker: &async_nats::Client, sink: &Sink) {
    eventually(WAIT_MAX, "the router has all events", || async {
        let info = router_consumer(broker).await?;
        (info.num_pending == 0 && sink.count() > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_a_killed_broker_did_not_confirm_are_stored_once() {
    const EVENTS: u64 = 60;
    let (mut nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut config = quick();
    config.delivery.park_after_ms = 600_000;
    let rig = Rig::start(&nats, &config).await;
    rig.subscribe("inst-1", http(&sink.url("/hook")));
    sink.hold("/hook");
    for number in 0..EVENTS {
        rig.publish(number).await;
    }
    until_pulled(&rig.broker, &sink).await;
    // Their records are published, and the broker does not even read them.
    nats.freeze();
    sink.release("/hook");
    let attempts = usize::try_from(EVENTS).unwrap();
    eventually(WAIT_MAX, "all are attempted", || async {
        (sink.count() >= attempts).then_some(())
    })
    .await;
    nats.kill_and_restart().await;
    rig.until_all_acknowledged().await;
    let outcomes = outcomes_by_event(&rig.broker).await;
    assert_eq!(outcomes.len(), attempts, "every event has a record");
    let delivered = |(_, outcome): &(i64, String)| outcome == "delivered";
    assert!(outcomes.values().flatten().all(delivered), "{outcomes:?}");
    let mut ids: Vec<_> = records(&rig.broker).await.into_iter().map(|one| one.id).collect();
    let stored = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), stored, "a record is there twice");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn router_killed_between_delivery_and_acknowledgement_loses_no_record() {
    const EVENTS: u64 = 20;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 3)
        .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000);
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(&app, json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]})).await;
    let broker = nats.client().await;
    sink.hold("/hook");
    for number in 0..EVENTS {
        publish(&broker, SITE, number, "XXX").await;
    }
    until_pulled(&broker, &sink).await;
    // From now on the broker confirms nothing: what is delivered cannot be acknowledged.
    nats.freeze();
    sink.release("/hook");
    let attempts = usize::try_from(EVENTS).unwrap();
    eventually(WAIT_MAX, "all are attempted", || async {
        (sink.count() >= attempts).then_some(())
    })
    .await;
    router.kill().await;
    nats.thaw();
    let router = setup.start().await;
    eventually(WAIT_MAX, "every event is acknowledged", || async {
        let info = router_consumer(&broker).await?;
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
    let outcomes = outcomes_by_event(&broker).await;
    assert_eq!(outcomes.len(), attempts, "every event has a record");
    for (event, found) in &outcomes {
        assert!(found.iter().all(|(_, outcome)| outcome == "delivered"), "{event}: {found:?}");
    }
    // Each was delivered twice; the records of the second time say so.
    assert_eq!(sink.count(), 2 * attempts);
    assert!(outcomes.values().flatten().any(|(count, _)| *count > 1), "{outcomes:?}");
    let received = sink.received();
    let id = |event: &str| {
        let subscription = SubscriptionId {
            installation: "inst-1".into(),
            key: received[0].header("switchyard-module-key").into(),
        };
        DeliveryId::derive(&SITE.into(), &event.into(), &subscription).to_string()
    };
    let sent: Vec<_> = received.iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert!(outcomes.keys().all(|event| sent.contains(&id(event))), "ids derive from the record");
    router.kill().await;
}
