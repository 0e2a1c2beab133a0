//! Revisions of modules: what is stored of their changes, restored after a loss, and shown to operators.

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use switchyard::clock;
use switchyard::domain::Secret;
use switchyard::jwt::qsh;

use crate::support::{NatsServer, RouterProcess, Setup, WAIT_MAX, app_token, eventually};

const V2: &str = "/forge/installation/v2/dynamic/module";
const WEBHOOKS: &str = "/rest/api/3/webhook";
const HANDLER: &str = "http://127.0.0.1:9/hook";
const CONNECT_APP: &str = "com.example.app";
const SHARED_SECRET: &str = "secret-0123456789abcdef0123456789abcdef";
const UPDATED: &str = "avi:jira:updated:issue";

async fn start(nats: &NatsServer, folder: &str) -> RouterProcess {
    Setup::new(&nats.url(), nats.folder().join(folder)).start().await
}

fn module(events: &[&str], filter: &str) -> Value {
    json!({"type": "trigger", "data": {"endpoint": "hook", "events": events,
        "filter": {"expression": filter}}})
}

/// Registers or replaces the module `k`.
async fn put(router: &RouterProcess, body: Value) {
    router.put("/admin/v1/installations/inst-1/modules/k", body).await;
}

async fn remove(app: &ApiClient) {
    app.send(Method::DELETE, &format!("{V2}/k"), &[], &Value::Null).await.expect("removed");
}

async fn act(router: &RouterProcess, action: &str) {
    let path = format!("/admin/v1/subscriptions/inst-1%2Fk/{action}");
    router.api.send(Method::POST, &path, &[], &Value::Null).await.expect("accepted");
}

/// The revisions as operators see them, newest first.
async fn shown(router: &RouterProcess, key: &str) -> Vec<Value> {
    let path = format!("/admin/v1/subscriptions/inst-1%2F{key}/revisions");
    let mut answer = router.get(&path).await.expect("revisions");
    match answer["items"].take() {
        Value::Array(items) => items,
        other => panic!("{other}"),
    }
}

fn texts(items: &[Value], member: &str) -> Vec<String> {
    items.iter().map(|one| one[member].as_str().unwrap_or_default().to_owned()).collect()
}

/// The stored revisions of a module, in the order of the stream, with their sequences.
async fn stored(nats: &NatsServer, key: &str) -> Vec<(u64, Value)> {
    let stream = nats.context().await.get_stream("SW_REV").await.expect("the stream");
    let state = stream.cached_info().state.clone();
    let mut found = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let Ok(message) = stream.get_raw_message(sequence).await else { continue };
        let record: Value = serde_json::from_slice(&message.payload).expect("a record");
        if record["key"] == key {
            found.push((sequence, record));
        }
    }
    found
}

async fn until_stored(nats: &NatsServer, key: &str, states: &[&str]) -> Vec<Value> {
    eventually(WAIT_MAX, &format!("{key}: {states:?}"), || async {
        let records: Vec<Value> = stored(nats, key).await.into_iter().map(|one| one.1).collect();
        (texts(&records, "state") == states).then_some(records)
    })
    .await
}

/// Waits until a router compared everything that it applied so far.
async fn until_compared(router: &RouterProcess) {
    eventually(WAIT_MAX, "no comparison waits", || async {
        let waiting = router.metric("switchyard_revision_checks_waiting").await;
        (waiting == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_filter_events_and_state_are_kept_and_explained() {
    let nats = NatsServer::start().await;
    let router = start(&nats, "router").await;
    let app = router.provision("app-1", "inst-1", "site-1", HANDLER).await;
    put(&router, module(&[UPDATED], "true")).await;
    put(&router, module(&[UPDATED], "1 == 1")).await;
    put(&router, module(&[UPDATED, "avi:jira:created:issue"], "1 == 1")).await;
    for action in ["pause", "resume", "disable"] {
        act(&router, action).await;
    }
    remove(&app).await;
    put(&router, module(&[UPDATED], "true")).await;
    let items = shown(&router, "k").await;
    let changes =
        ["registered", "removed", "off", "resumed", "paused", "changed", "changed", "registered"];
    assert_eq!(texts(&items, "change"), changes);
    assert_eq!(texts(&items, "state"), ["on", "deleted", "off", "on", "paused", "on", "on", "on"]);
    assert_eq!(items[5]["door"], "forge_v1");
    let states = ["on", "on", "on", "paused", "on", "off", "deleted", "on"];
    let records = until_stored(&nats, "k", &states).await;
    assert!(records.iter().all(|record| record.get("repaired").is_none()));
    assert!(!json!(records).to_string().contains("whsec"), "no secret is stored");

    let path = "/admin/v1/subscriptions/inst-1%2Fk/revisions";
    let number = items[6]["id"].as_str().expect("an id");
    let diff = router.get(&format!("{path}/{number}/diff")).await.expect("a difference");
    assert_eq!(diff["changed"][0]["before"]["filter"], "true");
    assert_eq!(diff["changed"][0]["after"]["filter"], "1 == 1");
    assert_eq!(diff["comparedWith"], items[7]["id"]);
    let number = items[5]["id"].as_str().expect("an id");
    let diff = router.get(&format!("{path}/{number}/diff")).await.expect("a difference");
    assert_eq!(diff["added"][0]["eventType"], "avi:jira:created:issue");
    let one = router.get(&format!("{path}/{number}")).await.expect("a revision");
    assert_eq!(one["data"]["events"][1], "avi:jira:created:issue");
    // The revision of a delivery, and a time, name what was in force.
    let later = items[2]["registryRevision"].as_u64().expect("a revision");
    let before: u64 = later - 1;
    let one = router.get(&format!("{path}/{before}")).await.expect("a revision");
    assert_eq!(one["state"], "on");
    let since = items[0]["since"].as_str().expect("a time");
    let then = router.get(&format!("{path}?at={since}")).await.expect("revisions");
    assert_eq!(then["items"].as_array().map(Vec::len), Some(1), "{then}");
    assert_eq!(then["complete"], true);
    assert!(router.get("/admin/v1/subscriptions/inst-1%2Fother/revisions").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_changes_keep_sixteen_revisions() {
    let nats = NatsServer::start().await;
    let router = start(&nats, "router").await;
    router.provision("app-1", "inst-1", "site-1", HANDLER).await;
    put(&router, module(&[UPDATED], "0 == 0")).await;
    for number in 1..20 {
        put(&router, module(&[UPDATED], &format!("0 == {number}"))).await;
    }
    let items = shown(&router, "k").await;
    assert_eq!(items.len(), 16);
    assert_eq!(items[0]["events"][0]["filter"], "0 == 19");
    assert_eq!(items[15]["events"][0]["filter"], "0 == 4");
    // What is older is said to be not kept, in each answer.
    let path = "/admin/v1/subscriptions/inst-1%2Fk/revisions";
    let answer = router.get(path).await.expect("revisions");
    assert_eq!((&answer["complete"], &answer["keptSince"]), (&json!(false), &items[15]["since"]));
    let oldest = items[15]["registryRevision"].as_u64().expect("a revision");
    for older in [
        "?at=2020-01-01T00:00:00Z".to_owned(),
        format!("/{}", oldest - 1),
        format!("/{oldest}/diff"),
    ] {
        let error = router.get(&format!("{path}{older}")).await;
        let error = error.expect_err("older than what is kept").to_string();
        assert!(error.contains("no revision of before") && error.contains("410"), "{error}");
    }
    let one = router.get(&format!("{path}/{oldest}")).await.expect("the oldest that is kept");
    assert_eq!(one["events"][0]["filter"], "0 == 4");
}

/// The number of modules that have revisions.
async fn subjects(nats: &NatsServer) -> u64 {
    let mut stream = nats.context().await.get_stream("SW_REV").await.expect("the stream");
    stream.info().await.expect("its state").state.subjects_count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_router_keeps_the_revisions_of_at_most_256_deleted_modules() {
    let nats = NatsServer::start().await;
    let router = start(&nats, "router").await;
    router.provision("app-1", "inst-1", "site-1", HANDLER).await;
    put(&router, module(&[UPDATED], "true")).await;
    for number in 0..260 {
        let path = format!("/admin/v1/installations/inst-1/modules/k-{number}");
        router.put(&path, module(&[UPDATED], "true")).await;
        router.api.send(Method::DELETE, &path, &[], &Value::Null).await.expect("removed");
    }
    eventually(WAIT_MAX, "257 modules have revisions", || async {
        (subjects(&nats).await == 257).then_some(())
    })
    .await;
    assert_eq!(texts(&shown(&router, "k-259").await, "state"), ["deleted", "on"]);
    let first = router.get("/admin/v1/subscriptions/inst-1%2Fk-0/revisions").await;
    assert!(first.is_err(), "the first deleted ones go first");
    let stream = nats.context().await.get_stream("SW_REV").await.expect("the stream");
    let config = &stream.cached_info().config;
    assert_eq!((config.max_messages_per_subject, config.max_messages), (17, 4_000_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_deletes_what_is_old_and_leaves_owners_alone_that_are_ahead() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    for (installation, site) in [("inst-1", "site-1"), ("inst-2", "site-2")] {
        router.provision("app-1", installation, site, HANDLER).await;
        let path = format!("/admin/v1/installations/{installation}/modules/{installation}-k");
        router.put(&path, module(&[UPDATED], "true")).await;
    }
    router.kill().await;
    let context = nats.context().await;
    let stream = context.get_stream("SW_REV").await.expect("the stream");
    stream.purge().filter("sw.rev.inst-1.*").await.expect("lost");
    let record = |installation: &str, document: u64, state: &str| {
        let record = json!({"v": 1, "installation": installation, "app": "app-1", "key": "old",
            "type": "trigger", "document": document, "atMs": 0, "state": state});
        (format!("sw.rev.{installation}.old"), record.to_string())
    };
    for (subject, body) in
        [record("inst-of-long-ago", 1, "deleted"), record("inst-2", 1_000_000_000, "on")]
    {
        context.publish(subject, body.into()).await.expect("sent").await.expect("stored");
    }
    let router = setup.start().await;
    until_stored(&nats, "inst-1-k", &["on"]).await;
    eventually(WAIT_MAX, "the old one is deleted, the one that is ahead is not", || async {
        (texts_of(&stored(&nats, "old").await) == ["inst-2"]).then_some(())
    })
    .await;
    eventually(WAIT_MAX, "it is counted", || async {
        let series = "switchyard_revision_documents_skipped{reason=\"ahead\"}";
        (router.metric(series).await == 1.0).then_some(())
    })
    .await;
}

/// The installations of stored revisions.
fn texts_of(stored: &[(u64, Value)]) -> Vec<String> {
    let records: Vec<Value> = stored.iter().map(|(_, record)| record.clone()).collect();
    texts(&records, "installation")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_revisions_are_stored_again_once_by_two_replicas() {
    let nats = NatsServer::start().await;
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    let router = one.start().await;
    router.provision("app-1", "inst-1", "site-1", HANDLER).await;
    put(&router, module(&[UPDATED], "true")).await;
    put(&router, module(&[UPDATED], "1 == 1")).await;
    let records = stored(&nats, "k").await;
    assert_eq!(records.len(), 2);
    // As if the router crashed between the document and its revision.
    router.kill().await;
    let stream = nats.context().await.get_stream("SW_REV").await.expect("the stream");
    stream.delete_message(records[1].0).await.expect("deleted");
    let (router, other) = tokio::join!(one.start(), other.start());
    let records = until_stored(&nats, "k", &["on", "on"]).await;
    assert_eq!(records[1]["repaired"], true);
    assert_eq!(records[1]["data"]["filter"]["expression"], "1 == 1");
    until_compared(&router).await;
    until_compared(&other).await;
    assert_eq!(stored(&nats, "k").await.len(), 2, "one of the two replicas wrote it");
    let items = shown(&other, "k").await;
    assert_eq!(texts(&items, "change"), ["changed", "registered"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_store_one_revision_of_each_change() {
    let nats = NatsServer::start().await;
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    let (one, other) = tokio::join!(one.start(), other.start());
    one.provision("app-1", "inst-1", "site-1", HANDLER).await;
    put(&one, module(&[UPDATED], "0 == 0")).await;
    for number in 1..8 {
        let router = if number % 2 == 0 { &one } else { &other };
        put(router, module(&[UPDATED], &format!("0 == {number}"))).await;
    }
    until_compared(&one).await;
    until_compared(&other).await;
    let records = stored(&nats, "k").await;
    let filters: Vec<&Value> =
        records.iter().map(|(_, record)| &record["data"]["filter"]["expression"]).collect();
    let expected: Vec<Value> = (0..8).map(|number| json!(format!("0 == {number}"))).collect();
    assert_eq!(filters, expected.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_does_not_depend_on_the_stream_which_is_created_again() {
    let nats = NatsServer::start().await;
    let router = start(&nats, "router").await;
    router.provision("app-1", "inst-1", "site-1", HANDLER).await;
    nats.context().await.delete_stream("SW_REV").await.expect("deleted");
    put(&router, module(&[UPDATED], "true")).await;
    assert!(router.metric("switchyard_revisions_deferred_total").await > 0.0);
    eventually(WAIT_MAX, "the stream is there again", || async {
        nats.context().await.get_stream("SW_REV").await.ok()
    })
    .await;
    let records = until_stored(&nats, "k", &["on"]).await;
    assert_eq!(records[0]["repaired"], true);
}

/// A Connect app that signs its calls.
async fn call(router: &RouterProcess, method: Method, path: &str, body: &Value) -> Value {
    let hash = qsh::hash(method.as_str(), path, "");
    let now_s = clock::now_ms().div_euclid(1000);
    let token = app_token(&Secret::new(SHARED_SECRET), CONNECT_APP, &hash, now_s);
    let authorization = format!("JWT {token}");
    let headers = [("authorization", authorization.as_str())];
    router.api.send(method, path, &headers, body).await.expect("an answer")
}

async fn install(router: &RouterProcess) {
    let body = json!({"app": CONNECT_APP, "cloudId": "site-1", "product": "jira",
        "clientKey": "tenant-1", "sharedSecret": SHARED_SECRET});
    router.put("/admin/v1/installations/inst-1", body).await;
}

/// Sets the expiry of all webhooks directly in the registry.
async fn end_at(nats: &NatsServer, at_ms: i64) {
    let registry = nats.context().await.get_key_value("SW_REG").await.expect("the registry");
    let entry = registry.entry("inst.inst-1").await.expect("an answer").expect("a document");
    let mut document: Value = serde_json::from_slice(&entry.value).expect("JSON");
    for module in document["modules"].as_array_mut().expect("modules") {
        module["data"]["expirationDate"] = json!(at_ms);
    }
    let value = document.to_string().into();
    registry.update("inst.inst-1", value, entry.revision).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_has_no_revision_of_a_refresh_one_of_its_expiry_and_survives_a_reinstall() {
    let nats = NatsServer::start().await;
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    let (router, other) = tokio::join!(one.start(), other.start());
    let body = json!({"kind": "connect", "baseUrl": "http://127.0.0.1:9/base", "scopes": ["READ"]});
    router.put(&format!("/admin/v1/apps/{CONNECT_APP}"), body).await;
    install(&router).await;
    let hooks = json!({"url": "http://127.0.0.1:9/base/hooks",
        "webhooks": [{"events": ["jira:issue_updated"], "jqlFilter": "project  =  A"}]});
    let answer = call(&router, Method::POST, WEBHOOKS, &hooks).await;
    let number = answer["webhookRegistrationResult"][0]["createdWebhookId"].clone();
    let key = format!("webhook-{number}");
    let refresh = format!("{WEBHOOKS}/refresh");
    let ids = json!({"webhookIds": [number]});
    call(&router, Method::PUT, &refresh, &ids).await;
    call(&other, Method::PUT, &refresh, &ids).await;
    let items = shown(&router, &key).await;
    assert_eq!(texts(&items, "state"), ["on"]);
    assert_eq!(items[0]["events"][0]["normalFilter"], "project = A");

    end_at(&nats, clock::now_ms() + 1_000).await;
    until_stored(&nats, &key, &["on", "expired"]).await;
    call(&router, Method::PUT, &refresh, &ids).await;
    until_compared(&router).await;
    until_compared(&other).await;
    until_stored(&nats, &key, &["on", "expired", "on"]).await;

    let path = "/admin/v1/installations/inst-1";
    router.api.send(Method::DELETE, path, &[], &Value::Null).await.expect("uninstalled");
    install(&router).await;
    until_compared(&router).await;
    until_compared(&other).await;
    until_stored(&nats, &key, &["on", "expired", "on", "uninstalled", "on"]).await;
}
