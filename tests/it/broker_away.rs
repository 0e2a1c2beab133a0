//! Every call of an operator or an app is answered within five seconds while the broker is frozen or stopped, and served
//! again when it is back.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use switchyard::clock;

use crate::support::raw::{exchange, status};
use crate::support::{ADMIN_TOKEN, NatsServer, RouterProcess, Setup, WAIT_MAX, eventually};

/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const EVENT: &str = "/admin/v1/events?cloudId=site-1&type=avi:jira:created:issue";
const SUBSCRIPTION: &str = "/admin/v1/subscriptions/acme%2Fknown";
const MODULES: &str = "/forge/installation/v2/dynamic/module";

/// Calls that must wait for the broker, or could: whether an answer without it is right.
fn calls() -> Vec<(&'static str, String, Value, bool)> {
    let trigger = json!({"type": "trigger", "data": {"function": "main", "events": ["avi:jira:created:issue"]}});
    let app = json!({"kind": "forge", "functions": ["main", "other"]});
    let installation = json!({"app": "auto-assign", "cloudId": "site-1", "product": "jira"});
    let backtest = json!({"expression": "true", "installation": "acme", "since": "1h"});
    let replay = json!({"installation": "acme", "from": "1h", "mode": "failed"});
    let of = |path: &str| path.to_owned();
    vec![
        ("POST", of(EVENT), json!({"issue": {"key": "A-1"}}), false),
        ("GET", of("/admin/v1/apps"), Value::Null, true),
        ("PUT", of("/admin/v1/apps/auto-assign"), app, false),
        ("DELETE", of("/admin/v1/apps/other"), Value::Null, false),
        ("PUT", of("/admin/v1/installations/acme"), installation, true),
        ("POST", of("/admin/v1/installations/spare/token"), Value::Null, false),
        ("GET", of("/admin/v1/installations/acme"), Value::Null, true),
        ("DELETE", of("/admin/v1/installations/spare"), Value::Null, false),
        ("GET", of("/admin/v1/subscriptions"), Value::Null, true),
        ("POST", format!("{SUBSCRIPTION}/pause"), json!({}), false),
        ("GET", format!("{SUBSCRIPTION}/revisions"), Value::Null, false),
        ("PUT", format!("{SUBSCRIPTION}/shadow"), json!({"filter": {"expression": "true"}}), false),
        ("GET", of("/admin/v1/deliveries"), Value::Null, false),
        ("GET", of("/admin/v1/events/1"), Value::Null, false),
        ("GET", of("/admin/v1/dlq"), Value::Null, false),
        ("POST", of("/admin/v1/dlq/redrive"), json!({"query": {}}), false),
        ("POST", of("/admin/v1/replays"), replay, false),
        ("GET", of("/admin/v1/replays"), Value::Null, false),
        ("POST", of("/admin/v1/erasures"), json!({"site": "site-1"}), false),
        ("GET", of("/admin/v1/account"), Value::Null, false),
        ("GET", of("/admin/v1/account/ledger"), Value::Null, false),
        ("POST", of("/admin/v1/explain"), json!({"installation": "acme", "since": "1h"}), false),
        ("POST", of("/admin/v1/filters:backtest"), backtest, false),
        ("POST", of("/admin/v1/filters:check"), json!({"expression": "true"}), true),
        ("GET", of("/admin/v1/sites/site-1/unmapped"), Value::Null, false),
        ("POST", of("/admin/v1/signing-keys"), json!({}), false),
        ("POST", of("/admin/v1/encryption"), json!({}), true),
        ("GET", of("/admin/v1/problems"), Value::Null, true),
        ("GET", of("/admin/v1/doctor"), Value::Null, true),
        ("GET", of("/admin/v1/repeats"), Value::Null, true),
        ("GET", of(MODULES), Value::Null, true),
        ("POST", of(MODULES), trigger, false),
    ]
}

/// Creates what the calls name, also again; returns the token of the installation when it is new.
async fn provision(router: &RouterProcess) -> Option<String> {
    let app = json!({"kind": "forge", "functions": ["main"]});
    router.put("/admin/v1/apps/auto-assign", app.clone()).await;
    router.put("/admin/v1/apps/other", app).await;
    let installation = json!({"app": "auto-assign", "cloudId": "site-1", "product": "jira"});
    router.put("/admin/v1/installations/spare", installation.clone()).await;
    let answer = router.put("/admin/v1/installations/acme", installation).await;
    let module = json!({"type": "trigger",
        "data": {"function": "main", "events": ["avi:jira:created:issue"]}});
    router.put("/admin/v1/installations/acme/modules/known", module).await;
    answer["token"].as_str().map(str::to_owned)
}

/// Sends a request; returns the response and how long it took.
async fn timed(port: u16, head: &str, body: &str) -> (String, Duration) {
    let started = clock::tick();
    let response = exchange(port, head, body).await;
    (response, clock::since(started))
}

async fn call(port: u16, (method, path, body, is_served): &(&str, String, Value, bool), app: &str) {
    let token = if path.starts_with("/admin") { ADMIN_TOKEN } else { app };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json"
    );
    let (response, took) = timed(port, &head, &body).await;
    assert!(took < ANSWER_MAX, "{method} {path}: {took:?}\n{response}");
    let is_unavailable = status(&response) == 503;
    if *is_served && !is_unavailable {
        return;
    }
    assert!(is_unavailable, "{method} {path}: {response}");
    assert!(response.contains("\"code\":\"SY-5"), "{method} {path}: {response}");
}

async fn check_all(port: u16, app: &str) {
    let calls = calls();
    // All at once, so that also those that wait for each other are answered in time.
    let all = join_all(calls.iter().map(|one| call(port, one, app)));
    let lines = |count: usize| -> String {
        let line = |number| {
            json!({"headers": {"ce-id": format!("e{number}"), "ce-cloudid": "site-1",
                "ce-type": "avi:jira:created:issue"}, "data": {"issue": {"key": "A-1"}}})
        };
        (0..count).map(|number| format!("{}\n", line(number))).collect()
    };
    let head = |accept: &str, path: &str| {
        format!(
            "{path} HTTP/1.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
             Content-Type: application/x-ndjson{accept}"
        )
    };
    let file = async {
        let (response, took) = timed(port, &head("", "POST /admin/v1/events"), &lines(5_000)).await;
        assert!(took < ANSWER_MAX, "{took:?}");
        assert_eq!(status(&response), 503, "{response}");
        assert!(response.to_lowercase().contains("retry-after: 5"), "{response}");
        assert!(response.contains("SY-5011"), "{response}");
    };
    let progress = async {
        let head = head("\r\nAccept: application/x-ndjson", "GET /admin/v1/account");
        let (response, took) = timed(port, &head, "").await;
        assert!(took < ANSWER_MAX, "{took:?}");
        assert!(response.contains("\"status\":503"), "{response}");
    };
    tokio::join!(all, file, progress);
}

async fn until_stored(router: &RouterProcess) {
    eventually(WAIT_MAX, "events are stored again", || async {
        let event = json!({"issue": {"key": "A-1"}});
        router.api.send(hyper::Method::POST, EVENT, &[], &event).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_answered_within_five_seconds_without_the_broker() {
    let mut nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = provision(&router).await.expect("a token");
    until_stored(&router).await;

    nats.freeze();
    check_all(setup.port, &app).await;
    // And when the connections are known to be lost.
    tokio::time::sleep(Duration::from_secs(12)).await;
    check_all(setup.port, &app).await;
    nats.thaw();
    until_stored(&router).await;

    // What was sent to the frozen broker may have been done.
    provision(&router).await;
    nats.kill();
    check_all(setup.port, &app).await;
    nats.kill_and_restart().await;
    until_stored(&router).await;
    let problems = router.get("/admin/v1/problems").await.unwrap();
    assert!(problems["items"].is_array(), "{problems}");
}
