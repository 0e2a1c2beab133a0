//! Forged, replayed and foreign credentials: all are rejected alike and change nothing.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use switchyard::clock;
use switchyard::domain::Secret;
use switchyard::jwt::{self, qsh};

use crate::support::{NatsServer, Setup, Sink, WAIT_MAX, app_token, eventually, publish, register};

const MODULES: &str = "/rest/atlassian-connect/1/app/module/dynamic";
const REFUSED: &str = r#"{"message":"The request is not from a Connect app."}"#;

fn secret(of: &str) -> Secret {
    Secret::new(format!("secret-{of}-0123456789abcdef0123456789abcdef"))
}

fn now_s() -> i64 {
    clock::now_ms().div_euclid(1000)
}

/// Signs a token as an app does.
fn sign(secret: &Secret, issuer: &str, qsh: &str, now_s: i64) -> String {
    app_token(secret, issuer, qsh, now_s)
}

/// A token of app `a` with another header.
fn with_header(header: &Value, token: &str) -> String {
    let (_, rest) = token.split_once('.').expect("a token");
    format!("{}.{rest}", BASE64URL_NOPAD.encode(header.to_string().as_bytes()))
}

async fn send(port: u16, method: &str, path: &str, authorization: &str) -> (u16, String) {
    send_body(port, method, path, authorization, Bytes::new()).await
}

async fn send_body(
    port: u16,
    method: &str,
    path: &str,
    authorization: &str,
    body: Bytes,
) -> (u16, String) {
    let pool: Pool<HttpConnector, Full<Bytes>> = Pool::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1:{port}{path}"))
        .header("authorization", authorization)
        .body(Full::new(body))
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
    let good = sign(&secret("a"), "a", &get, now_s());
    let (body, signature) = good.rsplit_once('.').expect("a token");
    let own = |issuer| jwt::sign(&secret("a"), issuer, &get, now_s()).expect("a token");
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    let forged = [
        ("nothing", String::new()),
        ("no signature", format!("{body}.")),
        ("alg none", with_header(&json!({"alg": "none"}), &good)),
        ("alg none, unsigned", with_header(&json!({"alg": "none"}), &format!("{body}."))),
        ("alg HS512", with_header(&json!({"alg": "HS512"}), &good)),
        ("alg RS256", with_header(&json!({"alg": "RS256"}), &good)),
        ("a header parameter to understand", with_header(&critical, &good)),
        ("injected key", with_header(&json!({"alg": "HS256", "kid": "../../dev/null"}), &good)),
        ("the other app's secret", sign(&secret("b"), "a", &get, now_s())),
        ("an empty secret", sign(&Secret::new(""), "a", &get, now_s())),
        ("an unknown app", sign(&secret("a"), "ghost", &get, now_s())),
        ("another method", sign(&secret("a"), "a", &qsh::hash("POST", MODULES, ""), now_s())),
        ("another query", sign(&secret("a"), "a", &qsh::hash("GET", MODULES, "x=1"), now_s())),
        ("a browser token", sign(&secret("a"), "a", "context-qsh", now_s())),
        ("our own token, for a call to the app", own("tenant-1")),
        ("our own token, in the name of the app", own("a")),
        ("an old token", sign(&secret("a"), "a", &get, now_s() - 600)),
        ("a token to come", sign(&secret("a"), "a", &get, now_s() + 600)),
        ("an oversized token", format!("{body}{}.{signature}", "A".repeat(9000))),
    ];
    for (what, token) in forged {
        let answer = send(setup.port, "GET", MODULES, &format!("JWT {token}")).await;
        assert_eq!(answer, (401, REFUSED.to_owned()), "{what}");
    }
    let by_client_key = format!("JWT {}", sign(&secret("a"), "tenant-1", &get, now_s()));
    assert_eq!(send(setup.port, "GET", MODULES, &by_client_key).await.0, 200);
    // An intercepted token is valid for the same request of the same app only.
    let overheard = format!("JWT {good}");
    assert_eq!(send(setup.port, "GET", MODULES, &overheard).await, (200, "{}".to_owned()));
    assert_eq!(send(setup.port, "DELETE", MODULES, &overheard).await.0, 401);
    let path = format!("{MODULES}?shape=openapi");
    assert_eq!(send(setup.port, "GET", &path, &overheard).await.0, 401);
    assert_eq!(send(setup.port, "GET", &format!("/wiki{MODULES}"), &overheard).await.0, 401);
    let other = format!("{MODULES}?jwt={}", sign(&secret("b"), "b", &get, now_s()));
    assert_eq!(send(setup.port, "GET", &other, &overheard).await.0, 401, "two tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_request_changes_nothing_at_any_replica() {
    const WEBHOOKS: &str = "/rest/api/3/webhook";
    let nats = NatsServer::start().await;
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    let (router, _other) = tokio::join!(one.start(), other.start());
    let app = json!({"kind": "connect", "baseUrl": "http://127.0.0.1:9", "scopes": ["READ"]});
    router.put("/admin/v1/apps/a", app).await;
    let body = json!({"app": "a", "cloudId": "site-1", "product": "jira",
        "clientKey": "tenant-1", "sharedSecret": secret("a").reveal()});
    router.put("/admin/v1/installations/inst-a", body).await;
    let token = |method: &str, path: &str, age_s: i64| {
        let token = sign(&secret("a"), "a", &qsh::hash(method, path, ""), now_s() - age_s);
        format!("JWT {token}")
    };
    let hook = |key: &str| {
        let hook = json!({"key": key, "event": "jira:issue_created", "url": "/h"});
        Bytes::from(json!({"webhooks": [hook]}).to_string())
    };
    let refused = (401, REFUSED.to_owned());

    // Two requests of the app within one second have equal tokens: each is executed once.
    let (post, delete) = (token("POST", MODULES, 0), token("DELETE", MODULES, 0));
    for key in ["x", "y"] {
        assert_eq!(send_body(one.port, "POST", MODULES, &post, hook(key)).await.0, 200);
    }
    // A module that is registered is still reported as a duplicate.
    assert_eq!(send_body(other.port, "POST", MODULES, &post, hook("x")).await.0, 400);
    assert_eq!(send(other.port, "DELETE", MODULES, &delete).await.0, 204);
    for port in [one.port, other.port] {
        assert_eq!(send_body(port, "POST", MODULES, &post, hook("x")).await, refused);
        assert_eq!(send(port, "DELETE", MODULES, &delete).await.0, 204, "there is no module");
    }
    // Older than the test, so that it differs from the token above whatever the second is.
    let later = token("POST", MODULES, 60);
    assert_eq!(send_body(one.port, "POST", MODULES, &later, hook("x")).await.0, 200);
    for port in [one.port, other.port] {
        assert_eq!(send(port, "DELETE", MODULES, &delete).await, refused);
    }
    let get = token("GET", MODULES, 0);
    let listed = send(other.port, "GET", MODULES, &get).await;
    let listed: Value = serde_json::from_str(&listed.1).expect("a list");
    assert_eq!(listed["webhooks"][0]["key"], "x");

    // Dynamic webhooks behave alike, with the errors of their own API.
    let wanted = json!({"url": "http://127.0.0.1:9/h",
        "webhooks": [{"events": ["jira:issue_created"], "jqlFilter": "project = A"}]});
    let wanted = Bytes::from(wanted.to_string());
    let post = token("POST", WEBHOOKS, 0);
    let made = send_body(one.port, "POST", WEBHOOKS, &post, wanted.clone()).await;
    assert!(made.0 == 200 && made.1.contains("createdWebhookId"), "{made:?}");
    assert_eq!(send_body(other.port, "POST", WEBHOOKS, &post, wanted).await.0, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadowed_module_receives_nothing_and_the_static_one_fires() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", "site-1", &sink.url("/hook")).await;
    let module = json!({"key": "mine", "type": "trigger",
        "data": {"endpoint": "hook", "events": ["avi:jira:updated:issue"]}});
    let path = "/forge/installation/v1/dynamic/module";
    app.send(Method::POST, path, &[], &module).await.expect("registered");
    let last = json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": {"expression": "event.issue.fields.project.key == 'LAST'"}});
    register(&app, last).await;
    // The new version declares a trigger of this key for another project.
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
    let received = eventually(WAIT_MAX, "both triggers fire", || async {
        Some(sink.received()).filter(|received| received.len() >= 2)
    })
    .await;
    let mut keys: Vec<_> =
        received.iter().map(|one| one.json()["issue"]["key"].to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["\"LAST-3\"", "\"OPS-2\""]);
    let listed = app.send(Method::GET, path, &[], &Value::Null).await.expect("a list");
    let listed = listed["result"].as_array().expect("a list");
    assert!(listed.iter().all(|module| module["key"] != "mine"), "a shadowed one is not listed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_cursors_and_keys_of_another_installation_are_rejected() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let handler = "http://127.0.0.1:9/hook";
    let ours = router.provision("app-1", "inst-1", "site-1", handler).await;
    let theirs = router.provision("app-2", "inst-2", "site-2", handler).await;
    let trigger = json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]});
    let path = "/forge/installation/v2/dynamic/module";
    for app in [&ours, &theirs] {
        for _ in 0..3 {
            register(app, trigger.clone()).await;
        }
    }
    let list = async |app: &ApiClient, query: &str| {
        app.send(Method::GET, &format!("{path}{query}"), &[], &Value::Null).await
    };
    let page = list(&theirs, "?limit=1").await.expect("a page");
    let cursor = page["nextPageToken"].as_str().expect("a cursor");
    let second = list(&theirs, &format!("?limit=1&nextPageToken={cursor}")).await.expect("a page");
    assert_ne!(second["result"][0]["key"], page["result"][0]["key"]);
    let refused = |error: anyhow::Error| error.to_string();
    let foreign = list(&ours, &format!("?nextPageToken={cursor}")).await.unwrap_err();
    let nonsense = list(&ours, "?nextPageToken=AAAA").await.unwrap_err();
    let without_query = |text: String| text.split_once(": ").expect("a message").1.to_owned();
    assert_eq!(without_query(refused(foreign)), without_query(refused(nonsense)));

    // A module of another installation is reported as not found.
    let key = page["result"][0]["key"].as_str().expect("a key");
    let ghost = "00000000-0000-4000-8000-000000000000";
    let module = json!({"type": "trigger", "data": trigger});
    for (method, body) in
        [(Method::GET, &Value::Null), (Method::PUT, &module), (Method::DELETE, &Value::Null)]
    {
        let answer = async |key: &str| {
            let answer = ours.send(method.clone(), &format!("{path}/{key}"), &[], body).await;
            without_query(refused(answer.unwrap_err()))
        };
        assert_eq!(answer(key).await, answer(ghost).await, "{method}");
    }
    let left = list(&theirs, "").await.expect("a list");
    assert_eq!(left["result"].as_array().map(Vec::len), Some(3));
}

/// Modules of one batch in the test below.
const BATCH: usize = 90;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_router_leaves_all_of_a_batch_or_none() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let mut router = setup.start().await;
    let item = |number: usize| {
        let filter = format!("event.issue.fields.project.key == 'P{number}'");
        json!({"type": "trigger", "data": {"endpoint": "hook",
            "events": ["avi:jira:updated:issue"], "filter": {"expression": filter}}})
    };
    let items: Vec<Value> = (0..BATCH).map(item).collect();
    let batch = json!({"items": items, "atomic": true});
    let path = "/forge/installation/v2/dynamic/module";
    let whole = clock::tick();
    let app = router.provision("app-1", "inst-whole", "site-1", "http://127.0.0.1:9/").await;
    app.send(Method::POST, &format!("{path}:batch"), &[], &batch).await.expect("registered");
    let whole = clock::since(whole);
    for round in 0..8 {
        let installation = format!("inst-{round}");
        let app = router.provision("app-1", &installation, "site-1", "http://127.0.0.1:9/").await;
        let (sender, body) = (app.clone(), batch.clone());
        let sent = tokio::spawn(async move {
            sender.send(Method::POST, &format!("{path}:batch"), &[], &body).await.is_ok()
        });
        // The router is killed at a later moment each time, from the start to about the end of the batch.
        tokio::time::sleep(whole * round / 7).await;
        router.kill().await;
        let confirmed = sent.await.expect("no panic");
        router = setup.start().await;
        let modules = format!("/admin/v1/installations/{installation}/modules");
        let left = router.get(&modules).await.expect("a list");
        let left = left["items"].as_array().expect("a list").len();
        assert!(left == BATCH || (left == 0 && !confirmed), "{left} of {BATCH}, round {round}");
    }
}
