//! Installs of Connect apps: the handshake, the callbacks to the app, and the modules that a
//! reinstall restores.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::clock;
use switchyard::domain::Secret;
use switchyard::jwt::{ConnectToken, KeyRecord, KeyRing, qsh};

use crate::support::{
    NatsServer, Received, RouterProcess, Setup, Sink, WAIT_MAX, app_token, eventually,
};

const APP: &str = "com.example.app";
const TENANT: &str = "tenant-1";
const MODULES: &str = "/rest/atlassian-connect/1/app/module/dynamic";
const INSTALLATION: &str = "/admin/v1/installations/inst-1";
const PATIENCE: Duration = WAIT_MAX;

struct World {
    _nats: NatsServer,
    router: RouterProcess,
    sink: Sink,
}

impl World {
    /// Starts a router and an app that subscribes to every lifecycle callback.
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let sink = Sink::start().await;
        let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
        let app = json!({"kind": "connect", "baseUrl": sink.url("/base"), "scopes": ["READ"],
            "lifecycle": {"installed": "/installed", "enabled": "/enabled",
                "disabled": "/disabled", "uninstalled": "/uninstalled?x=1"}});
        router.put(&format!("/admin/v1/apps/{APP}"), app).await;
        Self { _nats: nats, router, sink }
    }

    async fn install(&self, state: &str) -> anyhow::Result<Value> {
        let body = json!({"app": APP, "cloudId": "site-1", "product": "jira",
            "clientKey": TENANT, "state": state});
        self.router.api.send(Method::PUT, INSTALLATION, &[], &body).await
    }

    /// The callback number `count` at `path`.
    async fn callback(&self, path: &str, count: usize) -> Received {
        let path = format!("/base/{path}");
        let mut all = eventually(PATIENCE, &format!("{count} calls of {path}"), || async {
            Some(self.sink.received_at(&path)).filter(|all| all.len() >= count)
        })
        .await;
        all.remove(count - 1)
    }

    /// Calls the dynamic modules API as the app with `secret`.
    async fn call(&self, secret: &str, method: Method, body: &Value) -> anyhow::Result<Value> {
        let hash = qsh::hash(method.as_str(), MODULES, "");
        let token = app_token(&Secret::new(secret), APP, &hash, now_s());
        let authorization = format!("JWT {token}");
        let headers = [("authorization", authorization.as_str())];
        self.router.api.send(method, MODULES, &headers, body).await
    }
}

fn now_s() -> i64 {
    clock::now_ms().div_euclid(1000)
}

fn token(received: &Received) -> &str {
    received.header("authorization").strip_prefix("JWT ").expect("a JWT")
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).expect("a part");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64")).expect("JSON")
}

/// Asserts that the callback is signed with the router's key, for this app and this request.
fn assert_signed_by_us(received: &Received, path: &str, query: &str, base: &str) {
    let token = token(received);
    assert_eq!(part(token, 0)["alg"], "RS256");
    let claims = part(token, 1);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(TENANT), &json!([base])));
    assert_eq!(claims["qsh"], qsh::hash("POST", path, query));
    // A verifier with another key rejects it.
    let other = KeyRing::default();
    other.apply(&[KeyRecord::generate().expect("a key")]).expect("applied");
    assert!(other.verify::<Value>(token).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn install_that_the_app_rejects_is_not_stored() {
    let world = World::start().await;
    world.sink.answer("/base/installed", 401, None);
    let refused = world.install("enabled").await.unwrap_err().to_string();
    assert!(refused.contains("502") && refused.contains("status 401"), "{refused}");
    assert!(world.router.get(INSTALLATION).await.is_err(), "there is no installation");
    assert!(world.sink.received_at("/base/enabled").is_empty());
    world.sink.answer("/base/installed", 200, None);
    world.install("enabled").await.expect("installed");
    world.callback("enabled", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_is_notified_of_its_installation_and_a_reinstall_restores_its_modules() {
    let world = World::start().await;
    let base = world.sink.url("/base");
    world.install("enabled").await.expect("installed");
    let installed = world.callback("installed", 1).await;
    assert_signed_by_us(&installed, "/installed", "", &base);
    let payload = installed.json();
    assert_eq!(
        (&payload["eventType"], &payload["clientKey"]),
        (&json!("installed"), &json!(TENANT))
    );
    assert_eq!(payload["baseUrl"], world.router.api.base());
    let secret = payload["sharedSecret"].as_str().expect("a secret").to_owned();

    let enabled = world.callback("enabled", 1).await;
    let read = ConnectToken::parse(token(&enabled)).expect("an HS256 token");
    assert!(read.is_signed_with(&Secret::new(secret.as_str())));
    assert_eq!(read.check(now_s(), "POST", "/enabled", ""), Ok(()));
    assert!(enabled.json().get("sharedSecret").is_none(), "the secret is sent once");

    let hook = json!({"webhooks": [{"key": "hook", "event": "jira:issue_created", "url": "/h"}]});
    world.call(&secret, Method::POST, &hook).await.expect("registered");

    // Disabled and enabled again: the app is notified and keeps its secret.
    world.install("disabled").await.expect("disabled");
    world.callback("disabled", 1).await;
    world.install("enabled").await.expect("enabled");
    world.callback("enabled", 2).await;
    assert_eq!(world.sink.received_at("/base/installed").len(), 1);

    let api = &world.router.api;
    api.send(Method::DELETE, INSTALLATION, &[], &Value::Null).await.expect("uninstalled");
    let uninstalled = world.callback("uninstalled", 1).await;
    assert_signed_by_us(&uninstalled, "/uninstalled", "x=1", &base);
    assert!(world.call(&secret, Method::GET, &Value::Null).await.is_err());

    world.install("enabled").await.expect("reinstalled");
    let again = world.callback("installed", 2).await.json();
    let fresh = again["sharedSecret"].as_str().expect("a secret");
    assert_ne!(fresh, secret, "the old secret is replaced");
    assert!(world.call(&secret, Method::GET, &Value::Null).await.is_err());
    let modules = world.call(fresh, Method::GET, &Value::Null).await.expect("a list");
    assert_eq!(modules, hook);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_secret_sent_to_the_app_is_the_stored_one_when_installs_run_concurrently() {
    let world = World::start().await;
    for round in 1..=12 {
        let received = world.sink.received_at("/base/installed").len();
        world.sink.hold("/base/installed");
        let release = async {
            world.callback("installed", received + 2).await;
            world.sink.release("/base/installed");
        };
        let (one, other, ()) =
            tokio::join!(world.install("enabled"), world.install("enabled"), release);
        one.and(other).expect("both are installed");
        let last = world.sink.received_at("/base/installed").pop().expect("a callback").json();
        let secret = last["sharedSecret"].as_str().expect("a secret");
        world.call(secret, Method::GET, &Value::Null).await.unwrap_or_else(|error| {
            panic!("round {round}: the app knows another secret: {error}");
        });
        let api = &world.router.api;
        api.send(Method::DELETE, INSTALLATION, &[], &Value::Null).await.expect("uninstalled");
    }
}
