//! Hostile and broken input: it yields a clear error or a dead letter with the original bytes, and
//! other events are not affected.

use std::collections::HashMap;

use hyper::Method;
use serde_json::json;

use crate::support::{
    NatsServer, Setup, Sink, WAIT_MAX, eventually, publish, publish_raw, register,
};

const SITE: &str = "site-1";
const UPDATED: &str = "avi:jira:updated:issue";

fn nested(depth: usize) -> Vec<u8> {
    let mut body = b"{\"issue\":".to_vec();
    body.extend(std::iter::repeat_n(b'[', depth));
    body.extend(std::iter::repeat_n(b']', depth));
    body.push(b'}');
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_events_become_dead_letters_and_others_are_delivered() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(&app, json!({ "endpoint": "hook", "events": [UPDATED] })).await;
    let broker = nats.client().await;

    let broken: [(&str, Vec<u8>, &str); 6] = [
        ("json", b"{\"eventType\": \"avi:jira".to_vec(), "poison_json"),
        ("utf8", b"{\"issue\": \"\xff\xfe\"}".to_vec(), "poison_utf8"),
        (
            "size",
            format!("{{\"a\":\"{}\"}}", "x".repeat((1 << 20) - 7)).into_bytes(),
            "poison_size",
        ),
        ("deep", nested(100_000), "poison_depth"),
        ("list", b"[1,2,3]".to_vec(), "poison_schema"),
        ("type", b"{\"eventType\":\"avi:jira:deleted:issue\"}".to_vec(), "poison_schema"),
    ];
    assert_eq!(broken[2].1.len(), (1 << 20) + 1, "one byte more than allowed");
    for (number, (name, body, _)) in broken.iter().enumerate() {
        publish(&broker, SITE, number as u64, "OPS").await;
        publish_raw(&broker, SITE, UPDATED, name, body.clone()).await;
    }
    publish(&broker, SITE, 99, "OPS").await;
    eventually(WAIT_MAX, "all good neighbours arrive", || async {
        (sink.count() == broken.len() + 1).then_some(())
    })
    .await;

    let context = crate::support::jetstream(broker.clone());
    let letters = eventually(WAIT_MAX, "all broken ones are kept", || async {
        let mut stream = context.get_stream("SW_DLQ").await.ok()?;
        let count = stream.info().await.ok()?.state.messages;
        (count == broken.len() as u64).then_some(stream)
    })
    .await;
    let mut by_id = HashMap::new();
    for at in 1..=broken.len() as u64 {
        let letter = letters.get_raw_message(at).await.expect("a dead letter");
        by_id.insert(letter.headers.get("ce-id").expect("its id").to_string(), letter);
    }
    for (name, body, reason) in &broken {
        let letter = &by_id[*name];
        let said = letter.headers.get("switchyard-dlq-reason").expect("a reason").as_str();
        assert_eq!(said, *reason, "{name}");
        assert!(letter.payload == *body, "{name}: the original bytes are kept");
    }
    assert!(router.get("/healthz/live").await.is_ok());
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_rejects_invalid_input_with_the_reason() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    let path = "/forge/installation/v2/dynamic/module";
    let refused = |expression: String| {
        let app = app.clone();
        async move {
            let body = json!({ "type": "trigger", "data": { "endpoint": "hook", "events": [UPDATED],
                "filter": { "expression": expression } } });
            let answer = app.send(Method::POST, path, &[], &body).await;
            answer.expect_err("the filter is refused").to_string()
        }
    };
    let hostile = refused("(".repeat(10_000)).await;
    assert!(hostile.contains("422"), "{hostile}");
    assert!(refused("event.issue.key == ".into()).await.contains("422"));
    assert!(refused("issue.key == 'A'".into()).await.contains("event"));
    let unknown = json!({ "type": "trigger",
        "data": { "endpoint": "hook", "events": ["avi:jira:created:comment"] } });
    let unknown = app.send(Method::POST, path, &[], &unknown).await.unwrap_err().to_string();
    assert!(unknown.contains("avi:jira:commented:issue"), "{unknown}");

    let path = format!("/admin/v1/events?cloudId={SITE}&type={UPDATED}");
    let wrong = json!({ "eventType": "avi:jira:deleted:issue" });
    let wrong = router.api.send(Method::POST, &path, &[], &wrong).await;
    let wrong = wrong.map_or_else(|error| error.to_string(), |answer| answer.to_string());
    assert!(wrong.contains("eventType") || wrong.contains("type_mismatch"), "{wrong}");
    assert!(router.get("/healthz/live").await.is_ok());
    router.kill().await;
}
