//! The account of deliveries: closes over kills, redrives, deletions and removals, and names exactly what
//! is deleted behind the back of the router.

use std::collections::BTreeSet;

use async_nats::jetstream;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::domain::{DeliveryId, SubscriptionId};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
const SITE: &str = "site-1";
/// Members of counts that say what became of deliveries.
const CREDITS: [&str; 6] = ["delivered", "dead", "droppedByPolicy", "removed", "pending", "gap"];

fn setup(nats: &NatsServer) -> Setup {
    Setup::new(&nats.url(), nats.folder().join("router"))
}

/// Provisions `inst-<n>` for each number at [`SITE`], with a handler at `/<n>`; returns the ids of their
/// subscriptions.
async fn provision(router: &RouterProcess, sink: &Sink, count: usize) -> Vec<String> {
    let mut subscriptions = Vec::new();
    for number in 1..=count {
        let (app, installation) = (format!("app-{number}"), format!("inst-{number}"));
        let handler = sink.url(&format!("/{number}"));
        let app = router.provision(&app, &installation, SITE, &handler).await;
        let filter = json!({ "expression": "event.issue.fields.project.key == 'XXX'" });
        let trigger = json!({ "endpoint": "hook", "events": [EVENT_TYPE], "filter": filter });
        subscriptions.push(format!("{installation}/{}", register(&app, trigger).await));
    }
    subscriptions
}

async fn account(router: &RouterProcess, query: &str) -> Value {
    router.get(&format!("/admin/v1/account{query}")).await.expect("the account")
}

fn number(counts: &Value, name: &str) -> u64 {
    counts[name].as_u64().unwrap_or_else(|| panic!("{name} of {counts}"))
}

/// Checks that debits equal credits in every row, and that the rows of each list sum to the total.
fn assert_closes(account: &Value) {
    let total = &account["total"];
    let sides = |counts: &Value| {
        let credits: u64 = CREDITS.iter().map(|name| number(counts, name)).sum();
        (number(counts, "matched") + number(counts, "replayed"), credits)
    };
    let (debits, credits) = sides(total);
    assert_eq!(debits, credits, "{account}");
    for list in ["subscriptions", "installations", "sites"] {
        let rows = account[list].as_array().expect("a list");
        let mut sum = 0;
        for row in rows {
            let (debits, credits) = sides(&row["counts"]);
            assert_eq!(debits, credits, "{row}");
            sum += debits;
        }
        assert_eq!(sum, debits, "{list}: {account}");
    }
}

/// Waits until nothing is in flight or pending, and returns the account, which must close.
async fn until_settled(router: &RouterProcess) -> Value {
    eventually(WAIT_MAX, "nothing is pending", || async {
        let account = router.get("/admin/v1/account").await.ok()?;
        assert_closes(&account);
        let is_settled = account["inFlight"] == 0 && account["total"]["pending"] == 0;
        is_settled.then_some(account)
    })
    .await
}

async fn until_total(router: &RouterProcess, name: &str, wanted: u64) -> Value {
    let condition = format!("the account has {wanted} {name}");
    eventually(WAIT_MAX, &condition, || async {
        let account = account(router, "").await;
        assert_closes(&account);
        (number(&account["total"], name) == wanted).then_some(account)
    })
    .await
}

async fn messages(context: &jetstream::Context, stream: &str) -> u64 {
    let stream = context.get_stream(stream).await.expect("the stream");
    stream.cached_info().state.messages
}

async fn letters(router: &RouterProcess) -> Vec<String> {
    let page = router.get("/admin/v1/dlq").await.expect("a list");
    let items = page["items"].as_array().expect("items");
    items.iter().map(|letter| letter["id"].as_str().expect("an id").to_owned()).collect()
}

fn delivery_id(subscription: &str, event: &str) -> String {
    let subscription = SubscriptionId::parse(subscription).expect("a subscription");
    DeliveryId::derive(&SITE.into(), &event.into(), &subscription).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_closes_over_kills() {
    const EVENTS: u64 = 300;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = setup(&nats)
        .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 5)
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1");
    let mut router = setup.start().await;
    provision(&router, &sink, 3).await;
    sink.answer("/2", 503, None);
    sink.answer("/3", 404, None);
    let broker = nats.client().await;
    let sender = tokio::spawn(async move {
        for event in 0..EVENTS {
            publish(&broker, SITE, event, "XXX").await;
        }
    });
    for part in [1, 2, 3] {
        eventually(WAIT_MAX, "some deliveries are attempted", || async {
            (sink.count() as u64 >= part * EVENTS / 2).then_some(())
        })
        .await;
        router.kill().await;
        router = setup.start().await;
        assert_closes(&account(&router, "").await);
    }
    sender.await.expect("all events are stored");
    sink.answer("/2", 204, None);
    let account = until_settled(&router).await;
    let total = &account["total"];
    assert_eq!((number(total, "matched"), number(total, "delivered")), (3 * EVENTS, 2 * EVENTS));
    assert_eq!((number(total, "dead"), &account["gap"]), (EVENTS, &json!(0)));
    assert_eq!(account["missingRecords"], 0, "what was not confirmed at a kill is not missing");
    assert_eq!(account["complete"], true);
    let ids: BTreeSet<_> =
        sink.received().iter().map(|one| one.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len() as u64, 3 * EVENTS);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_closes_after_redrive_removal_and_deletion() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = setup(&nats).with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "2,3600");
    let router = setup.start().await;
    let subscriptions = provision(&router, &sink, 3).await;
    sink.answer("/2", 503, None);
    sink.answer("/3", 404, None);
    let broker = nats.client().await;
    for event in 0..10 {
        publish(&broker, SITE, event, "XXX").await;
    }
    let account_before = until_total(&router, "dead", 10).await;
    assert_eq!(number(&account_before["total"], "pending"), 10);

    let letters = letters(&router).await;
    for letter in letters.iter().take(3) {
        let path = format!("/admin/v1/dlq/{letter}");
        router.api.send(Method::DELETE, &path, &[], &Value::Null).await.expect("deleted");
    }
    let account_now = account(&router, "").await;
    assert_closes(&account_now);
    let total = &account_now["total"];
    assert_eq!((number(total, "removed"), number(total, "dead")), (3, 7));
    let removed = router.get("/admin/v1/deliveries?outcome=removed&site=site-1").await.unwrap();
    let removed = removed["items"].as_array().unwrap();
    assert_eq!((removed.len(), &removed[0]["reason"]), (3, &json!("rm")));

    sink.answer("/3", 204, None);
    let query = json!({ "query": {} });
    router.api.send(Method::POST, "/admin/v1/dlq/redrive", &[], &query).await.expect("a redrive");
    until_total(&router, "delivered", 17).await;

    // The parked deliveries of a deleted subscription are dropped when they are due.
    let (installation, key) = subscriptions[1].split_once('/').unwrap();
    let module = format!("/admin/v1/installations/{installation}/modules/{key}");
    router.api.send(Method::DELETE, &module, &[], &Value::Null).await.expect("deleted");
    let end = until_total(&router, "droppedByPolicy", 10).await;
    let total = &end["total"];
    assert_eq!((number(total, "matched"), number(total, "pending")), (30, 0));
    assert_eq!((number(total, "removed"), &end["gap"]), (3, &json!(0)));
    let row = |id: &str| {
        let rows = end["subscriptions"].as_array().unwrap();
        rows.iter().find(|row| row["subscription"] == id).unwrap()["counts"].clone()
    };
    assert_eq!(number(&row(&subscriptions[0]), "delivered"), 10);
    assert_eq!(number(&row(&subscriptions[1]), "droppedByPolicy"), 10);
    assert_eq!(number(&row(&subscriptions[2]), "delivered"), 7);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_behind_the_back_of_the_router_is_named() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router =
        setup(&nats).with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600,3600").start().await;
    let subscriptions = provision(&router, &sink, 3).await;
    sink.answer("/2", 503, None);
    sink.answer("/3", 404, None);
    let (broker, context) = (nats.client().await, nats.context().await);
    for event in 0..10 {
        publish(&broker, SITE, event, "XXX").await;
    }
    let before = until_total(&router, "dead", 10).await;
    assert_eq!((number(&before["total"], "pending"), &before["gap"]), (10, &json!(0)));

    let parked = context.get_stream("SW_PARKED").await.unwrap();
    let lost = delivery_id(&subscriptions[1], "event-4");
    parked.purge().filter(format!("sw.retry.{lost}")).await.unwrap();
    let dead = context.get_stream("SW_DLQ").await.unwrap();
    let letter = dead.direct_get_first_for_subject("sw.dlq.delivery.*.*").await.unwrap();
    dead.delete_message(letter.sequence).await.unwrap();
    let lost_letter = letter.headers.get("switchyard-delivery-id").unwrap().to_string();

    let found = account(&router, "").await;
    assert_closes(&found);
    assert_eq!((number(&found["total"], "gap"), &found["gap"]), (2, &json!(2)));
    let gaps = found["gaps"].as_array().unwrap();
    let gap_of = |id: &str| gaps.iter().find(|gap| gap["deliveryId"] == id).expect("it is named");
    let gap = gap_of(&lost);
    assert_eq!((&gap["event"]["id"], &gap["event"]["site"]), (&json!("event-4"), &json!(SITE)));
    assert_eq!(
        (&gap["subscriptions"], &gap["last"]),
        (&json!([subscriptions[1]]), &json!("parked"))
    );
    let gap = gap_of(&lost_letter);
    assert_eq!((&gap["subscriptions"], &gap["last"]), (&json!([subscriptions[2]]), &json!("dead")));

    for (arguments, expected) in [
        (vec![], format!("unaccounted: {lost} of event site-1/event-4 to {}", subscriptions[1])),
        (vec!["-o", "json"], lost.clone()),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["account", "--since", "1h", "--server", router.api.base()])
            .args(arguments)
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .output()
            .await
            .expect("the command runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&expected), "{text}");
    }
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_record_of_the_log_is_found_missing_by_its_number() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink, 1).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    // Records of a group are published before any of it is confirmed: so the first and the last one are
    // published by themselves.
    for events in [0..1, 1..39, 39..40] {
        let published = events.end;
        for event in events {
            publish(&broker, SITE, event, "XXX").await;
        }
        until_total(&router, "delivered", published).await;
    }
    let log = context.get_stream("SW_ATTEMPTS").await.unwrap();
    let record = log.direct_get(20).await.unwrap();
    let id = record.headers.get("Nats-Msg-Id").unwrap().to_string();
    log.delete_message(20).await.unwrap();
    let found = eventually(WAIT_MAX, "a record is missing", || async {
        let found = account(&router, "").await;
        assert_closes(&found);
        (found["missingRecords"] != 0).then_some(found)
    })
    .await;
    let (process, lost) = id.rsplit_once('-').unwrap();
    let lost: u64 = lost.parse().unwrap();
    assert_eq!((&found["missingRecords"], &found["gap"]), (&json!(1), &json!(1)));
    assert_eq!(found["missing"], json!([{ "process": process, "first": lost, "last": lost }]));
    assert_eq!(number(&found["total"], "matched"), 39);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_is_of_the_window_and_the_scope_that_are_asked_for() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router =
        setup(&nats).with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600,3600").start().await;
    let subscriptions = provision(&router, &sink, 2).await;
    sink.answer("/2", 503, None);
    let (broker, context) = (nats.client().await, nats.context().await);
    for event in 0..6 {
        publish(&broker, SITE, event, "XXX").await;
    }
    until_total(&router, "pending", 6).await;
    let events = context.get_stream("SW_EVENTS").await.unwrap();
    let third = events.direct_get(3).await.unwrap();
    let third_ms = third.time.unix_timestamp_nanos() / 1_000_000;
    let subscription = subscriptions[1].replace('/', "%2F");
    for (query, matched, pending) in [
        (String::new(), 12, 6),
        (format!("?site={SITE}"), 12, 6),
        ("?site=site-2".to_owned(), 0, 0),
        ("?installation=inst-1".to_owned(), 6, 0),
        (format!("?subscription={subscription}"), 6, 6),
        ("?to=2026-01-01T00:00:00Z".to_owned(), 0, 0),
    ] {
        let account = account(&router, &query).await;
        assert_closes(&account);
        let total = &account["total"];
        let found = (number(total, "matched"), number(total, "pending"));
        assert_eq!(found, (matched, pending), "{query}: {account}");
    }
    // Other events may have been stored in the same millisecond.
    let before = account(&router, &format!("?from=2026-01-01T00:00:00Z&to={third_ms}")).await;
    let after = account(&router, &format!("?from={third_ms}")).await;
    let matched = |account: &Value| number(&account["total"], "matched");
    assert!(matched(&before) <= 4 && matched(&after) >= 8, "{before} {after}");
    assert_eq!(matched(&before) + matched(&after), 12, "no event is left out or counted twice");
    for bad in ["?from=soon", "?from=2&to=1", "?subscription=x", "?limit=0"] {
        let refused = router.get(&format!("/admin/v1/account{bad}")).await.unwrap_err();
        assert!(refused.to_string().contains("422"), "{bad}: {refused}");
    }
    router.kill().await;

    let router = setup(&nats).with("SWITCHYARD_DELIVERY__LOG", "false").start().await;
    let refused = router.get("/admin/v1/account").await.unwrap_err();
    assert!(refused.to_string().contains("the delivery log is off"), "{refused}");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metric_of_the_gap_is_kept_and_survives_a_failover() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let started = || async {
        setup(&nats)
            .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600,3600")
            .with("SWITCHYARD_DELIVERY__ACCOUNT_INTERVAL_S", 1)
            .start()
            .await
    };
    let router = started().await;
    let subscriptions = provision(&router, &sink, 1).await;
    sink.answer("/1", 503, None);
    let (broker, context) = (nats.client().await, nats.context().await);
    for event in 0..3 {
        publish(&broker, SITE, event, "XXX").await;
    }
    until_total(&router, "pending", 3).await;
    let checked = async |router: &RouterProcess| {
        eventually(WAIT_MAX, "the account is checked", || async {
            (router.metric("switchyard_account_checked_seconds").await > 0.0).then_some(())
        })
        .await;
        router.metric("switchyard_account_gap").await
    };
    assert!(checked(&router).await < 0.1, "nothing is missing");
    let parked = context.get_stream("SW_PARKED").await.unwrap();
    let lost = delivery_id(&subscriptions[0], "event-1");
    parked.purge().filter(format!("sw.retry.{lost}")).await.unwrap();
    assert_eq!(messages(&context, "SW_PARKED").await, 2);
    eventually(WAIT_MAX, "the gap is found", || async {
        (router.metric("switchyard_account_gap").await > 0.9).then_some(())
    })
    .await;
    router.kill().await;
    let other = started().await;
    let gap = checked(&other).await;
    assert!((gap - 1.0).abs() < 0.1, "{gap}");
    other.kill().await;
}
