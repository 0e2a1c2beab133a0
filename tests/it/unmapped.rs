//! Webhooks that map to no event: their names are bounded on the broker, and none is lost.

use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::support::raw::{exchange, status};
use crate::support::{NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually};

const SITE: &str = "site-1";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
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
    let last = format!("made_up_{}", NAMES_MAX + FURTHER - 1);
    let hook = json!({ "key": "hook", "event": last, "url": "/hook" });
    let app = json!({ "kind": "connect", "baseUrl": sink.url("/"), "scopes": ["READ"],
        "staticModules": { "webhooks": [hook] } });
    router.put("/admin/v1/apps/connect-1", app).await;
    let installation = json!({ "app": "connect-1", "cloudId": SITE, "product": "jira",
        "clientKey": "tenant-1", "sharedSecret": SECRET });
    router.put("/admin/v1/installations/inst-1", installation).await;
    for number in 0..NAMES_MAX + FURTHER {
        post(setup.port, &format!("made_up_{number}"), number).await;
    }
    assert_eq!(subjects(&nats).await, NAMES_MAX + 1);
    assert_eq!(listed(&router).await, (NAMES_MAX, json!(FURTHER)));
    let counted = router.metric("switchyard_unmapped_other_total").await;
    assert!((counted - 30.0).abs() < 0.1, "{counted}");
    let received = eventually(WAIT_MAX, "the webhook is delivered", || async {
        sink.received_at("/hook").first().cloned()
    })
    .await;
    assert_eq!(received.json()["webhookEvent"], last, "{:?}", received.json());

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
