//! Shadow filters: counted exactly over restarts and replicas, promoted and rolled back while events flow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::{ApiClient, ErrorStatus};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish_raw,
};

const UPDATED: &str = "avi:jira:updated:issue";
const CREATED: &str = "avi:jira:created:issue";
const MODULE: &str = "/admin/v1/installations/inst/modules/k";
const SUBSCRIPTION: &str = "/admin/v1/subscriptions/inst%2Fk";
const SHADOW: &str = "/admin/v1/subscriptions/inst%2Fk/shadow";
/// Matches every second event.
const FILTER: &str = "event.issue.fields.project.key == 'P0'";
/// Matches every third event; fails on every seventh, whose priority is null.
const OTHER: &str = "event.issue.fields.priority.name == 'R0'";

fn module(filter: &str) -> Value {
    json!({"type": "trigger", "data": {"endpoint": "hook", "events": [UPDATED],
        "filter": {"expression": filter}}})
}

fn is_of_filter(number: u64) -> bool {
    number.is_multiple_of(2)
}

fn is_failed(number: u64) -> bool {
    number.is_multiple_of(7)
}

fn is_of_other(number: u64) -> bool {
    number.is_multiple_of(3) && !is_failed(number)
}

async fn publish(broker: &async_nats::Client, site: &str, event_type: &str, number: u64) {
    let priority =
        if is_failed(number) { Value::Null } else { json!({"name": format!("R{}", number % 3)}) };
    let body = json!({"number": number, "issue": {"id": number.to_string(), "key": "XXX-1",
        "fields": {"project": {"key": format!("P{}", number % 2)}, "priority": priority}}});
    let id = format!("event-{number}");
    publish_raw(broker, site, event_type, &id, body.to_string().into_bytes()).await;
}

async fn until_settled(nats: &NatsServer) {
    let context = nats.context().await;
    eventually(WAIT_MAX, "every event is acknowledged", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let router: async_nats::jetstream::consumer::PullConsumer =
            stream.get_consumer("router").await.ok()?;
        let info = router.cached_info();
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

/// How often the handler received each event.
fn received(sink: &Sink) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for request in sink.received_at("/hook") {
        let body = request.json();
        let number = body["number"].as_u64().unwrap_or_else(|| panic!("an event: {body}"));
        *counts.entry(number).or_default() += 1;
    }
    counts
}

async fn send(router: &RouterProcess, method: Method, path: &str, body: Value) -> Value {
    let sent = router.api.send(method.clone(), path, &[], &body).await;
    sent.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"))
}

/// Status and text of a request that is refused.
async fn refused(router: &RouterProcess, method: Method, path: &str, body: Value) -> (u16, String) {
    let error = router.api.send(method, path, &[], &body).await.expect_err("refused");
    let status = error.downcast_ref::<ErrorStatus>().expect("an answer").status;
    (status, format!("{error:#}"))
}

async fn shown(router: &RouterProcess) -> Value {
    eventually(WAIT_MAX, "the shadow is counted", || async {
        let shown = router.get(SHADOW).await.expect("a shadow");
        (shown["upToDate"] == true).then_some(shown)
    })
    .await
}

/// Checks the counts against those of these events, and the differences that are listed.
fn assert_counts(shown: &Value, numbers: &[u64]) {
    let count = |is: &dyn Fn(u64) -> bool| numbers.iter().filter(|one| is(**one)).count();
    let expected = [
        ("/events", numbers.len()),
        ("/filter/matched", count(&is_of_filter)),
        ("/filter/errors", 0),
        ("/shadow/matched", count(&is_of_other)),
        ("/shadow/errors", count(&is_failed)),
        ("/both", count(&|one| is_of_filter(one) && is_of_other(one))),
        ("/gained", count(&|one| !is_of_filter(one) && is_of_other(one))),
        ("/lost", count(&|one| is_of_filter(one) && !is_of_other(one))),
    ];
    for (name, number) in expected {
        assert_eq!(shown.pointer(name), Some(&json!(number)), "{name} of {shown}");
    }
    let newest = |is: &dyn Fn(u64) -> bool| {
        let found = numbers.iter().rev().filter(|one| is(**one)).take(50);
        found.map(|one| format!("event-{one}")).collect::<Vec<_>>()
    };
    let listed = |name: &str| {
        let events = shown["differences"][name].as_array().expect("a list").iter();
        events.map(|one| one["event"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("gained"), newest(&|one| !is_of_filter(one) && is_of_other(one)));
    assert_eq!(listed("lost"), newest(&|one| is_of_filter(one) && !is_of_other(one)));
}

async fn run(router: &RouterProcess, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["subscriptions", "--server", router.api.base()])
        .args(arguments)
        .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
        .output()
        .await
        .expect("the command runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_are_exact_and_survive_a_kill_and_nothing_of_the_shadow_is_delivered() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    router.provision("app", "inst", "site-1", &sink.url("/hook")).await;
    router.provision("app-2", "inst-2", "site-2", &sink.url("/none")).await;
    router.put(MODULE, module(FILTER)).await;
    let broker = nats.client().await;
    for number in 0..10 {
        publish(&broker, "site-1", UPDATED, number).await;
    }
    let set = router.put(SHADOW, json!({"filter": {"expression": OTHER}})).await;
    assert_eq!((&set["after"], &set["revision"]), (&json!(10), &json!(2)), "{set}");
    for number in 10..130 {
        publish(&broker, "site-1", UPDATED, number).await;
    }
    // Of other sites and types, nothing is compared.
    for number in 1000..1020 {
        publish(&broker, "site-2", UPDATED, number).await;
        publish(&broker, "site-1", CREATED, number + 100).await;
    }
    let numbers: Vec<u64> = (10..130).collect();
    assert_counts(&shown(&router).await, &numbers);
    // In the background, too; every event once, whatever counts it.
    let matched = numbers.iter().filter(|one| is_of_other(**one)).count();
    let matches = router.metric("switchyard_shadow_matches_total").await;
    assert!((matches - f64::from(u32::try_from(matched).unwrap())).abs() < 0.5, "{matches}");
    assert!((router.metric("switchyard_subscriptions{state=\"shadow\"}").await - 1.0).abs() < 0.1);

    // The explanation of an event has the decision of the shadow.
    for (number, decision) in [(27, "would be delivered"), (28, "would not be delivered")] {
        let asked = json!({"subscription": "inst/k", "event": format!("event-{number}")});
        let found = send(&router, Method::POST, "/admin/v1/explain", asked).await;
        let shadow = &found["events"][0]["decisions"][0]["shadow"];
        assert_eq!(shadow["decision"], decision, "{found}");
    }

    router.kill().await;
    for number in 130..200 {
        publish(&broker, "site-1", UPDATED, number).await;
    }
    let router = setup.start().await;
    let numbers: Vec<u64> = (10..200).collect();
    assert_counts(&shown(&router).await, &numbers);
    until_settled(&nats).await;
    let delivered: Vec<u64> = received(&sink).into_keys().collect();
    let expected: Vec<u64> = (0..200).filter(|one| is_of_filter(*one)).collect();
    assert_eq!(delivered, expected, "only what the filter matches is delivered");

    send(&router, Method::DELETE, SHADOW, Value::Null).await;
    let (status, _) = refused(&router, Method::GET, SHADOW, Value::Null).await;
    assert_eq!(status, 404);
    // A shadow that is set again begins now.
    router.put(SHADOW, json!({"filter": {"expression": OTHER}})).await;
    assert_counts(&shown(&router).await, &[]);
}

/// A source that publishes events, one after the other, until it is ended.
struct Flow {
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Flow {
    /// Publishes from the event `first` on.
    async fn start(nats: &NatsServer, first: u64) -> Self {
        let (next, stop) = (Arc::new(AtomicU64::new(first)), Arc::new(AtomicBool::new(false)));
        let (broker, at, is_ended) = (nats.client().await, Arc::clone(&next), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !is_ended.load(SeqCst) {
                publish(&broker, "site-1", UPDATED, at.load(SeqCst)).await;
                at.fetch_add(1, SeqCst);
            }
        });
        Self { next, stop, task }
    }

    /// Waits until `count` more events are stored; returns the next one.
    async fn published(&self, count: u64) -> u64 {
        let until = self.next.load(SeqCst) + count;
        eventually(WAIT_MAX, "events flow", || async {
            (self.next.load(SeqCst) >= until).then_some(())
        })
        .await;
        self.next.load(SeqCst)
    }

    /// Ends; returns how many events there are.
    async fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        self.task.await.expect("the publisher ends");
        self.next.load(SeqCst)
    }
}

/// Waits until all routers apply this revision of the module.
async fn until_applied(routers: [&RouterProcess; 2], revision: u64) {
    eventually(WAIT_MAX, "both replicas have the revision", || async {
        for router in routers {
            let found = router.get(SUBSCRIPTION).await.ok()?;
            (found["revision"] == revision).then_some(())?;
        }
        Some(())
    })
    .await;
}

/// Waits until every event before `number` is acknowledged; returns before which one that holds by now. The
/// sequence of an event is its number and 1.
async fn until_handled(nats: &NatsServer, number: u64) -> u64 {
    let context = nats.context().await;
    eventually(WAIT_MAX, "events are acknowledged", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let router: async_nats::jetstream::consumer::PullConsumer =
            stream.get_consumer("router").await.ok()?;
        let handled = router.cached_info().ack_floor.stream_sequence;
        (handled >= number).then_some(handled)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote_and_rollback_lose_and_double_no_delivery_while_events_flow() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    let (one, other) = tokio::join!(one.start(), other.start());
    one.provision("app", "inst", "site-1", &sink.url("/hook")).await;
    one.put(MODULE, module(FILTER)).await;
    one.put(SHADOW, json!({"filter": {"expression": OTHER}})).await;
    until_applied([&one, &other], 2).await;
    // Both count, at once, and each event counts once.
    let broker = nats.client().await;
    for number in 0..30 {
        publish(&broker, "site-1", UPDATED, number).await;
    }
    let numbers: Vec<u64> = (0..30).collect();
    let (of_one, of_other) = tokio::join!(shown(&one), shown(&other));
    assert_counts(&of_one, &numbers);
    assert_counts(&of_other, &numbers);

    let flow = Flow::start(&nats, 30).await;
    let published = flow.published(60).await;
    let before_promotion = until_handled(&nats, published).await;
    let changed = send(&other, Method::POST, &format!("{SUBSCRIPTION}/promote"), Value::Null).await;
    assert_eq!(changed["revision"], 3, "{changed}");
    until_applied([&one, &other], 3).await;
    let promoted = flow.published(2).await;
    let published = flow.published(80).await;
    let before_rollback = until_handled(&nats, published).await;
    let changed = send(&one, Method::POST, &format!("{SUBSCRIPTION}/rollback"), Value::Null).await;
    assert_eq!(changed["revision"], 4, "{changed}");
    until_applied([&one, &other], 4).await;
    let rolled_back = flow.published(2).await;
    flow.published(40).await;
    let all = flow.end().await;
    until_settled(&nats).await;

    let counts = received(&sink);
    assert!(counts.values().all(|count| *count == 1), "none twice: {counts:?}");
    for number in 0..all {
        let (old, new) = (is_of_filter(number), is_of_other(number));
        let delivered = counts.contains_key(&number);
        assert!(delivered || !(old && new), "{number} is lost: both filters match it");
        assert!(!delivered || old || new, "{number} is delivered: no filter matches it");
        if number < before_promotion || number >= rolled_back {
            assert_eq!(delivered, old, "{number} by the filter before and after");
        }
        if (promoted..before_rollback).contains(&number) {
            assert_eq!(delivered, new, "{number} by the promoted filter");
        }
    }
    assert!(promoted + 40 < before_rollback && rolled_back + 20 < all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_updates_of_the_app_and_the_commands() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let app = router.provision("app", "inst", "site-1", "http://127.0.0.1:9/hook").await;
    router.put(MODULE, module(FILTER)).await;
    let wrong = json!({"filter": {"expression": "event.issue.fields.sumary =="}});
    let (status, text) = refused(&router, Method::PUT, SHADOW, wrong).await;
    assert_eq!(status, 422);
    assert!(text.contains("filter.expression"), "{text}");
    let (status, _) = refused(&router, Method::GET, SHADOW, Value::Null).await;
    assert_eq!(status, 404, "a shadow that is refused is not stored");
    let promote = format!("{SUBSCRIPTION}/promote");
    let (status, text) = refused(&router, Method::POST, &promote, Value::Null).await;
    assert!(status == 422 && text.contains("no shadow"), "{status} {text}");

    let (code, text) = run(&router, &["shadow", "set", "inst/k", "-e", OTHER]).await;
    assert_eq!(code, Some(0), "{text}");
    let broker = nats.client().await;
    for number in 0..12 {
        publish(&broker, "site-1", UPDATED, number).await;
    }
    let numbers: Vec<u64> = (0..12).collect();
    assert_counts(&shown(&router).await, &numbers);
    let (code, text) = run(&router, &["shadow", "show", "inst/k"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("12 events, 1 in both, 2 gained, 5 lost"), "{text}");
    assert!(text.contains("+ ") && text.contains("event-9"), "{text}");
    let (_, text) = run(&router, &["shadow", "show", "inst/k", "-o", "json"]).await;
    let shown_json: Value = serde_json::from_str(&text).expect("JSON");
    assert_counts(&shown_json, &numbers);

    // The app registers the module again: the shadow stays, and is compared with the new filter.
    let body = json!({"type": "trigger", "key": "k", "data": {"endpoint": "hook", "key": "k",
        "events": [UPDATED], "filter": {"expression": OTHER}}});
    let path = "/forge/installation/v1/dynamic/module/k";
    app.send(Method::PUT, path, &[], &body).await.expect("the app changes its module");
    let now = shown(&router).await;
    assert_eq!(
        (&now["moduleChanged"], &now["gained"], &now["lost"]),
        (&json!(true), &json!(0), &json!(0))
    );
    let (status, text) = refused(&router, Method::POST, &promote, Value::Null).await;
    assert!(status == 422 && text.contains("changed since"), "{status} {text}");
    let revision = now["revision"].to_string();
    let with_revision = ["promote", "inst/k", "--revision", &revision];
    let (code, text) = run(&router, &with_revision).await;
    assert!(code == Some(2) && text.contains("--shadow NAME"), "{code:?} {text}");
    let named = |name| [&with_revision[..], &["--shadow", name]].concat();
    let (code, text) = run(&router, &named("0a1b2c3d4e5f")).await;
    assert!(code != Some(0) && text.contains("another one than the one that is named"), "{text}");
    let name = now["name"].as_str().expect("a name");
    let (_, text) = run(&router, &["shadow", "show", "inst/k"]).await;
    assert!(text.contains(&format!("shadow {name} of inst/k")), "{text}");
    let (code, text) = run(&router, &named(name)).await;
    assert!(code == Some(0) && text.contains(OTHER), "{text}");
    let (code, text) = run(&router, &["rollback", "inst/k"]).await;
    assert!(code == Some(0) && text.contains(OTHER), "{text}");
    let revisions = router.get(&format!("{SUBSCRIPTION}/revisions")).await.expect("revisions");
    assert_eq!(revisions["items"][0]["events"][0]["filter"], OTHER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadow_that_is_not_counted_can_be_set_and_removed_and_a_removed_module_takes_its_own_with_it()
 {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let app = router.provision("app", "inst", "site-1", "http://127.0.0.1:9/hook").await;
    router.put(MODULE, module(FILTER)).await;
    // It is set, also if it cannot be counted: here, a later release stored the count.
    let context = nats.context().await;
    let of_tally = "$KV.SW_STATE.shadow.inst.k";
    let stored = context.publish(of_tally, "no tally".into()).await.expect("sent");
    stored.await.expect("stored");
    let set = router.put(SHADOW, json!({"filter": {"expression": FILTER}})).await;
    assert!(set["problem"].is_string() && set["name"].is_string(), "{set}");
    let (status, _) = refused(&router, Method::GET, SHADOW, Value::Null).await;
    assert_eq!(status, 503);
    let state = context.get_stream("KV_SW_STATE").await.expect("a stream");
    state.purge().filter(of_tally).await.expect("it is removed");
    assert_counts(&shown(&router).await, &[]);

    // That of a disabled installation can be removed.
    let installation = "/admin/v1/installations/inst";
    let state =
        |state: &str| json!({"app": "app", "cloudId": "site-1", "product": "jira", "state": state});
    router.put(installation, state("disabled")).await;
    let (code, text) = run(&router, &["shadow", "rm", "inst/k"]).await;
    assert_eq!(code, Some(0), "{text}");
    router.put(installation, state("enabled")).await;

    // A removed module takes its shadow with it.
    router.put(SHADOW, json!({"filter": {"expression": FILTER}})).await;
    let (code, _) = run(&router, &["shadow", "rm", "inst/k"]).await;
    assert_eq!(code, Some(0));
    router.put(SHADOW, json!({"events": [UPDATED, CREATED]})).await;
    send(&router, Method::DELETE, MODULE, Value::Null).await;
    let (status, _) = refused(&router, Method::GET, SHADOW, Value::Null).await;
    assert_eq!(status, 404);
    assert!(router.metric("switchyard_subscriptions{state=\"shadow\"}").await < 0.5);
    // Shadows are of operators.
    let foreign: ApiClient = app;
    assert!(foreign.send(Method::GET, SHADOW, &[], &Value::Null).await.is_err());
}
