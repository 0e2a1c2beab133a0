//! Registry documents that a router cannot read: the events of their installations wait, and those
//! of all others do not. Design: `docs/design/unreadable-documents.md`.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{NatsServer, RouterProcess, Setup, Sink, eventually, publish, register};

const SITE: &str = "site-1";
/// A generous limit for everything that is waited for.
const SOON: Duration = Duration::from_secs(60);
/// Installation under test: its id is its key, or has a token of its own.
const PLAIN: &str = "inst-a";
const ARI: &str = "ari:cloud:ecosystem::installation/11111111-aaaa-4aaa-8aaa-000000000001";

/// A broker, handlers, a router, and two installations of two apps in one site.
struct World {
    _nats: NatsServer,
    sink: Sink,
    setup: Setup,
    router: Option<RouterProcess>,
    broker: async_nats::Client,
    bucket: kv::Store,
    id: &'static str,
}

impl World {
    /// Starts with the installation `id` of the app `app-a`, and `inst-b` of `app-b`. Both want the
    /// events of project `XXX`, at paths of their own.
    async fn start(id: &'static str) -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
            .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1");
        let router = setup.start().await;
        let filter = json!({ "expression": "event.issue.fields.project.key == 'XXX'" });
        let escaped = id.replace(':', "%3A").replace('/', "%2F");
        for (app, installation, path) in [("app-a", &*escaped, "/a"), ("app-b", "inst-b", "/b")] {
            let client = router.provision(app, installation, SITE, &sink.url(path)).await;
            let events = json!(["avi:jira:updated:issue"]);
            register(&client, json!({ "endpoint": "hook", "events": events, "filter": filter }))
                .await;
        }
        let broker = nats.client().await;
        let bucket = jetstream::new(broker.clone()).get_key_value("SW_REG").await.unwrap();
        Self { _nats: nats, sink, setup, router: Some(router), broker, bucket, id }
    }

    fn key(&self) -> String {
        format!("inst.{}", switchyard::domain::token(self.id))
    }

    async fn stored(&self, key: &str) -> Bytes {
        self.bucket.get(key).await.expect("an answer").expect("a document")
    }

    /// Replaces a document behind the router's back; returns the old one.
    async fn replace(&self, key: &str, change: impl FnOnce(&Bytes) -> Bytes) -> Bytes {
        let before = self.stored(key).await;
        self.bucket.put(key, change(&before)).await.expect("written");
        before
    }

    fn router(&self) -> &RouterProcess {
        self.router.as_ref().expect("a router runs")
    }

    async fn stop_router(&mut self) {
        self.router.take().expect("a router runs").kill().await;
    }

    async fn start_router(&mut self) {
        self.router = Some(self.setup.start().await);
    }

    /// Publishes two events that match and one that does not.
    async fn publish_three(&self, first: u64) {
        for (number, project) in [(first, "XXX"), (first + 1, "YYY"), (first + 2, "XXX")] {
            publish(&self.broker, SITE, number, project).await;
        }
    }

    /// Issue numbers that a path received, each once.
    fn issues(&self, path: &str) -> BTreeSet<String> {
        let received = self.sink.received_at(path);
        let key = |one: &crate::support::Received| one.json()["issue"]["key"].to_string();
        received.iter().map(key).collect()
    }

    async fn until_received(&self, path: &str, events: &[u64]) {
        let wanted: BTreeSet<_> = events.iter().map(|n| format!("\"XXX-{n}\"")).collect();
        eventually(SOON, &format!("{path} receives {wanted:?}"), || async {
            (self.issues(path) == wanted).then_some(())
        })
        .await;
    }

    async fn problems(&self) -> Vec<Value> {
        let found = self.router().get("/admin/v1/problems").await.expect("problems");
        let items = found["items"].as_array().expect("a list").iter();
        items.filter(|one| one["kind"] == "unreadable_document").cloned().collect()
    }

    async fn until_problem(&self, key: &str) -> Value {
        eventually(SOON, "the document is a problem", || async {
            self.problems().await.into_iter().find(|one| one["key"] == key)
        })
        .await
    }

    async fn until_no_problem(&self) {
        eventually(SOON, "no document is a problem", || async {
            self.problems().await.is_empty().then_some(())
        })
        .await;
    }

    async fn waiting(&self) -> f64 {
        self.router().metric("switchyard_parkings_total{reason=\"unreadable\"}").await
    }

    /// Messages of a stream.
    async fn messages(&self, stream: &str) -> u64 {
        let context = jetstream::new(self.broker.clone());
        let mut stream = context.get_stream(stream).await.expect("a stream");
        stream.info().await.expect("an answer").state.messages
    }

    async fn until_nothing_is_parked(&self) {
        eventually(SOON, "nothing is parked", || async {
            (self.messages("SW_PARKED").await == 0).then_some(())
        })
        .await;
        assert_eq!(self.messages("SW_DLQ").await, 0, "nothing is dead-lettered");
    }
}

/// A document as a newer release may write it: only the members of the contract stay.
fn newer(before: &Bytes) -> Bytes {
    let old: Value = serde_json::from_slice(before).unwrap();
    let new = json!({ "format": 9, "id": old["id"], "app": old["app"], "cloudId": old["cloudId"],
        "modulesByKey": {}, "state": { "name": "enabled" } });
    new.to_string().into()
}

/// A document with a kind of module that this release does not know.
fn with_unknown_module(before: &Bytes) -> Bytes {
    let mut document: Value = serde_json::from_slice(before).unwrap();
    document["modules"][0]["type"] = "triggerOfTomorrow".into();
    document.to_string().into()
}

/// A document in which a trigger has a member of tomorrow.
fn with_unknown_trigger_member(before: &Bytes) -> Bytes {
    let mut document: Value = serde_json::from_slice(before).unwrap();
    document["modules"][0]["data"]["sample"] = json!({ "percent": 10 });
    document.to_string().into()
}

fn with_unknown_state(before: &Bytes) -> Bytes {
    let mut document: Value = serde_json::from_slice(before).unwrap();
    document["state"] = "hibernating".into();
    document.to_string().into()
}

fn damaged(_before: &Bytes) -> Bytes {
    Bytes::from_static(b"\x00\xff not JSON")
}

/// The document is changed while no router runs. Its events wait, those of the other installation
/// do not; once it is restored they are delivered as its filters say.
async fn start_with(id: &'static str, change: fn(&Bytes) -> Bytes) {
    let mut world = World::start(id).await;
    let key = world.key();
    world.stop_router().await;
    let before = world.replace(&key, change).await;
    world.start_router().await;
    let problem = world.until_problem(&key).await;
    assert!(problem["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{problem}");
    world.publish_three(1).await;
    world.until_received("/b", &[1, 3]).await;
    eventually(SOON, "all three events wait", || async {
        (world.waiting().await >= 3.0).then_some(())
    })
    .await;
    assert!(world.issues("/a").is_empty());
    let unready = world.router().failing().await;
    assert!(unready.is_empty(), "one document stops no other installation: {unready:?}");
    let ready = world.router().get("/healthz/ready").await.expect("200");
    assert_eq!(ready["degraded"], json!(["registry documents that cannot be read: 1"]));
    let gauge = "switchyard_registry_unreadable_documents{family=\"inst\"}";
    assert!(world.router().metric(gauge).await > 0.0);
    world.bucket.put(key.as_str(), before).await.expect("restored");
    world.until_no_problem().await;
    world.until_received("/a", &[1, 3]).await;
    world.until_nothing_is_parked().await;
    world.publish_three(4).await;
    world.until_received("/a", &[1, 3, 4, 6]).await;
    world.until_received("/b", &[1, 3, 4, 6]).await;
    assert_eq!(world.sink.count(), 8, "nothing is delivered twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_document_of_a_newer_format() {
    start_with(PLAIN, newer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_damaged_document_of_an_unknown_site() {
    start_with(ARI, damaged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_document_with_an_unknown_state() {
    start_with(PLAIN, with_unknown_state).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_document_with_a_module_of_an_unknown_type() {
    start_with(PLAIN, with_unknown_module).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_document_with_an_unknown_member_of_a_trigger() {
    start_with(PLAIN, with_unknown_trigger_member).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_all_installations_of_an_unreadable_app_wait() {
    let mut world = World::start(PLAIN).await;
    world.stop_router().await;
    let before = world.replace("app.app-a", damaged).await;
    world.start_router().await;
    world.until_problem("app.app-a").await;
    world.publish_three(1).await;
    world.until_received("/b", &[1, 3]).await;
    eventually(SOON, "the events wait", || async { (world.waiting().await >= 3.0).then_some(()) })
        .await;
    assert!(world.issues("/a").is_empty());
    world.bucket.put("app.app-a", before).await.expect("restored");
    world.until_received("/a", &[1, 3]).await;
    world.until_nothing_is_parked().await;
}

/// A replica that read the document before waits as one that starts does: a removed module must not
/// be called, and a new one not be missed. A delivery that is parked already waits, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_that_becomes_unreadable_loses_no_parked_delivery() {
    let mut world = World::start(PLAIN).await;
    world.sink.answer("/a", 503, None);
    publish(&world.broker, SITE, 1, "XXX").await;
    eventually(SOON, "the delivery is parked", || async {
        (world.messages("SW_PARKED").await == 1).then_some(())
    })
    .await;
    let key = world.key();
    let before = world.replace(&key, newer).await;
    world.until_problem(&key).await;
    // Started again, the router does not know the subscription of the parked delivery.
    world.stop_router().await;
    world.start_router().await;
    let attempts = world.sink.received_at("/a").len();
    publish(&world.broker, SITE, 2, "XXX").await;
    eventually(SOON, "both wait for the document", || async {
        (world.waiting().await >= 2.0 && world.messages("SW_PARKED").await == 2).then_some(())
    })
    .await;
    assert_eq!(world.sink.received_at("/a").len(), attempts, "no attempt while it waits");
    world.sink.answer("/a", 204, None);
    world.bucket.put(key.as_str(), before).await.expect("restored");
    world.until_received("/a", &[1, 2]).await;
    world.until_nothing_is_parked().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_deleted_document_are_dropped_by_a_counted_policy() {
    let world = World::start(PLAIN).await;
    let key = world.key();
    world.replace(&key, newer).await;
    world.until_problem(&key).await;
    world.publish_three(1).await;
    world.until_received("/b", &[1, 3]).await;
    world.bucket.delete(key.as_str()).await.expect("deleted by an operator");
    world.until_no_problem().await;
    world.until_nothing_is_parked().await;
    let policy = "switchyard_policy_drops_total{policy=\"subscription_removed\"}";
    assert!(world.router().metric(policy).await >= 3.0);
    assert!(world.issues("/a").is_empty());
}

/// A newer release next to this one writes a member that this one does not know, in the same format.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_newer_release_survive_a_change_and_an_unreadable_document_is_not_changed() {
    let world = World::start(PLAIN).await;
    let key = world.key();
    world
        .replace(&key, |before| {
            let mut document: Value = serde_json::from_slice(before).unwrap();
            document["later"] = json!({ "a": [1, null] });
            document["modules"][0]["later"] = true.into();
            document.to_string().into()
        })
        .await;
    let path = format!("/admin/v1/installations/{PLAIN}");
    let body = json!({ "app": "app-a", "cloudId": SITE, "product": "jira", "licensed": false });
    world.router().put(&path, body.clone()).await;
    let stored: Value = serde_json::from_slice(&world.stored(&key).await).unwrap();
    assert_eq!(stored["licensed"], false);
    assert_eq!(stored["later"], json!({ "a": [1, null] }));
    assert_eq!(stored["modules"][0]["later"], true);
    world.replace(&key, newer).await;
    let unreadable = world.stored(&key).await;
    world.until_problem(&key).await;
    let put = world.router().api.send(hyper::Method::PUT, &path, &[], &body).await;
    let refused = put.expect_err("a document that cannot be read is not changed").to_string();
    assert!(refused.contains("cannot be read"), "{refused}");
    assert_eq!(world.stored(&key).await, unreadable);
}

/// A replica of an earlier release dead-letters what it cannot read of a parked record, and drops
/// what names a module that it does not know. The record of an event that waits names none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_of_a_waiting_event_names_no_module() {
    let world = World::start(PLAIN).await;
    let key = world.key();
    world.replace(&key, newer).await;
    world.until_problem(&key).await;
    publish(&world.broker, SITE, 1, "XXX").await;
    let context = jetstream::new(world.broker.clone());
    let parked = context.get_stream("SW_PARKED").await.expect("a stream");
    let record = eventually(SOON, "a parked record", || async {
        let sequence = parked.get_info().await.ok()?.state.first_sequence;
        parked.get_raw_message(sequence).await.ok()
    })
    .await;
    let header = |name: &str| record.headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("switchyard-module-key"), None);
    assert_eq!(header("switchyard-unmatched-app").as_deref(), Some("app-a"));
    assert_eq!(header("switchyard-installation").as_deref(), Some(PLAIN));
    assert_eq!(header("switchyard-park-reason").as_deref(), Some("unreadable"));
}
