//! Replays: stored events matched again and delivered again, over kills of the router.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::clock;
use switchyard::domain::{DeliveryId, SubscriptionId};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";

pub(super) fn setup(nats: &NatsServer) -> Setup {
    Setup::new(&nats.url(), nats.folder().join("router"))
}

/// Provisions the installation `inst-<number>` at `site-<number>`, whose handler is `/<number>`; returns
/// the subscription of a trigger for events of a project.
pub(super) async fn provision(
    router: &RouterProcess,
    sink: &Sink,
    number: u32,
    project: &str,
) -> String {
    let (app, installation) = (format!("app-{number}"), format!("inst-{number}"));
    let (site, path) = (format!("site-{number}"), format!("/{number}"));
    let app = router.provision(&app, &installation, &site, &sink.url(&path)).await;
    format!("{installation}/{}", register(&app, trigger(project)).await)
}

pub(super) fn trigger(project: &str) -> Value {
    let expression = format!("event.issue.fields.project.key == '{project}'");
    json!({ "endpoint": "hook", "events": [EVENT_TYPE], "filter": { "expression": expression } })
}

pub(super) async fn post(router: &RouterProcess, path: &str, body: Value) -> anyhow::Result<Value> {
    router.api.send(Method::POST, &format!("/admin/v1{path}"), &[], &body).await
}

pub(super) async fn replay(router: &RouterProcess, body: Value) -> Value {
    post(router, "/replays", body).await.expect("the replay is accepted")
}

pub(super) fn id(of: &Value) -> &str {
    of["id"].as_str().expect("an id")
}

pub(super) async fn job(router: &RouterProcess, id: &str) -> Value {
    router.get(&format!("/admin/v1/replays/{id}")).await.expect("the job")
}

/// Waits until a job is done and all that it handed over is accounted for.
pub(super) async fn until_done(router: &RouterProcess, id: &str) -> Value {
    eventually(WAIT_MAX, "the replay is done", || async {
        let job = router.get(&format!("/admin/v1/replays/{id}")).await.ok()?;
        (job["state"] == "done" && job["pending"] == 0).then_some(job)
    })
    .await
}

async fn messages(context: &jetstream::Context, stream: &str) -> u64 {
    let stream = context.get_stream(stream).await.expect("the stream");
    stream.cached_info().state.messages
}

/// Waits until a stream has so many messages.
async fn until_stored(context: &jetstream::Context, stream: &str, wanted: u64) {
    eventually(WAIT_MAX, &format!("{stream} has {wanted} messages"), || async {
        (messages(context, stream).await == wanted).then_some(())
    })
    .await;
}

/// Waits until every event is acknowledged.
pub(super) async fn until_settled(context: &jetstream::Context) {
    eventually(WAIT_MAX, "every event is acknowledged", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let router: jetstream::consumer::PullConsumer = stream.get_consumer("router").await.ok()?;
        let info = router.cached_info();
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

pub(super) fn ids(sink: &Sink, path: &str) -> Vec<String> {
    let received = sink.received_at(path);
    received.iter().map(|one| one.header("webhook-id").to_owned()).collect()
}

pub(super) fn unique(ids: &[String]) -> BTreeSet<&String> {
    ids.iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_after_an_outage_delivers_exactly_the_missing_ones() {
    const EACH: u64 = 20;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let subscription = provision(&router, &sink, 1, "XXX").await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..EACH {
        publish(&broker, "site-1", number, "XXX").await;
        publish(&broker, "site-1", 1_000 + number, "YYY").await;
    }
    until_settled(&context).await;
    assert_eq!(sink.count() as u64, EACH, "before the outage");
    sink.answer("/1", 404, None);
    for number in EACH..2 * EACH {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_stored(&context, "SW_DLQ", EACH).await;
    until_settled(&context).await;
    let failed = ids(&sink, "/1").split_off(usize::try_from(EACH).unwrap());
    sink.answer("/1", 204, None);
    for number in 2 * EACH..3 * EACH {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_settled(&context).await;
    let before = sink.count();

    let wanted = json!({ "subscription": subscription, "from": "1h", "mode": "missing" });
    let mut dry = wanted.clone();
    dry["dryRun"] = json!(true);
    let planned = replay(&router, dry).await;
    assert_eq!((&planned["state"], sink.count()), (&json!("planned"), before));
    assert_eq!(planned["request"]["planComplete"], true);
    assert_eq!(planned["counts"]["parked"], EACH);
    assert_eq!(planned["counts"]["skipped_delivered"], 2 * EACH);
    assert_eq!(planned["counts"]["matched"], 3 * EACH);
    assert_eq!(planned["counts"]["events"], 4 * EACH);
    assert_eq!(planned["retained"]["firstSequence"], 1);

    let started = replay(&router, wanted.clone()).await;
    let done = until_done(&router, id(&started)).await;
    assert_eq!(done["counts"], planned["counts"], "a dry run counts what is done");
    assert_eq!(done["outcomes"], json!({ "delivered": EACH }));
    let replayed = sink.received_at("/1").split_off(before);
    let replayed_ids: Vec<_> = replayed.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(replayed.len() as u64, EACH, "0 twice");
    let expected: BTreeSet<_> = failed.iter().map(String::as_str).collect();
    assert_eq!(replayed_ids.into_iter().collect::<BTreeSet<_>>(), expected, "0 left out");
    for one in &replayed {
        assert_eq!(one.header("switchyard-replay"), id(&started));
        assert_eq!(one.header("switchyard-attempt"), "1");
    }
    // Their letters left with them, as those of a redrive do.
    until_stored(&context, "SW_DLQ", 0).await;
    let metric = router.metric(r#"switchyard_replay_deliveries_total{result="delivered"}"#).await;
    assert!((metric - 20.0).abs() < 0.1, "{metric}");

    // Nothing is missing any more.
    let again = replay(&router, wanted).await;
    let done = until_done(&router, id(&again)).await;
    assert_eq!(done["counts"].get("parked"), None);
    assert_eq!(done["counts"]["skipped_delivered"], 3 * EACH);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_after_a_filter_is_fixed_delivers_what_never_matched() {
    const EACH: u64 = 30;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    // The filter names another project.
    let app = router.provision("app-1", "inst-1", "site-1", &sink.url("/1")).await;
    let key = register(&app, trigger("WRONG")).await;
    let other = provision(&router, &sink, 2, "XXX").await;
    for number in 0..EACH {
        publish(&broker, "site-1", number, "XXX").await;
        publish(&broker, "site-2", number, "XXX").await;
        publish(&broker, "site-1", 1_000 + number, "WRONG").await;
    }
    until_settled(&context).await;
    assert_eq!(sink.received_at("/1").len() as u64, EACH);
    let path = format!("/forge/installation/v2/dynamic/module/{key}");
    let fixed = json!({ "type": "trigger", "data": trigger("XXX") });
    app.send(Method::PUT, &path, &[], &fixed).await.expect("the filter is fixed");
    let before = sink.received_at("/1").len();

    // A further filter, and the window in sequences.
    let last = messages(&context, "SW_EVENTS").await;
    let filter = "event.issue.key == 'XXX-3' || event.issue.key == 'XXX-4'";
    let some = replay(
        &router,
        json!({ "installation": "inst-1", "sequences": { "from": 1, "to": last }, "mode": "missing",
            "filter": filter }),
    )
    .await;
    let done = until_done(&router, id(&some)).await;
    assert_eq!(done["outcomes"], json!({ "delivered": 2 }));
    assert_eq!(sink.received_at("/1").len(), before + 2);

    let all =
        replay(&router, json!({ "installation": "inst-1", "from": "2h", "mode": "missing" })).await;
    let done = until_done(&router, id(&all)).await;
    assert_eq!(done["outcomes"], json!({ "delivered": EACH - 2 }));
    let received = ids(&sink, "/1");
    assert_eq!(received.len() as u64, 2 * EACH, "0 twice, 0 left out");
    assert_eq!(unique(&received).len(), received.len());
    assert_eq!(
        sink.received_at("/2").len() as u64,
        EACH,
        "the other site has nothing to do with it"
    );
    let logged = format!("/admin/v1/deliveries/{}", received[received.len() - 1]);
    let logged = router.get(&logged).await.unwrap().to_string();
    assert!(logged.contains(id(&all)), "the log names the replay: {logged}");

    // All: each once more, under the same ids.
    let all = replay(&router, json!({ "subscription": other, "from": "2h", "mode": "all" })).await;
    until_done(&router, id(&all)).await;
    let received = ids(&sink, "/2");
    assert_eq!((received.len() as u64, unique(&received).len() as u64), (2 * EACH, EACH));
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_survives_kills_and_leaves_nothing_out() {
    const EVENTS: u64 = 200;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = setup(&nats).with("SWITCHYARD_EVENTS__ACK_WAIT_S", 5);
    let mut router = setup.start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..EVENTS {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_settled(&context).await;
    provision(&router, &sink, 1, "XXX").await;
    assert_eq!(sink.count(), 0, "no subscription existed");
    let body = json!({ "installation": "inst-1", "from": "1h", "mode": "missing", "rate": 40 });
    let created = replay(&router, body).await;
    for part in [40, 110] {
        eventually(WAIT_MAX, "events are replayed", || async {
            (sink.count() >= part).then_some(())
        })
        .await;
        router.kill().await;
        router = setup.start().await;
    }
    eventually(WAIT_MAX, "the job is done and nothing waits", || async {
        let done = job(&router, id(&created)).await["state"] == "done";
        (done && messages(&context, "SW_PARKED").await == 0).then_some(())
    })
    .await;
    let received = ids(&sink, "/1");
    let repeats = received.len() - unique(&received).len();
    eprintln!("{EVENTS} events replayed over 2 kills, {repeats} repeats");
    assert_eq!(unique(&received).len() as u64, EVENTS, "0 left out, repeats have the same id");
    assert_eq!(job(&router, id(&created)).await["counts"]["parked"], EVENTS);
    let again =
        replay(&router, json!({ "installation": "inst-1", "from": "1h", "mode": "missing" })).await;
    let done = until_done(&router, id(&again)).await;
    assert_eq!(done["counts"]["skipped_delivered"], EVENTS, "the log knows all of them");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_replay_hands_over_no_more_and_a_cancelled_one_says_what_is_left() {
    const EVENTS: u64 = 100;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..EVENTS {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_settled(&context).await;
    provision(&router, &sink, 1, "XXX").await;
    let body = json!({ "installation": "inst-1", "from": "1h", "mode": "missing", "rate": 1 });
    let created = replay(&router, body).await;
    let change = async |action: &str| {
        post(&router, &format!("/replays/{}/{action}", id(&created)), json!({})).await
    };
    let parked = |job: &Value| job["counts"]["parked"].as_u64().unwrap_or(0);
    eventually(WAIT_MAX, "the first event is replayed", || async {
        (sink.count() > 0).then_some(())
    })
    .await;
    assert_eq!(change("pause").await.unwrap()["state"], "paused");
    let paused = eventually(WAIT_MAX, "what was handed over is delivered", || async {
        let job = job(&router, id(&created)).await;
        (job["pending"] == 0 && job["outcomes"]["delivered"].as_u64() == Some(parked(&job)))
            .then_some(job)
    })
    .await;
    // One delivery a second: all of them within the time of this test would be another rate.
    assert!(parked(&paused) < EVENTS);
    assert_eq!(change("resume").await.unwrap()["state"], "running");
    eventually(WAIT_MAX, "one more is replayed", || async {
        (parked(&job(&router, id(&created)).await) > parked(&paused)).then_some(())
    })
    .await;
    let cancelled = change("cancel").await.unwrap();
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["pending"].is_u64(), "{cancelled}");
    assert!(change("resume").await.is_err());
    let rest = eventually(WAIT_MAX, "nothing waits", || async {
        let job = job(&router, id(&created)).await;
        (job["pending"] == 0 && messages(&context, "SW_PARKED").await == 0).then_some(job)
    })
    .await;
    assert_eq!(sink.count() as u64, parked(&rest), "nothing else was left behind");
    let jobs = router.get("/admin/v1/replays").await.unwrap();
    assert_eq!(jobs["items"][0]["id"], created["id"]);
    assert!(router.get("/admin/v1/dlq/redrives").await.unwrap()["items"][0].is_null());
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_that_waits_is_not_replayed_and_failed_ones_are() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "3600").start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    provision(&router, &sink, 1, "XXX").await;
    sink.answer("/1", 503, None);
    publish(&broker, "site-1", 1, "XXX").await;
    until_stored(&context, "SW_PARKED", 1).await;
    sink.answer("/1", 404, None);
    publish(&broker, "site-1", 2, "XXX").await;
    until_stored(&context, "SW_DLQ", 1).await;
    until_settled(&context).await;
    sink.answer("/1", 204, None);
    for (mode, outcomes) in [("failed", json!({ "delivered": 1 })), ("missing", json!({}))] {
        let started =
            replay(&router, json!({ "installation": "inst-1", "from": "1h", "mode": mode })).await;
        let done = until_done(&router, id(&started)).await;
        assert_eq!(done["outcomes"], outcomes, "{mode}");
        assert_eq!(done["counts"]["skipped_pending"], 1, "{mode}");
        assert_eq!(messages(&context, "SW_PARKED").await, 1, "its record is the one it had");
    }
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_gets_the_events_and_the_subscription_keeps_its_log() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    let subscription = provision(&router, &sink, 1, "XXX").await;
    sink.answer("/1", 404, None);
    for number in 0..3 {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_stored(&context, "SW_DLQ", 3).await;
    until_settled(&context).await;
    let to = |path: &str| {
        json!({ "subscription": subscription, "from": "1h", "mode": "all",
            "target": { "url": sink.url(path) } })
    };
    let started = replay(&router, to("/elsewhere")).await;
    let done = until_done(&router, id(&started)).await;
    assert_eq!(done["outcomes"], json!({ "delivered": 3 }));
    let sent = sink.received_at("/elsewhere");
    assert_eq!(sent.len(), 3);
    assert!(sent[0].headers.contains_key("webhook-signature"), "signed as for the endpoint");
    let mut keys: Vec<_> = sent.iter().map(|one| one.json()["issue"]["key"].to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["\"XXX-0\"", "\"XXX-1\"", "\"XXX-2\""]);
    let own = ids(&sink, "/1");
    assert!(sent.iter().all(|one| !own.contains(&one.header("webhook-id").to_owned())));
    // A target that fails leaves no letter, and the letters of the subscription stay.
    sink.answer("/gone", 410, None);
    let failing = replay(&router, to("/gone")).await;
    let done = until_done(&router, id(&failing)).await;
    assert_eq!(done["outcomes"], json!({ "dropped": 3 }));
    assert_eq!(messages(&context, "SW_DLQ").await, 3);
    sink.answer("/1", 204, None);
    let wanted = json!({ "subscription": subscription, "from": "1h", "mode": "missing" });
    let missing = replay(&router, wanted).await;
    let done = until_done(&router, id(&missing)).await;
    assert_eq!(done["outcomes"], json!({ "delivered": 3 }), "still missing at their handler");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_replayed_are_refused() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let subscription = provision(&router, &sink, 1, "XXX").await;
    let base = json!({ "subscription": subscription, "from": "1h", "mode": "missing" });
    let with = |changes: Value| {
        let mut body = base.clone();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
                value => body[name] = value.clone(),
            }
        }
        body
    };
    for (changes, text) in [
        (json!({ "mode": "some" }), "unknown variant"),
        (json!({ "mode": null }), "mode"),
        (json!({ "from": null }), "from"),
        (json!({ "from": "soon" }), "RFC 3339"),
        (json!({ "to": "2h" }), "ends before it begins"),
        (json!({ "sequences": { "from": 1, "to": 2 } }), "sequences"),
        (json!({ "installation": "inst-1" }), "either"),
        (json!({ "subscription": null }), "either"),
        (json!({ "subscription": "inst-1/unknown" }), "has no module `unknown`"),
        (json!({ "subscription": "inst-9/k" }), "no installation `inst-9`"),
        (json!({ "site": "site-2" }), "site"),
        (json!({ "rate": 0 }), "rate"),
        (json!({ "filter": "event.issue.key ==" }), "expected an expression"),
        (json!({ "target": { "url": "ftp://a.example/" } }), "https"),
        (json!({ "target": { "url": "http://169.254.169.254/" } }), "target.url"),
        (json!({ "target": { "url": "https://u:p@a.example/" } }), "user name"),
    ] {
        let refused = post(&router, "/replays", with(changes.clone())).await.unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("422"), "{changes}: {refused}");
        assert!(refused.contains(text), "{changes}: {refused}");
    }
    for missing in ["/replays/job_unknown/pause", "/replays/x/cancel"] {
        let refused = post(&router, missing, json!({})).await.unwrap_err();
        assert!(refused.to_string().contains("404"), "{refused}");
    }
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_are_started_and_shown_from_a_shell() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, "XXX").await;
    until_settled(&context).await;
    let subscription = provision(&router, &sink, 1, "XXX").await;
    let run = async |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .args(["replay", "--server", router.api.base()])
            .args(args)
            .output()
            .await
            .expect("the program runs");
        let stdout = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let start = ["start", "--subscription", &subscription, "--from", "1h", "--mode", "missing"];
    let (code, stdout, stderr) = run(&[&start[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("planned") && stdout.contains("parked 1"), "{stdout}");
    assert!(stdout.contains("switchyard replay resume job_"), "{stdout}");
    let planned = stdout.split_whitespace().next().unwrap().to_owned();
    assert_eq!(sink.count(), 0);
    assert_eq!(run(&["resume", &planned]).await.0, Some(0));
    until_done(&router, &planned).await;
    assert_eq!(sink.count(), 1);
    let (_, stdout, _) = run(&["show", &planned, "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&shown["state"], &shown["kind"]), (&json!("done"), &json!("replay")));
    let (_, stdout, _) = run(&["ls", "-o", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()[0]["id"], json!(planned));
    assert_eq!(
        run(&["start", "--mode", "all"]).await.0,
        Some(4),
        "the router says what is missing"
    );
    let (code, _, _) = run(&["start", "--mode", "all", "--sequences", "a..b"]).await;
    assert_eq!(code, Some(2));
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_replayed_by_the_filter_of_an_earlier_time() {
    const EACH: u64 = 5;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (app, handler) = (("app-1", "inst-1"), sink.url("/1"));
    router.provision(app.0, app.1, "site-1", &handler).await;
    let put = async |project: &str| {
        let body = json!({ "type": "trigger", "data": trigger(project) });
        router.put("/admin/v1/installations/inst-1/modules/k", body).await;
    };
    put("XXX").await;
    let (broker, context) = (nats.client().await, nats.context().await);
    let before = clock::now();
    // The times of revisions and of this test are of one machine, in milliseconds.
    tokio::time::sleep(Duration::from_millis(20)).await;
    put("YYY").await;
    for number in 0..EACH {
        publish(&broker, "site-1", number, "XXX").await;
        publish(&broker, "site-1", 100 + number, "YYY").await;
    }
    until_settled(&context).await;
    assert_eq!(sink.count() as u64, EACH, "by the filter of now");

    let wanted = json!({ "subscription": "inst-1/k", "from": "1h", "mode": "missing",
        "asOf": before.to_string() });
    let started = replay(&router, wanted).await;
    assert_eq!(started["request"]["asOfMs"], before.as_millisecond(), "{started}");
    let done = until_done(&router, id(&started)).await;
    assert_eq!(done["outcomes"], json!({ "delivered": EACH }), "{done}");
    let subscription = SubscriptionId::parse("inst-1/k").expect("a subscription");
    let expected: BTreeSet<String> = (0..EACH)
        .map(|number| {
            let event = format!("event-{number}").as_str().into();
            DeliveryId::derive(&"site-1".into(), &event, &subscription).to_string()
        })
        .collect();
    let delivered: BTreeSet<String> =
        ids(&sink, "/1").split_off(usize::try_from(EACH).unwrap()).into_iter().collect();
    assert_eq!(delivered, expected);

    let early = json!({ "subscription": "inst-1/k", "from": "1h", "mode": "all", "asOf": "3h" });
    let refused = post(&router, "/replays", early).await.expect_err("it did not exist");
    assert!(format!("{refused:#}").contains("asOf"), "{refused:#}");
    router.kill().await;
}
