//! Only an event that was decoded or matched in crashes is poison.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::repeats::{consumer, until_all_acknowledged};
use crate::support::{
    NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, issue_event, publish,
    publish_raw, register,
};

const SITE: &str = "site-1";
const LONG: Duration = WAIT_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_loop_makes_no_event_poison() {
    const EVENTS: u64 = 100;
    const KILLS: usize = 7;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 1)
        .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
        .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000);
    let broker = nats.client().await;
    let mut router = setup.start().await;
    for number in 1..=3 {
        let (app, installation) = (format!("app-{number}"), format!("inst-{number}"));
        let path = format!("/hook-{number}");
        sink.hold(&path);
        let app = router.provision(&app, &installation, SITE, &sink.url(&path)).await;
        register(&app, json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] })).await;
    }
    for number in 0..EVENTS {
        publish(&broker, SITE, number, "XXX").await;
    }
    for kill in 0..KILLS {
        // Every event was delivered to this process, and none is finished.
        let wanted = EVENTS * (kill as u64 + 1);
        eventually(LONG, "the broker delivered every event again", || async {
            let info = consumer(&broker).await;
            (info.delivered.consumer_sequence >= wanted).then_some(())
        })
        .await;
        // A crash while an event is examined would count.
        eventually(LONG, "every event was examined", || async {
            let examined = router.metric("switchyard_match_seconds_count").await;
            (examined >= f64::from(u32::try_from(EVENTS).unwrap())).then_some(())
        })
        .await;
        router.kill().await;
        router = setup.start().await;
    }
    for number in 1..=3 {
        sink.release(&format!("/hook-{number}"));
    }
    until_all_acknowledged(&broker).await;
    let ids: std::collections::HashSet<_> =
        sink.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    let letters = router.metric("switchyard_dlq_messages").await;
    let mut dead = crate::support::jetstream(broker.clone()).get_stream("SW_DLQ").await.unwrap();
    let dead = dead.info().await.unwrap().state.messages;
    eprintln!("{KILLS} kills: {} pairs of {}, {dead} letters ({letters})", ids.len(), 3 * EVENTS);
    assert_eq!((ids.len() as u64, dead), (3 * EVENTS, 0));
    router.kill().await;
}

/// Kills the router whenever it examines the event `culprit`, as its mark in the store says, until
/// the event is dead-lettered; returns the number of kills.
async fn crash_on(
    setup: &mut Setup,
    mut router: RouterProcess,
    broker: &async_nats::Client,
    culprit: u64,
) -> (usize, RouterProcess) {
    let context = crate::support::jetstream(broker.clone());
    let mut kills = 0;
    loop {
        let found = eventually(LONG, "the culprit is examined or dead-lettered", || async {
            if dead_letters(broker).await > 0 {
                return Some(false);
            }
            let state = context.get_key_value("SW_STATE").await.ok()?;
            let mut keys = state.keys().await.ok()?;
            while let Some(Ok(key)) = keys.next().await {
                // The marks of processes that were killed earlier stay.
                if !key.starts_with("crash.") {
                    continue;
                }
                let entry = state.entry(&key).await.ok().flatten()?;
                let stored: Value = serde_json::from_slice(&entry.value).ok()?;
                let records = stored["records"].as_array().cloned().unwrap_or_default();
                let crashes = records
                    .iter()
                    .filter(|one| one["sequence"] == culprit)
                    .filter_map(|one| one["crashes"].as_u64())
                    .max();
                if crashes.is_some_and(|crashes| crashes > kills as u64) {
                    return Some(true);
                }
            }
            None
        })
        .await;
        if !found {
            return (kills, router);
        }
        router.kill().await;
        kills += 1;
        router = setup.start().await;
    }
}

async fn dead_letters(broker: &async_nats::Client) -> u64 {
    let context = crate::support::jetstream(broker.clone());
    let stream = context.get_stream("SW_DLQ").await.expect("the dead-letter stream");
    stream.cached_info().state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_that_crashes_the_process_is_poison_after_five_recorded_crashes() {
    const EVENTS: u64 = 20;
    const CULPRIT: u64 = 10;
    // Filters that use many steps on the culprit only, and on nothing else: long enough to be killed.
    const SLOW_FILTERS: usize = 60;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 1)
        .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
        .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000);
    let broker = nats.client().await;
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    let events = json!(["avi:jira:updated:issue"]);
    register(&app, json!({ "endpoint": "hook", "events": events })).await;
    for number in 0..SLOW_FILTERS {
        let expression = format!(
            "event.issue.fields.project.key == 'SLOW' && event.issue.fields.labels.filter(\
             a => event.issue.fields.labels.filter(b => b.length + {number} < a.length).length > 0\
             ).length > 0"
        );
        register(
            &app,
            json!({ "endpoint": "hook", "events": events, "filter": { "expression": expression } }),
        )
        .await;
    }
    sink.hold("/hook");
    for number in 1..=EVENTS {
        if number != CULPRIT {
            publish(&broker, SITE, number, "XXX").await;
            continue;
        }
        let mut body = issue_event(number, "SLOW");
        body["issue"]["fields"]["labels"] = json!(vec!["label"; 1_000]);
        let id = format!("event-{number}");
        let body = body.to_string().into_bytes();
        publish_raw(&broker, SITE, "avi:jira:updated:issue", &id, body).await;
    }
    // The first delivery is not recorded: the process is killed while all events wait.
    eventually(LONG, "events are pulled", || async {
        (consumer(&broker).await.delivered.consumer_sequence >= EVENTS).then_some(())
    })
    .await;
    router.kill().await;
    sink.release("/hook");
    let router = setup.start().await;
    let (kills, router) = crash_on(&mut setup, router, &broker, CULPRIT).await;
    until_all_acknowledged(&broker).await;
    let delivered: std::collections::HashSet<_> =
        sink.received().iter().map(|one| one.header("switchyard-sequence").to_owned()).collect();
    let dead = dead_letters(&broker).await;
    eprintln!("{kills} recorded crashes, {dead} letters, {} events delivered", delivered.len());
    assert_eq!((kills, dead), (5, 1));
    assert!((1..=EVENTS).filter(|n| *n != CULPRIT).all(|n| delivered.contains(&n.to_string())));
    router.kill().await;
}
