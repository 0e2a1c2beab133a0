//! For how long bodies of an installation are kept in dead letters and in the delivery log.

use async_nats::jetstream;
use hyper::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{
    NatsServer, Proxy, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// A part of the body of each event.
const IN_BODY: &str = "Issue number";
/// What a handler answers.
const ANSWER: &str = "answer of the handler";

fn setup(url: &str, nats: &NatsServer) -> Setup {
    Setup::new(url, nats.folder().join("router")).with("SWITCHYARD_DELIVERY__LOG_RESPONSES", "all")
}

/// Provisions `inst-dead`, whose handler answers 404, and `inst-ok`, whose handler answers a text.
async fn provision(router: &RouterProcess, sink: &Sink) {
    sink.answer("/dead", 404, None);
    sink.answer_with("/ok", ANSWER);
    for name in ["dead", "ok"] {
        let (app, installation) = (format!("app-{name}"), format!("inst-{name}"));
        let handler = sink.url(&format!("/{name}"));
        let app = router.provision(&app, &installation, "site-1", &handler).await;
        register(&app, json!({ "endpoint": "hook", "events": [EVENT_TYPE] })).await;
    }
}

/// Changes an installation; returns the answer.
async fn retain(router: &RouterProcess, name: &str, retention: Value) -> anyhow::Result<Value> {
    let path = format!("/admin/v1/installations/inst-{name}");
    let body = json!({ "app": format!("app-{name}"), "cloudId": "site-1", "product": "jira",
        "retention": retention });
    router.api.send(Method::PUT, &path, &[], &body).await
}

async fn stored(context: &jetstream::Context, stream: &str) -> Vec<String> {
    let stream = context.get_stream(stream).await.expect("the stream");
    let state = stream.cached_info().state.clone();
    let mut all = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let Ok(message) = stream.get_raw_message(sequence).await else { continue };
        all.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    all
}

async fn until_stored(context: &jetstream::Context, stream: &str, wanted: usize) {
    eventually(WAIT_MAX, &format!("{stream} has {wanted} messages"), || async {
        (stored(context, stream).await.len() == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installation_that_keeps_no_bodies_has_none_in_dead_letters_and_log() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats.url(), &nats).start().await;
    provision(&router, &sink).await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "site-1", 1, "XXX").await;
    until_stored(&context, "SW_DLQ", 1).await;
    until_stored(&context, "SW_ATTEMPTS", 2).await;
    assert!(stored(&context, "SW_DLQ").await[0].contains(IN_BODY));
    assert!(stored(&context, "SW_ATTEMPTS").await.iter().any(|one| one.contains(ANSWER)));

    for name in ["dead", "ok"] {
        let put = retain(&router, name, json!({ "bodiesDays": 0 })).await.unwrap();
        assert_eq!(put["warnings"][0]["code"], "SY-2039", "{put}");
        let shown = router.get(&format!("/admin/v1/installations/inst-{name}")).await.unwrap();
        assert_eq!(
            (&shown["retention"], &shown["bodiesDays"]),
            (&json!({ "bodiesDays": 0 }), &json!(0))
        );
    }
    for bad in [json!({ "bodiesDays": 91 }), json!({ "bodiesDays": -1 }), json!({ "days": 1 })] {
        let refused = retain(&router, "ok", bad.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("422"), "{bad}: {refused}");
    }
    publish(&broker, "site-1", 2, "XXX").await;
    until_stored(&context, "SW_ATTEMPTS", 4).await;
    let records = stored(&context, "SW_ATTEMPTS").await;
    assert!(!records[2..].iter().any(|one| one.contains(ANSWER)), "{records:?}");
    let listed = router.get("/admin/v1/dlq").await.unwrap();
    let letter = &listed["items"][0];
    assert_eq!((&letter["event"]["id"], &letter["bytes"]), (&json!("event-2"), &json!(0)));
    assert_eq!(letter["bodyRemoved"], "retention");
    assert!(letter["omittedBytes"].as_u64().unwrap() > 100, "{letter}");
    let ids = json!({ "ids": [letter["id"]], "dryRun": true });
    let path = "/admin/v1/dlq/redrive";
    let planned = router.api.send(Method::POST, path, &[], &ids).await.unwrap();
    assert_eq!(planned["counts"]["skipped_body_omitted"], 1, "{planned}");
    // The letter with a body, of the time before, is deleted: no body is kept.
    eventually(WAIT_MAX, "the letter with a body is deleted", || async {
        let letters = stored(&context, "SW_DLQ").await;
        (letters.len() == 1 && letters[0].is_empty()).then_some(())
    })
    .await;
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_deleted_once_their_days_are_over() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats.url(), &nats).start().await;
    provision(&router, &sink).await;
    sink.answer("/ok", 404, None);
    retain(&router, "dead", json!({ "bodiesDays": 1 })).await.unwrap();
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..3 {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_stored(&context, "SW_DLQ", 6).await;
    router.kill().await;

    let proxy = Proxy::shifting(&nats.url(), SignedDuration::from_hours(25)).await;
    let router = setup(&proxy.url(), &nats).start().await;
    until_stored(&context, "SW_DLQ", 3).await;
    let left = router.get("/admin/v1/dlq?installation=inst-ok").await.unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 3, "{left}");
    let removed = router.metric(r#"switchyard_bodies_removed_total{reason="retention"}"#).await;
    assert!((removed - 3.0).abs() < 0.1);
    let removed = router.get("/admin/v1/deliveries?outcome=removed").await.unwrap();
    let reasons: Vec<_> = removed["items"].as_array().unwrap().iter().collect();
    assert!(reasons.len() == 3 && reasons.iter().all(|one| one["reason"] == "expired"));
    router.kill().await;
}
