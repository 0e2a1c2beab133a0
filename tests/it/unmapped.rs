//! Webhooks that map to no event: their names are bounded on the broker, and none is lost.

use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::support::raw::{exchange, status};
use crate::support::{NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, register};

const SITE: &str = "site-1";
/// Names of one site with a subject of their own, as documented.
const NAMES_MAX: usize = 200;
/// Names beyond them.
const FURTHER: usize = 30;

async fn post(port: u16, name: &str, number: usize) {
    let body = json!({ "webhookEvent": name, "lamp": number }).to_string();
    let response = exchange(port, &format!("POST /ingest/jira/{SITE} HTTP/1.1"), &body).await;
    assert_eq!(status(&response), 202, "{response}");
}

/// Number of subjects of the site.
async fn subjects(nats: &NatsServer) -> usize {
    let stream = nats.context().await.get_stream("SW_EVENTS").await.expect("the event stream");
    let subjects = stream.info_with_subjects(format!("sw.ev.*.{SITE}.*")).await;
    let subjects: Vec<_> = subjects.expect("the subjects").try_collect().await.expect("all");
    subjects.len()
}

async fn listed(router: &RouterProcess) -> (usize, Value) {
    let path = format!("/admin/v1/sites/{SITE}/unmapped");
    let answer = router.get(&path).await.expect("the names");
    (answer["items"].as_array().expect("a list").len(), answer["other"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_beyond_the_bound_share_a_subject_and_still_reach_their_subscribers() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("r1"))
        .with("SWITCHYARD_INGEST__JIRA__SITE-1__UNSIGNED", true);
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    let last = format!("made_up_{}", NAMES_MAX + FURTHER - 1);
    register(&app, json!({ "events": [format!("webhook:{last}")], "endpoint": "hook" })).await;
    for number in 0..NAMES_MAX + FURTHER {
        post(setup.port, &format!("made_up_{number}"), number).await;
    }
    assert_eq!(subjects(&nats).await, NAMES_MAX + 1);
    assert_eq!(listed(&router).await, (NAMES_MAX, json!(FURTHER)));
    let counted = router.metric("switchyard_unmapped_other_total").await;
    assert!((counted - 30.0).abs() < 0.1, "{counted}");
    let received = eventually(WAIT_MAX, "the event is delivered", || async {
        sink.received().first().cloned()
    })
    .await;
    assert_eq!(received.json()["eventType"], format!("webhook:{last}"), "{:?}", received.json());

    // Another process knows the names that are stored.
    router.kill().await;
    let router = setup.start().await;
    for number in 0..10 {
        post(setup.port, &format!("made_up_{number}"), 1_000 + number).await;
        post(setup.port, &format!("another_{number}"), number).await;
    }
    assert_eq!(subjects(&nats).await, NAMES_MAX + 1);
    assert_eq!(listed(&router).await, (NAMES_MAX, json!(FURTHER + 10)));
    router.kill().await;
}
