//! The audit log with a real broker: every change is in it, nothing alters it, and a change that ended without its
//! second record is shown as unknown.

use std::collections::BTreeSet;

use async_nats::jetstream;
use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::ErrorStatus;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, SECRET, Setup, Sink, WAIT_MAX, eventually, publish,
};

const LOG: &str = "/admin/v1/audit-log";
const SHARED: &str = "shared-secret-of-the-tenant-0123456789";
const OTHER_SHARED: &str = "another-shared-secret-of-this-tenant";
const OAUTH_TOKEN: &str = "token-of-the-oauth-client-0123456789";
const CLIENT_SECRET: &str = "secret-of-the-oauth-client-0123456789";
const OTHER_CLIENT_SECRET: &str = "another-secret-of-the-client-01234567";
const ACCOUNT: &str = "5b10a2844c20165700ede21g";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A router, and every token and secret that it has.
struct World {
    nats: NatsServer,
    sink: Sink,
    router: RouterProcess,
    secrets: Vec<String>,
}

impl World {
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
            .with("SWITCHYARD_SECRETS__KEY", KEY);
        let router = setup.start().await;
        let known = [ADMIN_TOKEN, SECRET, SHARED, OTHER_SHARED, OAUTH_TOKEN, CLIENT_SECRET];
        let known = known.into_iter().chain([OTHER_CLIENT_SECRET, KEY, ACCOUNT]);
        let secrets = known.map(str::to_owned).collect();
        Self { nats, sink, router, secrets }
    }

    /// Sends a request that succeeds, and remembers the secrets of the answer.
    async fn call(&mut self, method: Method, path: &str, body: Value) -> Value {
        let path = format!("/admin/v1{path}");
        let sent = self.router.api.send(method.clone(), &path, &[], &body).await;
        let answer = sent.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
        collect_secrets(&answer, &mut self.secrets);
        answer
    }

    async fn put(&mut self, path: &str, body: Value) -> Value {
        self.call(Method::PUT, path, body).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, body).await
    }

    async fn delete(&mut self, path: &str) {
        self.call(Method::DELETE, path, Value::Null).await;
    }

    /// Pauses, resumes and cancels a job.
    async fn control(&mut self, jobs: &str, job: &Value) {
        let path = format!("{jobs}/{}", job["id"].as_str().expect("an id"));
        for action in ["pause", "resume", "cancel"] {
            self.post(&format!("{path}/{action}"), json!({})).await;
        }
    }

    /// Publishes events that the handler refuses; returns the ids of the dead letters.
    async fn dead_letters(&self, count: u64) -> Vec<String> {
        self.sink.answer("/hook", 404, None);
        let broker = self.nats.client().await;
        for number in 0..count {
            publish(&broker, "site", number, "OPS").await;
        }
        let count = usize::try_from(count).expect("a small number");
        eventually(WAIT_MAX, "the dead letters are stored", || async {
            let list = self.router.get("/admin/v1/dlq").await.ok()?;
            let ids = list["items"]
                .as_array()?
                .iter()
                .map(|one| one["id"].as_str().expect("an id").to_owned());
            let ids: Vec<String> = ids.collect();
            (ids.len() == count).then_some(ids)
        })
        .await
    }

    async fn change_apps_and_installations(&mut self) {
        let url = self.sink.url("/hook");
        let app = json!({"kind": "forge", "functions": ["main"],
            "endpoints": [{"key": "hook", "url": url, "secret": SECRET}, {"key": "made", "url": url}],
            "discovery": {"use": ["trigger"], "url": self.sink.url("/discovery")}});
        self.sink.answer_with("/discovery", json!({"modules": []}));
        self.put("/apps/app", app).await;
        self.put(
            "/installations/inst",
            json!({"app": "app", "cloudId": "site", "product": "jira"}),
        )
        .await;
        self.put("/apps/connect", json!({"kind": "connect", "baseUrl": self.sink.url("/connect")}))
            .await;
        for shared in [SHARED, OTHER_SHARED] {
            let tenant = json!({"app": "connect", "cloudId": "site", "product": "jira",
                "clientKey": "tenant", "sharedSecret": shared});
            self.put("/installations/inst-c", tenant).await;
        }
        for secret in [CLIENT_SECRET, OTHER_CLIENT_SECRET] {
            let client = json!({"token": OAUTH_TOKEN, "user": "u", "installation": "inst-c", "clientSecret": secret});
            self.put("/oauth-clients/client", client).await;
        }
        self.post("/apps/app/endpoints/hook/secret", json!({})).await;
        self.delete("/apps/app/endpoints/hook/previous-secret").await;
        self.delete("/installations/inst-c/previous-secret").await;
        self.delete("/oauth-clients/client/previous-secret").await;
        self.post("/installations/inst/token", Value::Null).await;
        self.post("/installations/inst/discovery/refresh", Value::Null).await;
        self.put("/tokens/ci", json!({"scope": "operate"})).await;
        self.post("/tokens/ci/rotate", Value::Null).await;
        self.delete("/tokens/ci").await;
        self.post("/signing-keys", json!({})).await;
        self.post("/encryption", json!({})).await;
    }

    async fn change_subscriptions(&mut self) {
        let module = |filter: &str| {
            json!({"type": "trigger", "data": {"endpoint": "hook", "events": ["avi:jira:updated:issue"],
                "filter": {"expression": filter}}})
        };
        let of = "/subscriptions/inst%2Fk";
        self.put(
            "/installations/inst/modules/k",
            module("event.issue.fields.project.key == 'OPS'"),
        )
        .await;
        self.post(&format!("{of}/pause"), json!({})).await;
        self.post(&format!("{of}/resume"), json!({})).await;
        self.post(&format!("{of}/disable"), json!({})).await;
        self.post(&format!("{of}/resume"), json!({})).await;
        let shadow = format!("{of}/shadow");
        self.put(&shadow, json!({"filter": {"expression": "true"}})).await;
        self.delete(&shadow).await;
        self.put(&shadow, json!({"filter": {"expression": "event.issue.key != 'X'"}})).await;
        self.post(&format!("{of}/promote"), json!({})).await;
        self.post(&format!("{of}/rollback"), json!({})).await;
    }

    async fn change_deliveries(&mut self) {
        let letters = self.dead_letters(8).await;
        let endpoints =
            self.router.get("/admin/v1/endpoints?installation=inst").await.expect("a list");
        let endpoint = endpoints["items"][0]["id"].as_str().expect("an id").replace('/', "%2F");
        for action in ["enable", "reset-breaker", "test"] {
            self.post(&format!("/endpoints/{endpoint}/{action}"), json!({})).await;
        }
        let listed =
            self.router.get("/admin/v1/deliveries?installation=inst").await.expect("a list");
        let delivery = listed["items"][0]["id"].as_str().expect("an id").to_owned();
        self.delete(&format!("/dlq/{}", letters[0])).await;
        let redrive = json!({"query": {"installation": "inst"}, "rate": 1});
        let job = self.post("/dlq/redrive", redrive).await;
        self.control("/dlq/redrives", &job).await;
        let replay = json!({"installation": "inst", "from": "1h", "mode": "failed", "rate": 1});
        let job = self.post("/replays", replay).await;
        self.control("/replays", &job).await;
        self.post(&format!("/deliveries/{delivery}/redeliver?installation=inst"), json!({})).await;
        let erasure = json!({"site": "site", "accountId": ACCOUNT, "rate": 1});
        let job = self.post("/erasures", erasure).await;
        self.control("/erasures", &job).await;
        let listener = json!({"site": "site", "events": ["avi:jira:updated:issue"]});
        let mut lines = self
            .router
            .api
            .follow("/admin/v1/listeners", Some(&listener))
            .await
            .expect("a listener");
        let first = lines.next().await.expect("a line").expect("a line");
        collect_secrets(&first, &mut self.secrets);
    }

    async fn remove_all(&mut self) {
        self.delete("/installations/inst/modules/k").await;
        self.delete("/oauth-clients/client").await;
        for path in ["/installations/inst", "/installations/inst-c", "/apps/app", "/apps/connect"] {
            self.delete(path).await;
        }
    }

    /// All entries, the newest first.
    async fn entries(&self) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.router.get(&format!("{LOG}?limit=7{cursor}")).await.expect("a page");
            all.extend(page["items"].as_array().expect("items").clone());
            let Some(next) = page["nextCursor"].as_str() else { return all };
            cursor = format!("&cursor={next}");
        }
    }

    async fn entry(&self, entry: &Value) -> Value {
        let id = entry["id"].as_str().expect("an id");
        self.router.get(&format!("{LOG}/{id}")).await.expect("an entry")
    }
}

/// Collects the texts of members that are secrets.
fn collect_secrets(answer: &Value, found: &mut Vec<String>) {
    match answer {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "token" || name == "secret" => {
                        found.push(text.clone())
                    }
                    value => collect_secrets(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, found)),
        _ => {}
    }
}

/// The bodies of all messages of a stream.
async fn messages(context: &jetstream::Context, stream: &str) -> Vec<String> {
    let stream = context.get_stream(stream).await.expect("the stream");
    let state = stream.cached_info().state.clone();
    let all = (state.first_sequence..=state.last_sequence)
        .map(|sequence| stream.get_raw_message(sequence));
    let all = join_all(all).await.into_iter();
    all.map(|found| String::from_utf8(found.expect("a message").payload.to_vec()).expect("a text"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_that_changes_something_is_in_the_log_and_no_secret_is() {
    let mut world = World::start().await;
    world.change_apps_and_installations().await;
    world.change_subscriptions().await;
    world.change_deliveries().await;
    world.remove_all().await;

    let document = world.router.get("/openapi.json").await.expect("the document");
    let is_change = |method: &str, path: &str| {
        let reads = ["/filters:", "/explain", "/events", "/subscriptions/{id}/test", "/answers/"];
        method != "get"
            && path.starts_with("/admin/")
            && !reads.iter().any(|one| path.contains(one))
    };
    let mut wanted = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            if is_change(method, path) {
                wanted.insert(operation["operationId"].as_str().expect("an id").to_owned());
            }
        }
    }
    let entries = world.entries().await;
    let done = entries.iter().filter(|entry| entry["outcome"] == "done");
    let found: BTreeSet<String> =
        done.map(|entry| entry["operation"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(wanted.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new());

    for entry in &entries {
        assert_eq!(
            (&entry["caller"], &entry["scope"]),
            (&json!("admin"), &json!("admin")),
            "{entry}"
        );
        assert_eq!(
            (&entry["via"], &entry["address"]),
            (&json!("command"), &json!("127.0.0.1")),
            "{entry}"
        );
        let shown = world.entry(entry).await;
        assert_eq!(shown["id"], entry["id"]);
        assert!(
            shown.get("beforeOmitted").is_none() && shown.get("afterOmitted").is_none(),
            "{shown}"
        );
    }
    let of = async |operation: &str| {
        let entry = entries.iter().rev().find(|one| one["operation"] == operation);
        world.entry(entry.expect(operation)).await
    };
    let paused = of("pauseSubscription").await;
    assert_eq!(
        (&paused["before"]["state"], &paused["after"]["state"]),
        (&json!("active"), &json!("paused"))
    );
    let removed = of("deleteInstallation").await;
    assert_eq!((&removed["before"]["id"], removed.get("after")), (&json!("inst"), None));
    let created = of("createReplay").await;
    assert_eq!((created.get("before"), &created["after"]["kind"]), (None, &json!("replay")));
    let letter = of("deleteDeadLetter").await;
    assert_eq!(letter["before"]["body"], "(not recorded)");

    let stored = messages(&world.nats.context().await, "SW_AUDIT").await;
    assert_eq!(stored.len(), 2 * entries.len());
    for secret in &world.secrets {
        let with = stored.iter().find(|one| one.contains(secret.as_str()));
        assert_eq!(with, None, "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_refuses_to_delete_records() {
    let mut world = World::start().await;
    world.put("/apps/app", json!({"kind": "forge", "functions": ["main"]})).await;
    let context = world.nats.context().await;
    let stream = context.get_stream("SW_AUDIT").await.expect("the stream");
    assert!(stream.delete_message(1).await.is_err());
    assert!(stream.purge().await.is_err());
    assert!(stream.purge().filter("sw.audit.started.>").await.is_err());
    let mut config = stream.cached_info().config.clone();
    (config.deny_delete, config.deny_purge) = (false, false);
    assert!(context.update_stream(config).await.is_err(), "this is not taken back");
    assert_eq!(messages(&context, "SW_AUDIT").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_a_router_that_crashed_has_an_unknown_outcome() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    router.provision("app", "inst", "site", &sink.url("/hook")).await;
    let app = json!({"kind": "forge", "functions": ["main"],
        "endpoints": [{"key": "hook", "url": sink.url("/hook"), "secret": SECRET}],
        "discovery": {"use": ["trigger"], "url": sink.url("/discovery")}});
    sink.answer_with("/discovery", json!({"modules": []}));
    router.put("/admin/v1/apps/app", app).await;
    // The app does not answer, so that the change runs when the router is killed.
    sink.hold("/discovery");
    let asked = sink.received_at("/discovery").len();
    let api = router.api.clone();
    let refresh = "/admin/v1/installations/inst/discovery/refresh";
    let call =
        tokio::spawn(async move { api.send(Method::POST, refresh, &[], &Value::Null).await });
    eventually(WAIT_MAX, "the app is asked", || async {
        (sink.received_at("/discovery").len() > asked).then_some(())
    })
    .await;
    let newest = router.get(&format!("{LOG}?limit=1")).await.expect("a page")["items"][0].take();
    assert_eq!(
        (&newest["operation"], &newest["outcome"]),
        (&json!("refreshDiscovery"), &json!("running"))
    );
    router.kill().await;
    assert!(call.await.expect("it ends").is_err());
    sink.release("/discovery");

    let router = setup.start().await;
    let path = format!("{LOG}/{}", newest["id"].as_str().expect("an id"));
    // A record of more than a minute ago is not one of a change that still runs: this one is made older.
    let context = nats.context().await;
    let stored = messages(&context, "SW_AUDIT").await;
    let last = stored
        .iter()
        .find(|one| one.contains(newest["id"].as_str().expect("an id")))
        .expect("the record");
    let mut old: Value = serde_json::from_str(last).expect("JSON");
    let at_ms = old["atMs"].as_i64().expect("a time") - 61_000;
    (old["id"], old["atMs"]) =
        (json!(format!("{}-00000000000000ff", at_ms + 61_000)), json!(at_ms));
    context
        .publish("sw.audit.started.ff", old.to_string().into())
        .await
        .expect("sent")
        .await
        .expect("stored");
    assert_eq!(router.get(&path).await.expect("an entry").get("status"), None);
    let page = router.get(&format!("{LOG}?limit=1")).await.expect("a page");
    assert_eq!(page["items"][0]["outcome"], "unknown", "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_while_the_log_cannot_be_written() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let app = json!({"kind": "forge", "functions": ["main"]});
    let context = nats.context().await;
    // A stream without space for a record refuses it, and takes all other writes.
    let stream = context.get_stream("SW_AUDIT").await.expect("the stream");
    let mut config = stream.cached_info().config.clone();
    config.max_message_size = 64;
    context.update_stream(config.clone()).await.expect("updated");
    let refused =
        router.api.send(Method::PUT, "/admin/v1/apps/app", &[], &app).await.expect_err("refused");
    assert_eq!(refused.downcast_ref::<ErrorStatus>().expect("an answer").status, 503);
    assert!(
        format!("{refused:#}").contains("the audit log does not take the record"),
        "{refused:#}"
    );
    assert!(router.get("/admin/v1/apps/app").await.is_err(), "it is not created");
    config.max_message_size = -1;
    context.update_stream(config).await.expect("updated");
    router.put("/admin/v1/apps/app", app.clone()).await;
    // A stream that somebody deleted is created again by the next change.
    context.delete_stream("SW_AUDIT").await.expect("deleted");
    router.put("/admin/v1/apps/other", app).await;
    let page = router.get(LOG).await.expect("a page");
    assert_eq!(page["items"].as_array().expect("items").len(), 1);
    assert_eq!(
        (&page["items"][0]["operation"], &page["items"][0]["outcome"]),
        (&json!("putApp"), &json!("done"))
    );
}
