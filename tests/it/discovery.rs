//! Pull discovery: the request to the app, how often it is sent, and how its response is used.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use switchyard::delivery::sign;
use switchyard::domain::Secret;
use tokio::task::JoinSet;

use crate::support::{
    NatsServer, Received, RouterProcess, SECRET, Setup, Sink, WAIT_MAX, eventually, publish,
};

const MODULES: &str = "/forge/installation/v2/dynamic/module";
const KNOWN: &str = "/admin/v1/installations/inst-1/discovery";
const REFRESH: &str = "/admin/v1/installations/inst-1/discovery/refresh";
const PATIENCE: Duration = WAIT_MAX;

/// Provisions an app with its discovery endpoint at `/modules` and notices at `/notices`.
async fn provision(router: &RouterProcess, sink: &Sink) -> ApiClient {
    let app = json!({"kind": "forge", "endpoints": [{"key": "hook", "url": sink.url("/hook")}],
        "staticModules": {"trigger": [trigger("own", "true")["data"]]},
        "discovery": {"use": ["trigger"], "url": sink.url("/modules"), "secret": SECRET},
        "notices": {"url": sink.url("/notices"), "secret": SECRET}});
    router.put("/admin/v1/apps/app-1", app).await;
    let body = json!({"app": "app-1", "cloudId": "site-1", "product": "jira"});
    let answer = router.put("/admin/v1/installations/inst-1", body).await;
    router.api.with_token(answer["token"].as_str().expect("a token"))
}

fn trigger(key: &str, filter: &str) -> Value {
    json!({"key": key, "type": "trigger", "data": {"key": key, "endpoint": "hook",
        "events": ["avi:jira:updated:issue"], "filter": {"expression": filter}}})
}

fn assert_signed(received: &Received) {
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let secret = Secret::new(SECRET);
    let signature = sign(&secret, id, at.parse().expect("seconds"), &received.body);
    assert_eq!(received.header("webhook-signature"), signature.expect("a signature"));
}

async fn known(router: &RouterProcess, wanted: impl Fn(&Value) -> bool) -> Value {
    let wanted = &wanted;
    eventually(PATIENCE, "the discovery status is as expected", || async move {
        router.get(KNOWN).await.ok().filter(|known| wanted(known))
    })
    .await
}

async fn refresh(router: &RouterProcess) -> Value {
    router.api.send(Method::POST, REFRESH, &[], &Value::Null).await.expect("asked")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_is_asked_once_for_many_events_replicas_and_callers() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    let (first, second) = tokio::join!(one.start(), other.start());
    let offered = json!({"modules": [trigger("ops", "event.issue.fields.project.key == 'OPS'")]});
    sink.answer_with("/modules", offered);
    provision(&first, &sink).await;
    for router in [&first, &second] {
        known(router, |known| known["modules"] == json!(["ops"])).await;
    }
    let question = sink.received_at("/modules").remove(0);
    let asked = json!({"installationId": "inst-1", "cloudId": "site-1", "product": "jira"});
    assert_eq!(question.json(), asked);
    assert_signed(&question);

    let broker = nats.client().await;
    for number in 0..200 {
        publish(&broker, "site-1", number, "OPS").await;
    }
    // Each event matches the app's static trigger and the discovered one.
    eventually(PATIENCE, "all events are delivered", || async {
        (sink.received_at("/hook").len() >= 400).then_some(())
    })
    .await;
    assert_eq!(sink.received_at("/modules").len(), 1, "a cached response is not requested again");

    // While one replica asks, no other does.
    sink.hold("/modules");
    let asking = first.api.clone();
    let slow = tokio::spawn(async move {
        asking.send(Method::POST, REFRESH, &[], &Value::Null).await.expect("asked")
    });
    eventually(PATIENCE, "the app is asked again", || async {
        (sink.received_at("/modules").len() == 2).then_some(())
    })
    .await;
    let mut callers = JoinSet::new();
    for number in 0..50 {
        let api = if number % 2 == 0 { first.api.clone() } else { second.api.clone() };
        callers.spawn(async move { api.send(Method::POST, REFRESH, &[], &Value::Null).await });
    }
    while let Some(answered) = callers.join_next().await {
        let answer = answered.expect("no panic").expect("an answer");
        assert_eq!(answer["modules"], json!(["ops"]), "the known modules are returned");
    }
    assert_eq!(sink.received_at("/modules").len(), 2);
    sink.release("/modules");
    assert_eq!(slow.await.expect("no panic")["modules"], json!(["ops"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_module_that_the_rfc_ignores_is_reported_with_its_reason() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let mut undeclared = trigger("panel", "true");
    undeclared["type"] = json!("jira:issuePanel");
    let offered = json!({"modules": [
        trigger("good", "event.issue.fields.project.key == 'OPS'"), trigger("own", "true"),
        trigger("twin", "true"), trigger("twin", "false"), undeclared,
        trigger("broken", "event.issue.key ="), {"key": 7}, "nothing"]});
    sink.answer_with("/modules", &offered);
    let app = provision(&router, &sink).await;
    let seen = known(&router, |known| known["modules"] == json!(["good"])).await;
    let rules = |known: &Value| {
        let ignored = known["ignored"].as_array().expect("a list").clone();
        let rule = |one: Value| (one["key"].clone(), one["rule"].clone());
        let mut rules: Vec<_> = ignored.into_iter().map(rule).collect();
        rules.sort_by_key(|(key, rule)| format!("{key}{rule}"));
        Value::from_iter(rules.into_iter().map(|(key, rule)| json!([key, rule])))
    };
    assert_eq!(
        rules(&seen),
        json!([
            ["broken", "invalid"],
            ["own", "static_key"],
            ["panel", "undeclared"],
            ["twin", "duplicate_key"],
            ["twin", "duplicate_key"],
            [null, "invalid"],
            [null, "invalid"]
        ])
    );
    let notice = eventually(PATIENCE, "the app is notified", || async {
        sink.received_at("/notices").first().cloned()
    })
    .await;
    assert_signed(&notice);
    assert_eq!(notice.json()["type"], "switchyard.discovery.ignored");
    assert_eq!(notice.json()["data"]["ignored"], seen["ignored"]);

    // The app can read discovered modules, but can change them only by another discovery.
    let listed = app.send(Method::GET, MODULES, &[], &Value::Null).await.expect("a list");
    assert_eq!(listed["result"][0]["key"], "good");
    let deletion = app.send(Method::DELETE, &format!("{MODULES}/good"), &[], &Value::Null).await;
    assert!(deletion.unwrap_err().to_string().contains("422"));

    // Too many modules, an invalid response or a failure leave the known modules as they were.
    let many: Vec<_> = (0..101).map(|n| trigger(&format!("m{n}"), "true")).collect();
    sink.answer_with("/modules", json!({"modules": many}));
    let seen = refresh(&router).await;
    assert_eq!(seen["modules"], json!(["good"]));
    assert_eq!(seen["ignored"].as_array().map(Vec::len), Some(101));
    assert_eq!(seen["ignored"][100]["rule"], "too_many");
    sink.answer_with("/modules", "[]");
    let seen = refresh(&router).await;
    assert!(seen["error"].as_str().expect("why").contains("modules"), "{seen}");
    sink.answer("/modules", 500, None);
    let seen = refresh(&router).await;
    assert_eq!((&seen["error"], &seen["failures"]), (&json!("status 500"), &json!(3)));
    assert_eq!(seen["modules"], json!(["good"]));

    // A valid response replaces all modules; an unchanged one keeps its revision.
    let kept = trigger("good", "event.issue.fields.project.key == 'OPS'");
    sink.answer_with("/modules", json!({"modules": [trigger("new", "true"), kept]}));
    let seen = app.send(Method::POST, &format!("{MODULES}:refresh"), &[], &Value::Null).await;
    let seen = seen.expect("asked");
    assert_eq!((&seen["modules"], &seen["ignored"]), (&json!(["good", "new"]), &json!([])));
    assert!(seen.get("error").is_none());
    let good = router.get("/admin/v1/subscriptions/inst-1%2Fgood").await.expect("a subscription");
    assert_eq!((&good["revision"], &good["door"]), (&json!(1), &json!("discovery")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_is_asked_again_when_its_response_expires_or_its_version_changes() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_REGISTRY__DISCOVERY_LIFE_S", "1");
    let router = setup.start().await;
    sink.answer_with("/modules", json!({"modules": [trigger("a", "true")]}));
    provision(&router, &sink).await;
    known(&router, |known| known["modules"] == json!(["a"])).await;
    sink.answer_with("/modules", json!({"modules": [trigger("b", "true")]}));
    known(&router, |known| known["modules"] == json!(["b"])).await;
    drop(router);

    let mut lasting = Setup::new(&nats.url(), nats.folder().join("lasting"));
    let router = lasting.start().await;
    refresh(&router).await;
    sink.answer_with("/modules", json!({"modules": [trigger("c", "true")]}));
    let version = json!({"kind": "forge", "version": "2",
        "endpoints": [{"key": "hook", "url": sink.url("/hook")}],
        "discovery": {"use": ["trigger"], "url": sink.url("/modules")}});
    router.put("/admin/v1/apps/app-1", version).await;
    known(&router, |known| known["modules"] == json!(["c"])).await;
    // A version without discovery removes all discovered modules.
    let version =
        json!({"kind": "forge", "endpoints": [{"key": "hook", "url": sink.url("/hook")}]});
    router.put("/admin/v1/apps/app-1", version).await;
    let left = router.get("/admin/v1/subscriptions/inst-1%2Fc").await.expect("a subscription");
    assert_eq!(left["state"], "inactive");
}
