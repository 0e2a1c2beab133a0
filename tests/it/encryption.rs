//! Encryption of the secrets in the registry: when it begins, how a key is replaced, and what happens
//! without the key. Design: `docs/design/secrets-at-rest.md`.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::clock;
use switchyard::delivery::sign;
use switchyard::domain::Secret;

use crate::support::{
    NatsServer, RouterProcess, SECRET, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const SHARED: &str = "shared-secret-of-a-tenant-0123456789";
/// Longer than the interval at which replicas publish their presence.
const ROUNDS: Duration = Duration::from_secs(12);

/// A broker with routers, and a file of keys.
struct World {
    nats: NatsServer,
    sink: Sink,
    keys: PathBuf,
}

impl World {
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let keys = nats.folder().join("secrets.key");
        Self { nats, sink, keys }
    }

    /// Starts a router with these keys.
    async fn router(&self, name: &str, keys: &[u8]) -> RouterProcess {
        let mut setup = Setup::new(&self.nats.url(), self.nats.folder().join(name))
            .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,1,1,1,1,1,1,1");
        if !keys.is_empty() {
            let lines: Vec<String> = keys.iter().map(|byte| BASE64.encode(&[*byte; 32])).collect();
            std::fs::write(&self.keys, lines.join("\n")).expect("a file");
            setup = setup.with("SWITCHYARD_SECRETS__KEY_FILE", self.keys.display());
        }
        setup.start().await
    }

    async fn provision(&self, router: &RouterProcess) {
        let forge = router.provision("app", "inst", "site", &self.sink.url("/hook")).await;
        register(&forge, json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]})).await;
        let connect = json!({"kind": "connect", "baseUrl": self.sink.url("/connect")});
        router.put("/admin/v1/apps/connect-app", connect).await;
        let installation = json!({"app": "connect-app", "cloudId": "site", "product": "jira",
            "clientKey": "tenant", "sharedSecret": SHARED});
        router.put("/admin/v1/installations/inst-c", installation).await;
    }

    /// All documents of the registry.
    async fn registry(&self) -> String {
        let bucket = self.nats.context().await.get_key_value("SW_REG").await.expect("the registry");
        let mut text = String::new();
        for key in ["app.app", "app.connect-app", "inst.inst", "inst.inst-c", "keys.signing"] {
            let value = bucket.get(key).await.expect("an answer").expect(key);
            text.push_str(std::str::from_utf8(&value).expect("JSON"));
            text.push('\n');
        }
        text
    }

    /// Publishes an event and asserts that its delivery is signed with the secret of the endpoint.
    async fn assert_delivered(&self, number: u64) {
        publish(&self.nats.client().await, "site", number, "P").await;
        self.until_delivered(number).await;
    }

    async fn until_delivered(&self, number: u64) {
        let key = format!("P-{number}");
        let request = eventually(WAIT_MAX, "a delivery", || async {
            let all = self.sink.received_at("/hook");
            all.into_iter().find(|one| one.json()["issue"]["key"] == key.as_str())
        })
        .await;
        let (id, time) = (request.header("webhook-id"), request.header("webhook-timestamp"));
        let time: i64 = time.parse().expect("seconds");
        let expected = sign(&Secret::new(SECRET), id, time, &request.body).expect("a signature");
        assert_eq!(request.header("webhook-signature"), expected);
    }
}

async fn status(router: &RouterProcess) -> Value {
    router.get("/admin/v1/encryption").await.expect("the state of encryption")
}

/// Waits until all documents are encrypted with the first key; returns its id.
async fn until_encrypted(router: &RouterProcess) -> String {
    eventually(WAIT_MAX, "all documents are encrypted", || async {
        let status = status(router).await;
        let id = status["writesWith"].as_str()?.to_owned();
        let is_done =
            status["documents"]["outdated"] == 0 && status["rewriting"]["running"] == false;
        (is_done && status["keys"][0] == id.as_str()).then_some(id)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_secrets_are_encrypted_rotated_and_wait_for_a_missing_key() {
    let world = World::start().await;
    let router = world.router("r", &[]).await;
    world.provision(&router).await;
    let before = world.registry().await;
    assert!(before.contains(SECRET) && before.contains(SHARED), "in clear without a key");
    assert!(router.terminate().await);

    // Documents of before are encrypted, and nothing else of them changes.
    let router = world.router("r", &[1]).await;
    let first = until_encrypted(&router).await;
    let stored = world.registry().await;
    let keys: Value = serde_json::from_str(before.lines().last().expect("keys")).expect("JSON");
    for secret in [SECRET, SHARED, keys["keys"][0]["pkcs8"].as_str().expect("a key")] {
        assert!(!stored.contains(secret), "{secret}");
    }
    assert_eq!(stored.matches(&format!("enc:v1:{first}:")).count(), 3, "{stored}");
    world.assert_delivered(1).await;
    // A new secret is stored encrypted, and shown once.
    let path = "/admin/v1/apps/app/endpoints/hook/secret";
    let shown = router.api.send(Method::POST, path, &[], &json!({"secret": SECRET})).await;
    assert_eq!(shown.expect("the same secret")["secret"], SECRET);
    assert!(!world.registry().await.contains(SECRET));
    assert!(router.terminate().await);

    // The new key first, the old one still there: everything is encrypted again.
    let router = world.router("r", &[2, 1]).await;
    let second = until_encrypted(&router).await;
    assert_ne!(first, second);
    assert!(!world.registry().await.contains(&first));
    let again = router.api.send(Method::POST, "/admin/v1/encryption", &[], &json!({})).await;
    assert_eq!(again.expect("accepted")["documents"]["outdated"], 0);
    assert!(router.terminate().await);
    let router = world.router("r", &[2]).await;
    world.assert_delivered(2).await;
    assert!(router.terminate().await);

    // Without the key nothing is signed with a ciphertext: the events wait, and the key is named.
    let router = world.router("r", &[1]).await;
    let problems = router.get("/admin/v1/problems").await.expect("problems").to_string();
    assert!(problems.contains(&second) && problems.contains("app.app"), "{problems}");
    let series = format!("switchyard_registry_missing_key_documents{{key=\"{second}\"}}");
    assert!(router.metric(&series).await > 2.5, "two apps' documents or more, and the keys");
    publish(&world.nats.client().await, "site", 3, "P").await;
    eventually(WAIT_MAX, "the event waits", || async {
        let waiting = router.metric("switchyard_parkings_total{reason=\"unreadable\"}").await;
        (waiting > 0.5).then_some(())
    })
    .await;
    assert_eq!(world.sink.received_at("/hook").len(), 2);
    assert!(router.terminate().await);

    // Without any key no secret is stored in clear, since others are encrypted.
    let router = world.router("r", &[]).await;
    let app = json!({ "kind": "forge", "endpoints":
        [{ "key": "hook", "url": world.sink.url("/hook"), "secret": SECRET }] });
    let refused = router.api.send(Method::PUT, "/admin/v1/apps/new", &[], &app).await;
    let error = format!("{:#}", refused.expect_err("the app is not stored"));
    assert!(error.contains("not stored in clear"), "{error}");
    assert!(!world.registry().await.contains(SECRET));
    assert!(status(&router).await["documents"]["unreadable"].as_u64() > Some(2));
    assert!(router.terminate().await);
    let router = world.router("r", &[2]).await;
    world.until_delivered(3).await;
    assert!(router.terminate().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encryption_begins_when_every_replica_can_read_it() {
    let world = World::start().await;
    // The mark of an earlier release: counts of parked deliveries without presence.
    let plain = world.router("plain", &[]).await;
    world.provision(&plain).await;
    let state = world.nats.context().await.get_key_value("SW_STATE").await.expect("a bucket");
    let counts = json!({"format": 1, "atMs": clock::now_ms(), "changes": []});
    state.put("parked.0-1", counts.to_string().into()).await.expect("stored");
    let keyed = world.router("keyed", &[1]).await;
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(status(&keyed).await["writesWith"], Value::Null, "two replicas cannot read it");
    assert!(plain.terminate().await);
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(status(&keyed).await["writesWith"], Value::Null, "one of an earlier release");
    state.purge("parked.0-1").await.expect("removed");
    until_encrypted(&keyed).await;
    // A replica that comes later cannot stop it.
    let plain = world.router("plain", &[]).await;
    tokio::time::sleep(ROUNDS).await;
    assert!(status(&keyed).await["writesWith"].is_string());
    let problems = plain.get("/admin/v1/problems").await.expect("problems");
    assert!(problems["items"].as_array().is_some_and(|all| !all.is_empty()), "{problems}");
    assert!(plain.terminate().await && keyed.terminate().await);
}
