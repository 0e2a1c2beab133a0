//! Every source of events: the operator API, a file of envelopes, the webhooks of Jira and
//! Confluence.

use std::collections::BTreeSet;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use hyper::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{
    NatsServer, Received, RouterProcess, Setup, Sink, WAIT_MAX, eventually, register,
};

const SITE: &str = "site-1";
const WEBHOOK_SECRET: &str = "It's a Secret to Everybody, of 42 characters";
/// The only sample whose body has no event type.
const LIFECYCLE: (&str, &str) = ("forge-installed-app", "avi:forge:installed:app");

/// The sample events: name and content of each file.
fn samples() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/events");
    let files = std::fs::read_dir(folder).expect("the sample events");
    let mut samples: Vec<(String, Value)> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("a readable sample");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).expect("a JSON sample"))
        })
        .collect();
    samples.sort_by(|left, right| left.0.cmp(&right.0));
    samples
}

fn event_type(name: &str, sample: &Value) -> String {
    let named = sample["eventType"].as_str();
    let of_envelope = sample["headers"]["ce-type"].as_str();
    let lifecycle = (name == LIFECYCLE.0).then_some(LIFECYCLE.1);
    named.or(of_envelope).or(lifecycle).expect("a sample names its type").to_owned()
}

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", HEXLOWER.encode(&mac.finalize().into_bytes()))
}

/// Sends one sample through its API; returns how many events it yields.
async fn send(router: &RouterProcess, name: &str, sample: &Value) -> usize {
    if name.starts_with("webhook-") || name == "another" {
        let signature = signature(&sample.to_string());
        let headers =
            [("x-atlassian-webhook-identifier", name), ("x-hub-signature", signature.as_str())];
        let path = format!("/ingest/jira/{SITE}");
        let answer = router.api.send(Method::POST, &path, &headers, sample).await;
        return answer.expect("the webhook is taken")["ids"].as_array().expect("ids").len();
    }
    let answer = if sample.get("headers").is_some() {
        let mut line = sample.clone();
        line["headers"]["ce-cloudid"] = json!(SITE);
        let headers = [("content-type", "application/x-ndjson")];
        router.api.send(Method::POST, "/admin/v1/events", &headers, &line).await
    } else {
        let path = format!("/admin/v1/events?cloudId={SITE}&type={}", event_type(name, sample));
        router.api.send(Method::POST, &path, &[("ce-id", name)], sample).await
    };
    let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(answer["accepted"], json!(1), "{name}: {answer}");
    1
}

/// Whether a delivered body has all members of the published one, unchanged.
fn holds(delivered: &Value, published: &Value) -> bool {
    let derived = ["selfGenerated", "context", "retryContext", "runtime"];
    let published = published.as_object().expect("an object");
    published
        .iter()
        .filter(|(name, _)| !derived.contains(&name.as_str()))
        .all(|(name, value)| delivered.get(name) == Some(value))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_event_and_webhook_reaches_a_handler() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let config = nats.folder().join("switchyard.toml");
    let secret = format!("[ingest.jira.{SITE}]\nsecret = \"{WEBHOOK_SECRET}\"\n");
    std::fs::write(&config, secret).expect("a configuration file");
    setup = setup.with("SWITCHYARD_CONFIG", config.display());
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    let samples = samples();
    assert_eq!(samples.len(), 57);
    let mut types: BTreeSet<String> = samples
        .iter()
        .filter(|(name, _)| !name.starts_with("webhook-"))
        .map(|(name, sample)| event_type(name, sample))
        .collect();
    let of_webhooks = ["assigned:issue", "commented:issue", "created:issuelink", "created:worklog"];
    types.extend(of_webhooks.map(|name| format!("avi:jira:{name}")));
    register(&app, json!({ "endpoint": "hook", "events": types })).await;

    let mut wanted = 0;
    for (name, sample) in &samples {
        wanted += send(&router, name, sample).await;
    }
    assert_eq!(wanted, samples.len(), "no sample changes an assignee, so each is one event");
    let received = eventually(WAIT_MAX, "all of them arrive", || async {
        (sink.count() >= wanted).then(|| sink.received())
    })
    .await;
    assert_eq!(received.len(), wanted);
    for (name, sample) in samples.iter().filter(|(name, _)| !name.starts_with("webhook-")) {
        let body = sample.get("data").filter(|_| sample.get("headers").is_some());
        let published = body.unwrap_or(sample);
        let arrived = |one: &Received| holds(&one.json(), published);
        assert!(received.iter().any(arrived), "{name} arrives as it was published");
    }
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_with_a_wrong_signature_is_refused_and_a_resent_one_is_stored_once() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let config = nats.folder().join("switchyard.toml");
    let secret = format!("[ingest.jira.{SITE}]\nsecret = \"{WEBHOOK_SECRET}\"\n");
    std::fs::write(&config, secret).expect("a configuration file");
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_CONFIG", config.display());
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(&app, json!({ "endpoint": "hook", "events": ["avi:jira:created:issue"] })).await;
    let sample = samples().into_iter().find(|(name, _)| name == "webhook-issue-created");
    let (name, sample) = sample.expect("the sample");
    let path = format!("/ingest/jira/{SITE}");
    let wrong =
        [("x-atlassian-webhook-identifier", name.as_str()), ("x-hub-signature", "sha256=00")];
    let refused = router.api.send(Method::POST, &path, &wrong, &sample).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    send(&router, &name, &sample).await;
    send(&router, &name, &sample).await;
    let mut other = sample.clone();
    other["issue"]["key"] = json!("LAST-1");
    send(&router, "another", &other).await;
    eventually(WAIT_MAX, "the last one arrives", || async {
        sink.received().iter().any(|one| one.json()["issue"]["key"] == "LAST-1").then_some(())
    })
    .await;
    assert_eq!(sink.count(), 2, "the repeat under the same identifier is one event");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluence_webhook_reaches_triggers_as_an_event_and_connect_apps_as_it_was() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_INGEST__CONFLUENCE__SITE-1__SECRET", WEBHOOK_SECRET);
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/event")).await;
    let filter = json!({ "expression": "event.content.space.key == 'OPS'" });
    let events = ["avi:confluence:updated:page"];
    register(&app, json!({ "endpoint": "hook", "events": events, "filter": filter })).await;
    let hook = json!({ "key": "hook", "event": "page_updated", "url": "/webhook" });
    let connect = json!({ "kind": "connect", "baseUrl": sink.url("/"), "scopes": ["READ"],
        "staticModules": { "webhooks": [hook] } });
    router.put("/admin/v1/apps/connect-1", connect).await;
    let installation = json!({ "app": "connect-1", "cloudId": SITE, "product": "confluence",
        "clientKey": "tenant-1", "sharedSecret": WEBHOOK_SECRET });
    router.put("/admin/v1/installations/inst-2", installation).await;

    let page = |space: &str| {
        json!({ "userAccountId": "a:1", "timestamp": 1_800_000_000_000_i64,
        "page": { "id": 7, "idAsString": "7", "spaceKey": space, "contentType": "page" } })
    };
    let path = format!("/ingest/confluence/{SITE}?event=page_updated");
    for space in ["WEB", "OPS"] {
        let body = page(space);
        let signature = signature(&body.to_string());
        let headers =
            [("x-hub-signature", signature.as_str()), ("x-atlassian-webhook-identifier", space)];
        router.api.send(Method::POST, &path, &headers, &body).await.expect("taken");
    }
    let unsigned = router.api.send(Method::POST, &path, &[], &page("OPS")).await.unwrap_err();
    assert!(unsigned.to_string().contains("401"), "{unsigned}");
    eventually(WAIT_MAX, "all of them arrive", || async { (sink.count() >= 3).then_some(()) })
        .await;
    let [event] = sink.received_at("/event").try_into().expect("the filter lets one through");
    let event = event.json();
    assert_eq!((&event["atlassianId"], &event["content"]["id"]), (&json!("a:1"), &json!("7")));
    let webhooks: Vec<Value> = sink.received_at("/webhook").iter().map(Received::json).collect();
    assert_eq!(webhooks.len(), 2);
    assert!(webhooks.contains(&page("OPS")), "{webhooks:?}");
    router.kill().await;
}
