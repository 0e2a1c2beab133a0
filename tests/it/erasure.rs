//! Erasures of accounts and sites: what is removed from every stream, what stays, and what the report says.

use async_nats::jetstream;
use hyper::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, issue_event,
    publish_raw, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// The account that is erased.
const ID: &str = "557058:f58131cb-b67d";
/// Another account, whose id begins with that of the first.
const NEIGHBOUR: &str = "557058:f58131cb-b67d-43c7";
/// All streams that may hold bodies.
const STREAMS: [&str; 4] = ["SW_EVENTS", "SW_PARKED", "SW_DLQ", "SW_ATTEMPTS"];

fn setup(nats: &NatsServer) -> Setup {
    Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__LOG_RESPONSES", "all")
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600")
}

/// Provisions, at a site, an installation for each handler of `paths`.
async fn provision(router: &RouterProcess, sink: &Sink, site: &str, paths: &[&str]) {
    for path in paths {
        let name = format!("{site}{}", path.replace('/', "-"));
        let app = router.provision(&format!("app{name}"), &name, site, &sink.url(path)).await;
        let trigger = json!({ "endpoint": "hook", "events": [EVENT_TYPE] });
        register(&app, trigger).await;
    }
}

/// Publishes an event that names an account, as `text` spells it in JSON.
async fn publish(broker: &async_nats::Client, site: &str, number: u64, text: &str) {
    let mut event = issue_event(number, "XXX");
    event["issue"]["fields"]["assignee"] = json!({ "accountId": "ACCOUNT" });
    let body = event.to_string().replace("ACCOUNT", text).into_bytes();
    publish_raw(broker, site, EVENT_TYPE, &format!("event-{number}"), body).await;
}

async fn erase(router: &RouterProcess, body: Value) -> Value {
    let path = "/admin/v1/erasures";
    router.api.send(Method::POST, path, &[], &body).await.expect("the erasure is accepted")
}

async fn job(router: &RouterProcess, created: &Value) -> Option<Value> {
    let id = created["id"].as_str().expect("an id");
    router.get(&format!("/admin/v1/erasures/{id}")).await.ok()
}

async fn until_done(router: &RouterProcess, created: &Value) -> Value {
    eventually(WAIT_MAX, "the erasure is done", || async {
        job(router, created).await.filter(|job| job["state"] == "done")
    })
    .await
}

/// Returns subjects, headers and bodies of all messages of a stream.
async fn messages(context: &jetstream::Context, stream: &str) -> Vec<String> {
    let stream = context.get_stream(stream).await.expect("the stream");
    let state = stream.cached_info().state.clone();
    let mut all = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let Ok(message) = stream.get_raw_message(sequence).await else { continue };
        let body = String::from_utf8_lossy(&message.payload);
        all.push(format!("{} {:?} {body}", message.subject, message.headers));
    }
    all
}

/// Whether a message names the account, and not only its neighbour.
fn names_account(message: &str) -> bool {
    let spellings = [ID.to_owned(), ID.replace(':', "%3A"), ID.replace("557058", "\\u003557058")];
    spellings.iter().any(|spelling| {
        let longer = format!("{spelling}-43c7");
        message.matches(spelling.as_str()).count() > message.matches(longer.as_str()).count()
    })
}

async fn count(context: &jetstream::Context, stream: &str, is_it: impl Fn(&str) -> bool) -> usize {
    messages(context, stream).await.iter().filter(|message| is_it(message)).count()
}

async fn until(context: &jetstream::Context, stream: &str, wanted: usize) {
    eventually(WAIT_MAX, &format!("{stream} has {wanted} messages"), || async {
        (count(context, stream, |_| true).await == wanted).then_some(())
    })
    .await;
}

/// A router with an event of the account at `site-1` and events of its neighbour there and at `site-2`,
/// each with a parked delivery, a dead letter, and a response of a handler in the log.
async fn world(nats: &NatsServer, sink: &Sink) -> RouterProcess {
    let router = setup(nats).start().await;
    sink.answer("/dead", 404, None);
    sink.answer("/parked", 503, None);
    sink.answer_with("/ok", json!({ "text": format!("assigned to {ID}") }));
    for site in ["site-1", "site-2"] {
        provision(&router, sink, site, &["/dead", "/parked", "/ok"]).await;
    }
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, ID).await;
    publish(&broker, "site-1", 2, &ID.replace("557058", "\\u003557058")).await;
    publish(&broker, "site-1", 3, NEIGHBOUR).await;
    publish(&broker, "site-2", 4, NEIGHBOUR).await;
    let broken = format!("no json {ID} ").into_bytes();
    publish_raw(&broker, "site-1", EVENT_TYPE, "broken", broken).await;
    until(&context, "SW_DLQ", 5).await;
    until(&context, "SW_PARKED", 4).await;
    // Delivered and not delivered, of each event.
    until(&context, "SW_ATTEMPTS", 8).await;
    router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_is_removed_from_every_stream_and_its_neighbour_stays() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = world(&nats, &sink).await;
    let context = nats.context().await;
    let counted = erase(&router, json!({ "accountId": ID, "dryRun": true })).await;
    let counted = until_done(&router, &counted).await;
    assert_eq!(count(&context, "SW_EVENTS", |_| true).await, 5, "a dry run removes nothing");
    assert_eq!(count(&context, "SW_PARKED", |_| true).await, 4);

    let done = until_done(&router, &erase(&router, json!({ "accountId": ID })).await).await;
    for stream in STREAMS {
        assert_eq!(count(&context, stream, names_account).await, 0, "{stream}");
    }
    assert_eq!(count(&context, "SW_EVENTS", |_| true).await, 2);
    assert_eq!(count(&context, "SW_DLQ", |_| true).await, 2);
    assert_eq!(count(&context, "SW_PARKED", |_| true).await, 2);
    for (store, matched) in [("events", 3), ("parked", 2), ("deadLetters", 3)] {
        let report = &done["report"][store];
        assert_eq!(report["matched"], matched, "{store}: {report}");
        assert_eq!(report["removed"], matched, "{store}: {report}");
        assert_eq!(counted["report"][store]["matched"], matched, "{store}: {report}");
    }
    // The handlers of both sites answered each of the four events with the account.
    assert_eq!(done["report"]["log"]["bodyRemoved"], 4, "{done}");
    assert_eq!(done["kept"], 0);
    let text = done.to_string();
    assert!(!text.contains(ID), "{text}");
    assert_eq!(text.matches("accountIdSha256").count(), 1);
    assert_eq!(count(&context, "KV_SW_STATE", |message| message.contains(ID)).await, 0);

    // The account of deliveries closes: two parked ones and two dead ones were removed.
    let removed = router.get("/admin/v1/deliveries?outcome=removed").await.unwrap();
    let mut removed: Vec<(String, String)> = removed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["installation"].to_string(), one["reason"].to_string()))
        .collect();
    removed.sort();
    let expected = |installation: &str| (format!("\"{installation}\""), "\"erased\"".to_owned());
    let (dead, parked) = (expected("site-1-dead"), expected("site-1-parked"));
    assert_eq!(removed, [dead.clone(), dead, parked.clone(), parked]);
    let counts = [("matched", 12), ("delivered", 4), ("removed", 4), ("dead", 2), ("pending", 2)];
    assert_account_closes(&router, &counts).await;
    let in_removed =
        router.metric(r#"switchyard_deliveries_total{outcome="removed",lane="retry"}"#);
    assert!((in_removed.await - 2.0).abs() < 0.1);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn site_is_removed_from_every_stream_and_others_stay() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = world(&nats, &sink).await;
    let context = nats.context().await;
    let mut before = Vec::new();
    for stream in STREAMS {
        before.push(count(&context, stream, |message| message.contains("site-2")).await);
    }
    let done = until_done(&router, &erase(&router, json!({ "site": "site-1" })).await).await;
    for (stream, before) in STREAMS.into_iter().zip(before) {
        let mut left = messages(&context, stream).await;
        // What was removed of the log is said there, for the account.
        left.retain(|one| !one.contains(r#""source":"erasure""#));
        assert!(!left.iter().any(|one| one.contains("site-1")), "{stream}: {left:?}");
        assert_eq!(left.len(), before, "{stream}");
    }
    let report = &done["report"];
    assert_eq!(
        (&report["events"]["removed"], &report["parked"]["removed"]),
        (&json!(4), &json!(3))
    );
    assert_eq!(report["deadLetters"]["removed"], 4);
    // Installations are uninstalled, not erased.
    let kept = report["registry"]["kept"]["registry"].as_u64().unwrap();
    assert!(kept >= 3, "{report}");
    assert!(router.get("/admin/v1/installations/site-1-ok").await.is_ok());
    // The log has nothing of the other site any more.
    let counts = [("matched", 3), ("delivered", 1), ("removed", 0), ("dead", 1), ("pending", 1)];
    assert_account_closes(&router, &counts).await;
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letter_of_another_site_stays_although_its_installation_has_the_name_of_the_site() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    sink.answer("/dead", 404, None);
    let app = router.provision("app-1", "site-1", "site-2", &sink.url("/dead")).await;
    register(&app, json!({ "endpoint": "hook", "events": [EVENT_TYPE] })).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-2", 1, ID).await;
    until(&context, "SW_DLQ", 1).await;
    let done = until_done(&router, &erase(&router, json!({ "site": "site-1" })).await).await;
    assert_eq!(done["report"]["deadLetters"]["read"], 1, "{done}");
    assert_eq!(done["report"]["deadLetters"]["matched"], 0, "{done}");
    assert_eq!(count(&context, "SW_DLQ", |_| true).await, 1);
    let done = until_done(&router, &erase(&router, json!({ "site": "site-2" })).await).await;
    assert_eq!(done["report"]["deadLetters"]["removed"], 1, "{done}");
    assert_eq!(count(&context, "SW_DLQ", |_| true).await, 0);
    router.kill().await;
}

/// What an erasure removed is not missing, and the log is complete although its first records are deleted.
async fn assert_account_closes(router: &RouterProcess, counts: &[(&str, u64)]) {
    let account = router.get("/admin/v1/account").await.unwrap();
    for (name, expected) in counts {
        assert_eq!(account["total"][name], *expected, "{name}: {account:#}");
    }
    assert_eq!(
        (&account["gap"], &account["missingRecords"]),
        (&json!(0), &json!(0)),
        "{account:#}"
    );
    assert_eq!(account["complete"], true, "{account:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_that_is_being_delivered_is_delivered_and_then_removed() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink, "site-1", &["/1"]).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    sink.hold("/1");
    publish(&broker, "site-1", 1, ID).await;
    eventually(WAIT_MAX, "the delivery is attempted", || async {
        (sink.count() == 1).then_some(())
    })
    .await;
    let created = erase(&router, json!({ "accountId": ID })).await;
    let waiting = eventually(WAIT_MAX, "the job waits for the event", || async {
        job(&router, &created).await.filter(|job| !job["reason"].is_null())
    })
    .await;
    assert_eq!(waiting["state"], "running");
    assert_eq!(waiting["report"]["events"]["kept"], json!({ "not_acknowledged": 1 }), "{waiting}");
    assert_eq!(count(&context, "SW_EVENTS", |_| true).await, 1);
    sink.release("/1");
    let done = until_done(&router, &created).await;
    assert_eq!(done["report"]["events"]["removed"], 1, "{done}");
    assert_eq!((count(&context, "SW_EVENTS", |_| true).await, sink.count()), (0, 1));
    assert_eq!(done["kept"], 0);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasure_survives_a_kill_while_events_flow() {
    const EVENTS: u64 = 60;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = setup(&nats);
    let mut router = setup.start().await;
    provision(&router, &sink, "site-1", &["/1"]).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..EVENTS {
        publish(&broker, "site-1", number, ID).await;
    }
    until(&context, "SW_ATTEMPTS", usize::try_from(EVENTS).unwrap()).await;
    let created = erase(&router, json!({ "accountId": ID, "rate": 10 })).await;
    eventually(WAIT_MAX, "some events are removed", || async {
        (count(&context, "SW_EVENTS", |_| true).await < 50).then_some(())
    })
    .await;
    router.kill().await;
    assert!(count(&context, "SW_EVENTS", |_| true).await > 0, "killed in the middle");
    publish(&broker, "site-1", EVENTS, ID).await;
    router = setup.start().await;
    let done = until_done(&router, &created).await;
    let events = &done["report"]["events"];
    assert_eq!((&events["matched"], &events["read"]), (&json!(EVENTS), &json!(EVENTS)), "{done}");
    let number = |name: &str| events[name].as_u64().unwrap();
    assert_eq!(number("removed") + number("left"), EVENTS, "{done}");
    // The one that came after the start of the job.
    assert_eq!(count(&context, "SW_EVENTS", |_| true).await, 1);
    let lost = router.metric("switchyard_input_gap_events_total").await;
    assert!(lost < 0.1, "erased events are no lost ones");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_asks_counts_and_reports() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    provision(&router, &sink, "site-1", &["/1"]).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, ID).await;
    until(&context, "SW_ATTEMPTS", 1).await;
    let run = async |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .arg("erase")
            .args(["--server", router.api.base()])
            .args(args)
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .expect("the command runs");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), text)
    };
    let (code, text) = run(&["--account-id", ID]).await;
    assert_eq!(code, Some(2), "no terminal to confirm on: {text}");
    assert_eq!(run(&[]).await.0, Some(2), "nothing is named");
    let (code, text) = run(&["--account-id", "short", "--yes"]).await;
    assert_eq!(code, Some(4), "{text}");
    let (code, text) = run(&["--account-id", ID, "--dry-run"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("matched 1") && text.contains("not covered: backups"), "{text}");
    assert_eq!(count(&context, "SW_EVENTS", |_| true).await, 1);
    let (code, text) = run(&["--account-id", ID, "--yes", "-o", "json"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(r#""removed":1"#), "{text}");
    assert_eq!(count(&context, "SW_EVENTS", |_| true).await, 0);
    // A document of the registry names the site.
    let (code, text) = run(&["--site", "site-1", "--yes"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("(registry)"), "{text}");
    router.kill().await;
}
