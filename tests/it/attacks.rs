//! Callers who are not who they say: every one gets the same answer, and nothing changes.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use switchyard::clock;
use switchyard::domain::Secret;
use switchyard::jwt::{self, qsh};

use crate::support::{NatsServer, Setup, Sink, eventually, publish, register};

const MODULES: &str = "/rest/atlassian-connect/1/app/module/dynamic";
const REFUSED: &str = r#"{"message":"The request is not from a Connect app."}"#;

fn secret(of: &str) -> Secret {
    Secret::new(format!("secret-{of}-0123456789abcdef0123456789abcdef"))
}

fn now_s() -> i64 {
    clock::now_ms().div_euclid(1000)
}

/// A token of app `a` with another header.
fn with_header(header: &Value, token: &str) -> String {
    let (_, rest) = token.split_once('.').expect("a token");
    format!("{}.{rest}", BASE64URL_NOPAD.encode(header.to_string().as_bytes()))
}

async fn send(port: u16, method: &str, path: &str, authorization: &str) -> (u16, String) {
    let pool: Pool<HttpConnector, Full<Bytes>> = Pool::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1:{port}{path}"))
        .header("authorization", authorization)
        .body(Full::default())
        .expect("a request");
    let answer = pool.request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tokens_are_refused_alike_and_change_nothing() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    for app in ["a", "b"] {
        let body = json!({"kind": "connect", "baseUrl": "http://127.0.0.1:9", "scopes": ["READ"]});
        router.put(&format!("/admin/v1/apps/{app}"), body).await;
        let body = json!({"app": app, "cloudId": "site-1", "product": "jira",
            "clientKey": "tenant-1", "sharedSecret": secret(app).reveal()});
        router.put(&format!("/admin/v1/installations/inst-{app}"), body).await;
    }
    let get = qsh::hash("GET", MODULES, "");
    let good = jwt::sign(&secret("a"), "a", &get, now_s());
    let (body, signature) = good.rsplit_once('.').expect("a token");
    let forged = [
        ("nothing", String::new()),
        ("no signature", format!("{body}.")),
        ("alg none", with_header(&json!({"alg": "none"}), &good)),
        ("alg none, unsigned", with_header(&json!({"alg": "none"}), &format!("{body}."))),
        ("alg HS512", with_header(&json!({"alg": "HS512"}), &good)),
        ("alg RS256", with_header(&json!({"alg": "RS256"}), &good)),
        ("injected key", with_header(&json!({"alg": "HS256", "kid": "../../dev/null"}), &good)),
        ("the other app's secret", jwt::sign(&secret("b"), "a", &get, now_s())),
        ("an empty secret", jwt::sign(&Secret::new(""), "a", &get, now_s())),
        ("an unknown app", jwt::sign(&secret("a"), "ghost", &get, now_s())),
        ("another method", jwt::sign(&secret("a"), "a", &qsh::hash("POST", MODULES, ""), now_s())),
        ("another query", jwt::sign(&secret("a"), "a", &qsh::hash("GET", MODULES, "x=1"), now_s())),
        ("a browser token", jwt::sign(&secret("a"), "a", "context-qsh", now_s())),
        ("an old token", jwt::sign(&secret("a"), "a", &get, now_s() - 600)),
        ("a token to come", jwt::sign(&secret("a"), "a", &get, now_s() + 600)),
        ("an oversized token", format!("{body}{}.{signature}", "A".repeat(9000))),
    ];
    for (what, token) in forged {
        let answer = send(setup.port, "GET", MODULES, &format!("JWT {token}")).await;
        assert_eq!(answer, (401, REFUSED.to_owned()), "{what}");
    }
    // A token that was overheard is good for the same request only, and for this app alone.
    let overheard = format!("JWT {good}");
    assert_eq!(send(setup.port, "GET", MODULES, &overheard).await, (200, "{}".to_owned()));
    assert_eq!(send(setup.port, "DELETE", MODULES, &overheard).await.0, 401);
    let path = format!("{MODULES}?shape=openapi");
    assert_eq!(send(setup.port, "GET", &path, &overheard).await.0, 401);
    assert_eq!(send(setup.port, "GET", &format!("/wiki{MODULES}"), &overheard).await.0, 401);
    let other = format!("{MODULES}?jwt={}", jwt::sign(&secret("b"), "b", &get, now_s()));
    assert_eq!(send(setup.port, "GET", &other, &overheard).await.0, 401, "two tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadowed_module_gets_nothing_and_the_static_one_fires() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", "site-1", &sink.url("/hook")).await;
    let module = json!({"key": "mine", "type": "trigger",
        "data": {"endpoint": "hook", "events": ["avi:jira:updated:issue"]}});
    let path = "/forge/installation/v1/dynamic/module";
    app.send(hyper::Method::POST, path, &[], &module).await.expect("registered");
    let last = json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": {"expression": "event.issue.fields.project.key == 'LAST'"}});
    register(&app, last).await;
    // The new version has a trigger of this key that wants another project.
    let fixed = json!({"key": "mine", "endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": {"expression": "event.issue.fields.project.key == 'OPS'"}});
    let version = json!({"kind": "forge", "functions": ["main"],
        "endpoints": [{"key": "hook", "url": sink.url("/hook")}],
        "staticModules": {"trigger": [fixed]}});
    router.put("/admin/v1/apps/app-1", version).await;
    let broker = nats.client().await;
    for (number, project) in [(1, "WEB"), (2, "OPS"), (3, "LAST")] {
        publish(&broker, "site-1", number, project).await;
    }
    let received = eventually(Duration::from_secs(20), "both triggers fire", || async {
        Some(sink.received()).filter(|received| received.len() >= 2)
    })
    .await;
    let mut keys: Vec<_> =
        received.iter().map(|one| one.json()["issue"]["key"].to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["\"LAST-3\"", "\"OPS-2\""]);
    let listed = app.send(hyper::Method::GET, path, &[], &Value::Null).await.expect("a list");
    let listed = listed["result"].as_array().expect("a list");
    assert!(listed.iter().all(|module| module["key"] != "mine"), "a shadowed one is not listed");
}
