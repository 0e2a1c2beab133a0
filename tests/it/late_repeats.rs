//! What a source repeats after the deduplication window of the broker is not stored again: by any
//! replica, after kills, and after the event itself was deleted.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use serde_json::{Value, json};
use switchyard::clock;
use tempfile::TempDir;

use crate::support::nats::copy_all;
use crate::support::raw::{exchange, status};
use crate::support::{
    NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, issue_event, publish_raw,
    register,
};

const SITE: &str = "site-1";
/// The window of the broker in these tests.
const WINDOW: Duration = Duration::from_millis(200);
/// Longer than the window.
const LATER: Duration = Duration::from_secs(1);

/// A webhook that is two events, an update and an assignment.
fn webhook(number: u64, filler: usize) -> String {
    json!({
        "webhookEvent": "jira:issue_updated",
        "timestamp": 1_800_000_000_000_u64 + number,
        "issue": { "id": number.to_string(), "key": format!("A-{number}"),
            "fields": { "summary": "x".repeat(filler) } },
        "changelog": { "id": number.to_string(), "items": [{ "field": "assignee",
            "fieldId": "assignee", "fieldtype": "jira", "from": null, "to": "u-1" }] },
    })
    .to_string()
}

/// Posts a webhook under an identifier; returns the ids of its events.
async fn post(port: u16, identifier: &str, body: &str) -> Vec<String> {
    let head = format!(
        "POST /ingest/jira/{SITE} HTTP/1.1\r\nX-Atlassian-Webhook-Identifier: {identifier}"
    );
    let response = exchange(port, &head, body).await;
    assert_eq!(status(&response), 202, "{response}");
    let (_, body) = response.split_once("\r\n\r\n").expect("a body");
    let from = body.find('{').expect("an object");
    let to = body.rfind('}').expect("an object");
    let answer: Value = serde_json::from_str(&body[from..=to]).expect("JSON");
    let ids = answer["ids"].as_array().expect("ids");
    ids.iter().map(|id| id.as_str().expect("a text").to_owned()).collect()
}

async fn info(context: &Context) -> Info {
    let stream = context.get_stream("SW_EVENTS").await.expect("the event stream");
    stream.cached_info().clone()
}

/// Sequences that the event stream assigned.
async fn stored(context: &Context) -> u64 {
    info(context).await.state.last_sequence
}

/// Makes the broker forget ids after [`WINDOW`]. A router that starts sets the window back.
async fn shorten_window(context: &Context) {
    let mut config = info(context).await.config;
    config.duplicate_window = WINDOW;
    context.update_stream(config).await.expect("the window is updated");
}

async fn until_remembered(router: &RouterProcess, ids: f64) {
    eventually(WAIT_MAX, "the ids are remembered", || async {
        let remembered = router.metric("switchyard_repeat_ids{state=\"remembered\"}").await;
        (remembered >= ids).then_some(())
    })
    .await;
}

fn setup(nats: &NatsServer, folder: &str) -> Setup {
    Setup::new(&nats.url(), nats.folder().join(folder))
        .with("SWITCHYARD_INGEST__JIRA__SITE-1__UNSIGNED", true)
}

async fn start(setup: &mut Setup, context: &Context) -> RouterProcess {
    let router = setup.start().await;
    shorten_window(context).await;
    router
}

/// Starts the first router of a test and installs an app in the site.
async fn start_first(setup: &mut Setup, context: &Context) -> RouterProcess {
    let router = start(setup, context).await;
    router.provision("app-1", "inst-1", SITE, "http://127.0.0.1:9/").await;
    router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_repetition_is_stored_once_by_all_replicas_and_after_a_kill() {
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    let (mut first, mut second) = (setup(&nats, "r1"), setup(&nats, "r2"));
    let router = start_first(&mut first, &context).await;
    let other = start(&mut second, &context).await;

    let ids = post(first.port, "w1", &webhook(1, 0)).await;
    assert_eq!(ids, ["w1:avi:jira:updated:issue", "w1:avi:jira:assigned:issue"]);
    assert_eq!(stored(&context).await, 2);
    tokio::time::sleep(LATER).await;
    assert_eq!(post(first.port, "w1", &webhook(1, 0)).await, ids, "by the same replica");
    until_remembered(&other, 2.0).await;
    assert_eq!(post(second.port, "w1", &webhook(1, 0)).await, ids, "by another replica");
    assert_eq!(stored(&context).await, 2);
    let repeated = other.metric("switchyard_events_repeated_total{found=\"memory\"}").await;
    assert!((repeated - 2.0).abs() < 0.1, "{repeated}");

    let ids = post(first.port, "w2", &webhook(2, 0)).await;
    router.kill().await;
    let router = start(&mut first, &context).await;
    tokio::time::sleep(LATER).await;
    assert_eq!(post(first.port, "w2", &webhook(2, 0)).await, ids, "after a kill");
    until_remembered(&other, 4.0).await;
    assert_eq!(post(second.port, "w2", &webhook(2, 0)).await, ids, "by the replica that ran on");
    assert_eq!(stored(&context).await, 4);

    // Both stop; a replica that never saw them reads the blocks.
    router.kill().await;
    other.kill().await;
    let mut third = setup(&nats, "r3");
    let router = start(&mut third, &context).await;
    tokio::time::sleep(LATER).await;
    for (identifier, number) in [("w1", 1), ("w2", 2)] {
        post(third.port, identifier, &webhook(number, 0)).await;
    }
    assert_eq!(stored(&context).await, 4);
    let read = router.metric("switchyard_repeat_events_read_total").await;
    assert!(read < 0.1, "{read} headers were read although blocks cover them");
    let state = router.get("/admin/v1/repeats").await.expect("the state");
    assert_eq!(state["ids"], 4, "{state}");
    assert_eq!(state["sites"], json!([{ "site": SITE, "ids": 4 }]));
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_pair_is_completed_by_the_repetition() {
    let nats = NatsServer::start().await;
    let (context, broker) = (nats.context().await, nats.client().await);
    let mut setup = setup(&nats, "r1");
    let router = start_first(&mut setup, &context).await;
    // As a replica leaves it that was killed between the two, or one of an older release.
    let half = issue_event(1, "A").to_string().into_bytes();
    let id = "w1:avi:jira:assigned:issue";
    publish_raw(&broker, SITE, "avi:jira:assigned:issue", id, half).await;
    until_remembered(&router, 1.0).await;
    tokio::time::sleep(LATER).await;
    for _ in 0..2 {
        let ids = post(setup.port, "w1", &webhook(1, 0)).await;
        assert_eq!(ids, ["w1:avi:jira:updated:issue", id]);
        tokio::time::sleep(LATER).await;
        assert_eq!(stored(&context).await, 2);
    }
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_publisher_makes_events_of_another_site_look_like_repetitions() {
    let nats = NatsServer::start().await;
    let (context, broker) = (nats.context().await, nats.client().await);
    let mut setup = setup(&nats, "r1");
    let router = start_first(&mut setup, &context).await;
    let send = async |site: &str, id: &str| {
        let site = site.replace('/', "%2F");
        let path = format!("/admin/v1/events?cloudId={site}&type=avi:jira:updated:issue");
        let (headers, event) = ([("ce-id", id)], issue_event(1, "A"));
        let sent = router.api.send(hyper::Method::POST, &path, &headers, &event).await;
        let answer: Value = sent.expect("accepted");
        answer["accepted"].clone()
    };
    assert_eq!(send("a", "b/c").await, 1);
    assert_eq!(send("a/b", "c").await, 1, "another site and id, the same text");
    assert_eq!(send("a", "b/c").await, 0);
    assert_eq!(send("a/b", "c").await, 0);

    // A publisher on the bus that may publish for another site, with the message id of this one.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{SITE}/w9:avi:jira:updated:issue"));
    let subject = "sw.in.elsewhere.avi:jira:updated:issue.A-9";
    let body = issue_event(9, "A").to_string();
    let sent = context.publish_with_headers(subject, headers, body.into()).await.expect("sent");
    sent.await.expect("stored");
    // Read from the stream after the other one, so both are.
    let own = issue_event(8, "A").to_string().into_bytes();
    publish_raw(&broker, SITE, "avi:jira:updated:issue", "w8", own).await;
    until_remembered(&router, 3.0).await;
    tokio::time::sleep(LATER).await;
    let before = stored(&context).await;
    post(setup.port, "w9", &webhook(9, 0)).await;
    assert_eq!(stored(&context).await, before + 2);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_the_client_chose_are_remembered_and_derived_ones_are_not() {
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    let mut setup = setup(&nats, "r1");
    let router = start_first(&mut setup, &context).await;
    let send = async |headers: &[(&str, &str)]| {
        let path = format!("/admin/v1/events?cloudId={SITE}&type=avi:jira:updated:issue");
        let event = issue_event(1, "A");
        let sent = router.api.send(hyper::Method::POST, &path, headers, &event).await;
        let answer: Value = sent.expect("accepted");
        (answer["duplicates"].clone(), answer["sequences"].clone())
    };
    let chosen = [("ce-id", "7")];
    assert_eq!(send(&chosen).await, (json!(0), json!([1])));
    assert_eq!(send(&[]).await, (json!(0), json!([2])));
    tokio::time::sleep(LATER).await;
    assert_eq!(send(&chosen).await, (json!(1), json!([1])));
    assert_eq!(send(&[]).await, (json!(0), json!([3])), "an equal body may be another event");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_outlives_trimmed_events_and_its_own_stream() {
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    let mut setup = setup(&nats, "r1").with("SWITCHYARD_EVENTS__MAX_BYTES", 4 << 20);
    let router = start_first(&mut setup, &context).await;
    let mut number = 0;
    let deadline = clock::tick() + WAIT_MAX;
    while info(&context).await.state.first_sequence <= 4 {
        number += 1;
        post(setup.port, &format!("w{number}"), &webhook(number, 100_000)).await;
        assert!(clock::tick() < deadline, "nothing is trimmed");
    }
    let before = stored(&context).await;
    assert_eq!(before, number * 2);
    tokio::time::sleep(LATER).await;
    post(setup.port, "w1", &webhook(1, 100_000)).await;
    post(setup.port, &format!("w{number}"), &webhook(number, 100_000)).await;
    assert_eq!(stored(&context).await, before, "neither the trimmed nor the stored one");

    // An operator who purges the stream of ids makes routers remember what is stored, and no more.
    until_remembered(&router, f64::from(u32::try_from(before).unwrap())).await;
    context.get_stream("SW_REPEATS").await.unwrap().purge().await.expect("purged");
    // Another replica writes a block before this one looks.
    let block = context.publish("sw.repeats", "unreadable".into()).await.expect("sent");
    block.await.expect("stored");
    eventually(WAIT_MAX, "the ids are read again", || async {
        let read = router.metric("switchyard_repeat_events_read_total").await;
        (read > 0.0).then_some(())
    })
    .await;
    post(setup.port, &format!("w{number}"), &webhook(number, 100_000)).await;
    assert_eq!(stored(&context).await, before, "it is stored");
    post(setup.port, "w1", &webhook(1, 100_000)).await;
    assert_eq!(stored(&context).await, before + 2, "it was trimmed");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_or_killed_makes_routers_forget_nothing() {
    let mut nats = NatsServer::start().await;
    let context = nats.context().await;
    let mut setup = setup(&nats, "r1");
    let router = start_first(&mut setup, &context).await;
    let ids = post(setup.port, "w1", &webhook(1, 0)).await;
    nats.freeze();
    assert_eq!(post(setup.port, "w1", &webhook(1, 0)).await, ids, "answered without the broker");
    nats.thaw();
    nats.kill_and_restart().await;
    let context = nats.context().await;
    eventually(WAIT_MAX, "the router is ready again", || async {
        router.failing().await.is_empty().then_some(())
    })
    .await;
    shorten_window(&context).await;
    tokio::time::sleep(LATER).await;
    assert_eq!(post(setup.port, "w1", &webhook(1, 0)).await, ids);
    post(setup.port, "w2", &webhook(2, 0)).await;
    assert_eq!(stored(&context).await, 4);
    router.kill().await;
    let router = start(&mut setup, &context).await;
    for (identifier, number) in [("w1", 1), ("w2", 2)] {
        post(setup.port, identifier, &webhook(number, 0)).await;
    }
    assert_eq!(stored(&context).await, 4);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_were_lost_can_be_sent_again() {
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    let mut setup = setup(&nats, "r1");
    let router = start_first(&mut setup, &context).await;
    post(setup.port, "w1", &webhook(1, 0)).await;
    until_remembered(&router, 2.0).await;
    context.delete_stream("SW_EVENTS").await.expect("deleted");
    eventually(WAIT_MAX, "the ids are forgotten", || async {
        let series = "switchyard_repeat_memory_cleared_total{reason=\"event_stream_created\"}";
        (router.metric(series).await > 0.0).then_some(())
    })
    .await;
    post(setup.port, "w1", &webhook(1, 0)).await;
    assert_eq!(stored(&context).await, 2);
    shorten_window(&context).await;
    tokio::time::sleep(LATER).await;
    post(setup.port, "w1", &webhook(1, 0)).await;
    assert_eq!(stored(&context).await, 2, "the new event is remembered");
    router.kill().await;
}

/// Makes the broker refuse to purge the stream of ids.
async fn refuse_purges(context: &Context) {
    let stream = context.get_stream("SW_REPEATS").await.expect("the stream of ids");
    let mut config = stream.cached_info().config.clone();
    config.deny_purge = true;
    context.update_stream(config).await.expect("the stream is updated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_lost_events_answer_nothing_while_they_cannot_be_purged() {
    let nats = NatsServer::start().await;
    let context = nats.context().await;
    let mut setup = setup(&nats, "r1").with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000);
    let router = start(&mut setup, &context).await;
    let sink = Sink::start().await;
    sink.hold("/hook");
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(&app, json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] })).await;
    post(setup.port, "w1", &webhook(1, 0)).await;
    until_remembered(&router, 2.0).await;
    tokio::time::sleep(LATER).await;
    post(setup.port, "w1", &webhook(1, 0)).await;
    assert_eq!(stored(&context).await, 2, "it is remembered");
    refuse_purges(&context).await;
    // Its update was not acknowledged.
    let stream = context.get_stream("SW_EVENTS").await.expect("the event stream");
    stream.purge().await.expect("purged");
    eventually(WAIT_MAX, "the lost webhook is stored again", || async {
        let before = stored(&context).await;
        post(setup.port, "w1", &webhook(1, 0)).await;
        (stored(&context).await == before + 2).then_some(())
    })
    .await;
    let series = "switchyard_repeat_memory_cleared_total{reason=\"events_lost\"}";
    assert!(router.metric(series).await < 0.1, "it cannot be done");
    // A stream that was deleted has no ids; a router creates it again.
    context.delete_stream("SW_REPEATS").await.expect("deleted");
    router.kill().await;
    let router = start(&mut setup, &context).await;
    eventually(WAIT_MAX, "the ids are forgotten", || async {
        (router.metric(series).await > 0.0).then_some(())
    })
    .await;
    eventually(WAIT_MAX, "the one that was stored again is remembered", || async {
        tokio::time::sleep(LATER).await;
        let before = stored(&context).await;
        post(setup.port, "w1", &webhook(1, 0)).await;
        (stored(&context).await == before).then_some(())
    })
    .await;
    router.kill().await;
}

/// Data of the broker with its event stream as it was before webhook 2 was stored.
async fn older_events(nats: &NatsServer, setup: &Setup, context: &Context) -> TempDir {
    post(setup.port, "w1", &webhook(1, 0)).await;
    let older = nats.copy_of_data();
    for number in 2..=4 {
        post(setup.port, &format!("w{number}"), &webhook(number, 0)).await;
    }
    assert_eq!(stored(context).await, 8);
    older
}

/// Replaces the event stream in `data` by that in `older`.
fn restore_events(data: &TempDir, older: &TempDir) {
    let folder = "jetstream/$G/streams/SW_EVENTS";
    std::fs::remove_dir_all(data.path().join(folder)).expect("removed");
    copy_all(&older.path().join(folder), &data.path().join(folder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_event_stream_that_is_restored_makes_routers_forget_later_events() {
    for runs_on in [true, false] {
        let mut nats = NatsServer::start().await;
        let context = nats.context().await;
        let mut setup = setup(&nats, "r1");
        let router = start_first(&mut setup, &context).await;
        let older = older_events(&nats, &setup, &context).await;
        until_remembered(&router, 8.0).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let running = if runs_on {
            Some(router)
        } else {
            router.kill().await;
            None
        };
        let data = nats.copy_of_data();
        restore_events(&data, &older);
        nats.restart_on(&data).await;
        let (context, broker) = (nats.context().await, nats.client().await);
        assert_eq!(stored(&context).await, 2, "the older stream");
        // Publishers on the bus go on, so that it soon has as many events as before.
        for number in 0..8 {
            let event = issue_event(100 + number, "A").to_string().into_bytes();
            publish_raw(&broker, SITE, "avi:jira:updated:issue", &format!("b{number}"), event)
                .await;
        }
        let router = match running {
            Some(router) => {
                eventually(WAIT_MAX, "the ids are forgotten", || async {
                    let series = "switchyard_repeat_memory_cleared_total{reason=\"events_lost\"}";
                    (router.metric(series).await > 0.0).then_some(())
                })
                .await;
                shorten_window(&context).await;
                until_remembered(&router, 10.0).await;
                router
            }
            None => start(&mut setup, &context).await,
        };
        tokio::time::sleep(LATER).await;
        let before = stored(&context).await;
        post(setup.port, "w3", &webhook(3, 0)).await;
        assert_eq!(stored(&context).await, before + 2, "it was lost (runs on: {runs_on})");
        post(setup.port, "w1", &webhook(1, 0)).await;
        assert_eq!(stored(&context).await, before + 2, "it was not (runs on: {runs_on})");
        router.kill().await;
    }
}
