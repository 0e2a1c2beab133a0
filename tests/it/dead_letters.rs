//! Dead letters: listed, read, deleted and redriven, over kills of the router.

use std::collections::BTreeSet;

use async_nats::jetstream;
use data_encoding::BASE64;
use hyper::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, issue_event,
    publish, publish_raw, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";

fn setup(nats: &NatsServer) -> Setup {
    Setup::new(&nats.url(), nats.folder().join("router"))
}

/// Provisions `inst-1` at `site-1` and `inst-2` at `site-2`, whose handlers `/1` and `/2` answer 404;
/// returns the keys of their triggers.
async fn provision(router: &RouterProcess, sink: &Sink) -> [String; 2] {
    let mut keys = Vec::new();
    for number in ["1", "2"] {
        let path = format!("/{number}");
        sink.answer(&path, 404, None);
        let (app, installation) = (format!("app-{number}"), format!("inst-{number}"));
        let site = format!("site-{number}");
        let app = router.provision(&app, &installation, &site, &sink.url(&path)).await;
        let filter = json!({ "expression": "event.issue.fields.project.key == 'XXX'" });
        let trigger = json!({ "endpoint": "hook", "events": [EVENT_TYPE], "filter": filter });
        keys.push(register(&app, trigger).await);
    }
    keys.try_into().unwrap()
}

async fn post(router: &RouterProcess, path: &str, body: Value) -> anyhow::Result<Value> {
    router.api.send(Method::POST, &format!("/admin/v1{path}"), &[], &body).await
}

async fn redrive(router: &RouterProcess, body: Value) -> Value {
    post(router, "/dlq/redrive", body).await.expect("the redrive is accepted")
}

async fn list(router: &RouterProcess, query: &str) -> Vec<Value> {
    let page = router.get(&format!("/admin/v1/dlq{query}")).await.expect("a list");
    page["items"].as_array().expect("items").clone()
}

fn id(of: &Value) -> &str {
    of["id"].as_str().expect("an id")
}

async fn job(router: &RouterProcess, id: &str) -> Value {
    router.get(&format!("/admin/v1/dlq/redrives/{id}")).await.expect("the job")
}

/// Messages of the dead-letter stream.
async fn dead(context: &jetstream::Context) -> u64 {
    let stream = context.get_stream("SW_DLQ").await.expect("the stream");
    stream.cached_info().state.messages
}

async fn until_dead(context: &jetstream::Context, wanted: u64) {
    eventually(WAIT_MAX, &format!("{wanted} dead letters are stored"), || async {
        (dead(context).await == wanted).then_some(())
    })
    .await;
}

/// Waits until a job is done and all that it handed over is accounted for.
async fn until_done(router: &RouterProcess, id: &str) -> Value {
    eventually(WAIT_MAX, "the redrive is done", || async {
        let job = router.get(&format!("/admin/v1/dlq/redrives/{id}")).await.ok()?;
        (job["state"] == "done" && job["pending"] == 0).then_some(job)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_and_deleted() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let [key, _] = provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..5 {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_dead(&context, 5).await;
    publish(&broker, "site-2", 7, "XXX").await;
    until_dead(&context, 6).await;
    publish_raw(&broker, "site-2", EVENT_TYPE, "broken", b"no json".to_vec()).await;
    until_dead(&context, 7).await;

    let all = list(&router, "").await;
    let kinds: Vec<_> = all.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..2], ["event", "delivery"], "newest first");
    let subscription = format!("inst-1/{key}");
    for (query, count) in [
        ("?site=site-1".to_owned(), 5),
        ("?site=site-2".to_owned(), 2),
        ("?installation=inst-2".to_owned(), 1),
        (format!("?subscription={}", subscription.replace('/', "%2F")), 5),
        ("?reason=rejected_404".to_owned(), 6),
        ("?reason=rejected_4xx".to_owned(), 6),
        ("?reason=poison_json".to_owned(), 1),
        ("?reason=exhausted".to_owned(), 0),
        ("?since=1d".to_owned(), 7),
        ("?since=2099-01-01T00:00:00Z".to_owned(), 0),
        ("?site=site-2&reason=rejected_404".to_owned(), 1),
    ] {
        assert_eq!(list(&router, &query).await.len(), count, "{query}");
    }
    assert!(router.get("/admin/v1/dlq?reason=unknown").await.is_err());

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = router.get(&format!("/admin/v1/dlq?limit=3{cursor}")).await.unwrap();
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);

    let broken = router.get(&format!("/admin/v1/dlq/{}", id(&all[0]))).await.unwrap();
    assert_eq!(broken["bodyBase64"], BASE64.encode(b"no json"));
    assert_eq!(broken["stage"], "decode");
    let first = letter_of(&all, "event-0");
    let shown = router.get(&format!("/admin/v1/dlq/{}", id(first))).await.unwrap();
    assert_eq!(shown["body"]["issue"]["key"], "XXX-0");
    assert_eq!((&shown["subscription"], &shown["app"]), (&json!(subscription), &json!("app-1")));
    assert_eq!((&shown["attempts"], &shown["event"]["id"]), (&json!(1), &json!("event-0")));
    assert_eq!(shown["headers"]["switchyard-dlq-last-class"], "4xx");
    let path = format!("/admin/v1/dlq/{}/body", id(first));
    let bytes = router.api.fetch(Method::GET, &path, &[], &Value::Null).await.unwrap();
    assert_eq!(bytes, issue_event(0, "XXX").to_string());

    let path = format!("/admin/v1/dlq/{}", id(first));
    let other_stream = format!("/admin/v1/dlq/{}-1", id(first).split_once('-').unwrap().0);
    let remove = async |path: &str| router.api.send(Method::DELETE, path, &[], &Value::Null).await;
    assert!(remove(&other_stream).await.is_err(), "that of another stream is not this one");
    remove(&path).await.unwrap();
    assert!(remove(&path).await.is_err() && router.get(&path).await.is_err());
    assert_eq!(dead(&context).await, 6);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letter_leaves_only_once_its_redriven_delivery_is_delivered() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, "XXX").await;
    until_dead(&context, 1).await;
    sink.answer("/1", 204, None);
    sink.hold("/1");
    let letters = list(&router, "").await;
    let created = redrive(&router, json!({ "ids": [id(&letters[0])] })).await;
    eventually(WAIT_MAX, "the delivery is attempted again", || async {
        (sink.received_at("/1").len() == 2).then_some(())
    })
    .await;
    assert_eq!(dead(&context).await, 1, "the handler has not answered");
    assert_eq!(list(&router, "").await, letters);
    sink.release("/1");
    until_dead(&context, 0).await;

    let attempts = sink.received_at("/1");
    assert_eq!(attempts[0].header("webhook-id"), attempts[1].header("webhook-id"));
    assert_eq!(attempts[1].header("switchyard-attempt"), "1");
    assert_eq!(attempts[0].body, attempts[1].body);
    let done = until_done(&router, id(&created)).await;
    assert_eq!(done["counts"], json!({ "matched": 1, "parked": 1 }));
    assert_eq!(done["outcomes"], json!({ "delivered": 1 }));
    let redriven = router.metric(r#"switchyard_dlq_redriven_total{result="delivered"}"#).await;
    assert!((redriven - 1.0).abs() < 0.1);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_that_is_dead_again_has_exactly_one_letter() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, "XXX").await;
    until_dead(&context, 1).await;
    let mut seen = BTreeSet::from([id(&list(&router, "").await[0]).to_owned()]);
    // More than once within the time in which the broker discards repeated ids.
    for _ in 0..3 {
        let created = redrive(&router, json!({ "query": {} })).await;
        let done = until_done(&router, id(&created)).await;
        assert_eq!(done["outcomes"], json!({ "dead": 1 }));
        let letters = list(&router, "").await;
        assert_eq!((letters.len(), dead(&context).await), (1, 1));
        assert_eq!(letters[0]["job"], created["id"]);
        assert!(seen.insert(id(&letters[0]).to_owned()), "it is a letter of its own");
    }
    let redriven = router.metric(r#"switchyard_dlq_redriven_total{result="dead"}"#).await;
    assert!((redriven - 3.0).abs() < 0.1);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_run_redrives_nothing_until_it_is_resumed() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..20 {
        publish(&broker, "site-1", number, "XXX").await;
    }
    for number in 0..5 {
        publish(&broker, "site-2", number, "XXX").await;
    }
    until_dead(&context, 25).await;
    sink.answer("/1", 204, None);
    sink.answer("/2", 204, None);
    let query = json!({ "installation": "inst-1", "reason": "rejected_404" });
    let planned = redrive(&router, json!({ "query": query, "dryRun": true, "rate": 500 })).await;
    assert_eq!((&planned["state"], &planned["rate"]), (&json!("planned"), &json!(500)));
    assert_eq!(planned["counts"], json!({ "matched": 20, "parked": 20 }));
    assert_eq!((dead(&context).await, sink.count()), (25, 25), "nothing is redriven");

    // Written after the dry run, so the job does not take it.
    sink.answer("/1", 404, None);
    publish(&broker, "site-1", 99, "XXX").await;
    until_dead(&context, 26).await;
    sink.answer("/1", 204, None);
    post(&router, &format!("/dlq/redrives/{}/resume", id(&planned)), json!({})).await.unwrap();
    let done = until_done(&router, id(&planned)).await;
    assert_eq!(done["counts"], json!({ "matched": 20, "parked": 20 }));
    assert_eq!(done["outcomes"], json!({ "delivered": 20 }));
    let left = list(&router, "").await;
    assert_eq!(left.len(), 6);
    assert_eq!(left[0]["event"]["id"], "event-99");
    assert_eq!(list(&router, "?installation=inst-2").await.len(), 5);
    let jobs = router.get("/admin/v1/dlq/redrives").await.unwrap();
    assert_eq!(jobs["items"][0]["id"], planned["id"]);
    for bad in [
        json!({}),
        json!({ "ids": [] }),
        json!({ "ids": ["x"] }),
        json!({ "ids": ["1-1"], "query": {} }),
        json!({ "query": {}, "rate": 0 }),
        json!({ "query": {}, "rate": 1001 }),
        json!({ "query": { "since": "soon" } }),
        json!({ "query": {}, "dryrun": true }),
    ] {
        let refused = post(&router, "/dlq/redrive", bad.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("422"), "{bad}: {refused}");
    }
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redrive_survives_kills_and_loses_nothing() {
    const LETTERS: u64 = 300;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = setup(&nats).with("SWITCHYARD_EVENTS__ACK_WAIT_S", 5);
    let mut router = setup.start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..LETTERS {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_dead(&context, LETTERS).await;
    sink.answer("/1", 204, None);
    let before = sink.count();
    let created = redrive(&router, json!({ "query": {}, "rate": 40 })).await;
    for part in [50, 120] {
        eventually(WAIT_MAX, "letters are redriven", || async {
            (sink.count() >= before + part).then_some(())
        })
        .await;
        router.kill().await;
        assert!(dead(&context).await > 0, "killed in the middle");
        router = setup.start().await;
    }
    until_dead(&context, 0).await;
    eventually(WAIT_MAX, "the job is done", || async {
        (job(&router, id(&created)).await["state"] == "done").then_some(())
    })
    .await;
    let received = sink.received_at("/1").split_off(before);
    let ids: BTreeSet<_> = received.iter().map(|one| one.header("webhook-id")).collect();
    let repeats = received.len() - ids.len();
    eprintln!("{LETTERS} letters, {} delivered, {repeats} repeats after 2 kills", ids.len());
    assert_eq!(ids.len() as u64, LETTERS, "0 lost");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_redrive_hands_over_no_more_until_it_is_resumed() {
    const LETTERS: u64 = 120;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..LETTERS {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_dead(&context, LETTERS).await;
    sink.answer("/1", 204, None);
    let before = sink.count();
    let created = redrive(&router, json!({ "query": {}, "rate": 1 })).await;
    let change = async |action: &str| {
        post(&router, &format!("/dlq/redrives/{}/{action}", id(&created)), json!({})).await
    };
    eventually(WAIT_MAX, "the first letter is redriven", || async {
        (sink.count() > before).then_some(())
    })
    .await;
    assert_eq!(change("pause").await.unwrap()["state"], "paused");
    let parked = |job: &Value| job["counts"]["parked"].as_u64().unwrap_or(0);
    let paused = eventually(WAIT_MAX, "what was handed over is delivered", || async {
        let job = job(&router, id(&created)).await;
        let delivered = job["outcomes"]["delivered"].as_u64();
        (job["pending"] == 0 && delivered == Some(parked(&job))).then_some(job)
    })
    .await;
    // One letter a second: all of them within the time of this test would be another rate.
    assert!(parked(&paused) < LETTERS);
    assert_eq!(dead(&context).await, LETTERS - parked(&paused));
    assert_eq!(change("resume").await.unwrap()["state"], "running");
    eventually(WAIT_MAX, "one more letter is redriven", || async {
        (parked(&job(&router, id(&created)).await) > parked(&paused)).then_some(())
    })
    .await;
    assert_eq!(change("cancel").await.unwrap()["state"], "cancelled");
    let refused = change("resume").await.unwrap_err();
    assert!(refused.to_string().contains("409"), "{refused}");
    assert!(change("cancel").await.is_ok(), "a repeated request is harmless");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letter_of_a_removed_subscription_stays_and_is_reported() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let [key, _] = provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, "XXX").await;
    until_dead(&context, 1).await;
    let module = format!("/admin/v1/installations/inst-1/modules/{key}");
    router.api.send(Method::DELETE, &module, &[], &Value::Null).await.unwrap();
    let created = redrive(&router, json!({ "query": {} })).await;
    let done = until_done(&router, id(&created)).await;
    assert_eq!(done["counts"], json!({ "matched": 1, "skipped_subscription_removed": 1 }));
    assert_eq!((dead(&context).await, sink.count()), (1, 1));
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_that_could_not_be_read_is_redriven_as_an_event() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut small = setup(&nats).with("SWITCHYARD_LIMITS__EVENT", 1024);
    let router = small.start().await;
    provision(&router, &sink).await;
    sink.answer("/1", 204, None);
    let (broker, context) = (nats.client().await, nats.context().await);
    let mut body = issue_event(1, "XXX");
    body["issue"]["fields"]["description"] = json!("long ".repeat(500));
    publish_raw(&broker, "site-1", EVENT_TYPE, "event-1", body.to_string().into_bytes()).await;
    until_dead(&context, 1).await;
    let letters = list(&router, "?reason=poison_size").await;
    assert_eq!((letters.len(), &letters[0]["kind"]), (1, &json!("event")));
    // Without a change of the setting it is dead-lettered again, as one letter.
    let created = redrive(&router, json!({ "ids": [id(&letters[0])] })).await;
    until_done(&router, id(&created)).await;
    let again = eventually(WAIT_MAX, "the event is dead-lettered again", || async {
        let again = list(&router, "").await;
        (again.len() == 1 && again[0]["id"] != letters[0]["id"]).then_some(again)
    })
    .await;
    router.kill().await;

    let router = setup(&nats).start().await;
    let created = redrive(&router, json!({ "ids": [id(&again[0])] })).await;
    let done = until_done(&router, id(&created)).await;
    assert_eq!(done["counts"], json!({ "matched": 1, "published": 1 }));
    eventually(WAIT_MAX, "the event is delivered", || async {
        (sink.received_at("/1").len() == 1).then_some(())
    })
    .await;
    assert_eq!(dead(&context).await, 0);
    let delivered = &sink.received_at("/1")[0];
    assert_eq!(delivered.header("switchyard-event-id"), "event-1");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_letter_gives_its_place_back() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    // An installation may have 20 letters.
    let router = setup(&nats)
        .with("SWITCHYARD_DELIVERY__DEAD_LETTERS_MAX", 100)
        .with("SWITCHYARD_DELIVERY__SHARE_GUARANTEED", 10)
        .start()
        .await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..21 {
        publish(&broker, "site-1", number, "XXX").await;
    }
    eventually(WAIT_MAX, "a letter is dropped", || async {
        let owner = r#"switchyard_share_exceeded_total{app="app-1",installation="inst-1"}"#;
        (router.metric(owner).await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(dead(&context).await, 20);
    let letters = list(&router, "").await;
    let path = format!("/admin/v1/dlq/{}", id(&letters[0]));
    router.api.send(Method::DELETE, &path, &[], &Value::Null).await.unwrap();
    publish(&broker, "site-1", 30, "XXX").await;
    until_dead(&context, 20).await;
    assert_eq!(list(&router, "").await[0]["event"]["id"], "event-30");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redrive_is_logged_and_a_later_one_leaves_what_waits() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600").start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, "XXX").await;
    until_dead(&context, 1).await;
    // The redriven delivery waits for its next attempt.
    sink.answer("/1", 503, None);
    let first = redrive(&router, json!({ "query": {} })).await;
    let logged = async || {
        let page = router.get("/admin/v1/deliveries?site=site-1&outcome=parked").await.unwrap();
        page["items"].as_array().unwrap().clone()
    };
    let shown = eventually(WAIT_MAX, "both records are in the log", || async {
        Some(logged().await).filter(|shown| shown.len() == 2)
    })
    .await;
    let handed_over = shown.iter().find(|one| one["from"] == "dead").expect("the redrive is shown");
    assert_eq!((&handed_over["job"], &handed_over["reason"]), (&first["id"], &json!("redrive")));
    assert!(shown.iter().any(|one| one["from"] == "parked" && one["status"] == 503), "{shown:?}");
    let parked = async || {
        let stream = context.get_stream("SW_PARKED").await.expect("the stream");
        let state = &stream.cached_info().state;
        (state.messages, state.last_sequence)
    };
    let waiting = eventually(WAIT_MAX, "only the next attempt waits", || async {
        Some(parked().await).filter(|(messages, _)| *messages == 1)
    })
    .await;

    let second = redrive(&router, json!({ "query": {} })).await;
    let done = until_done(&router, id(&second)).await;
    assert_eq!(done["counts"], json!({ "matched": 1, "skipped_pending": 1 }));
    assert_eq!(parked().await, waiting, "the record of the first redrive is the one it was");
    assert_eq!((dead(&context).await, logged().await.len()), (1, 2));
    let first = job(&router, id(&first)).await;
    assert_eq!((&first["counts"]["parked"], &first["pending"]), (&json!(1), &json!(1)));
    router.kill().await;
}

/// The letter of an event. Deliveries are attempted concurrently, so letters have no fixed order.
fn letter_of<'l>(letters: &'l [Value], event: &str) -> &'l Value {
    letters.iter().find(|letter| letter["event"]["id"] == event).expect("a letter of the event")
}

/// Runs `switchyard dlq` against a router; returns its exit code and its output.
async fn dlq(router: &RouterProcess, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .arg("dlq")
        .args(args)
        .env("SWITCHYARD_SERVER", router.api.base())
        .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
        .output()
        .await
        .expect("the command runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("an exit code"), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_lists_shows_redrives_and_deletes() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..3 {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_dead(&context, 3).await;
    sink.answer("/1", 204, None);
    let (code, listed) = dlq(&router, &["ls", "-o", "json", "--since", "1h"]).await;
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((code, listed.len()), (0, 3));
    let (code, table) = dlq(&router, &["ls", "--limit", "1"]).await;
    assert_eq!((code, table.lines().count()), (0, 2), "{table}");
    let letter = id(letter_of(&listed, "event-0"));
    let (_, body) = dlq(&router, &["show", letter, "--body"]).await;
    assert_eq!(body, issue_event(0, "XXX").to_string());
    let (_, shown) = dlq(&router, &["show", letter]).await;
    assert!(shown.contains("rejected_404"), "{shown}");

    let wanted = ["redrive", "--installation", "inst-1", "--dry-run"];
    let (code, planned) = dlq(&router, &wanted).await;
    assert!(code == 0 && planned.contains("matched 3"), "{planned}");
    assert_eq!(dlq(&router, &["redrive"]).await.0, 2, "nothing is selected");
    let (code, removed) = dlq(&router, &["rm", id(&listed[0])]).await;
    assert!(code == 0 && removed.contains("deleted"), "{removed}");
    let (code, done) = dlq(&router, &["redrive", "--all", "--rate", "100", "-o", "json"]).await;
    let done: Value = serde_json::from_str(&done).expect("JSON");
    assert_eq!((code, &done["state"], &done["counts"]["parked"]), (0, &json!("done"), &json!(2)));
    until_dead(&context, 0).await;
    let (code, jobs) = dlq(&router, &["jobs", "-o", "json"]).await;
    assert_eq!((code, serde_json::from_str::<Vec<Value>>(&jobs).expect("JSON").len()), (0, 2));
    assert_eq!(dlq(&router, &["show", "1-1"]).await.0, 4);
    router.kill().await;
}
