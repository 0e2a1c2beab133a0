//! Webhook ingestion, against a stream in memory.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use super::*;
use crate::api::testing::{MemoryStream, post};

const PATH: &str = "/ingest/jira/c1";

fn ingest_api(stream: &Arc<MemoryStream>, secret: Option<&str>) -> Router {
    let secret = secret.map(|secret| ((Product::Jira, "c1".into()), Secret::new(secret)));
    webhook_routes(IngestState {
        publisher: Arc::clone(stream) as Arc<dyn Publisher>,
        secrets: Arc::new(secret.into_iter().collect()),
        body_bytes_max: 64 * 1024,
    })
}

fn sample(name: &str) -> String {
    let path = format!("{}/tests/data/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn webhook_is_stored_and_answered_with_its_event_ids() {
    let stream = Arc::new(MemoryStream::default());
    let headers = [("X-Atlassian-Webhook-Identifier", "w-1")];
    let body = sample("webhook-issue-updated");
    let (status, _, answer) = post(ingest_api(&stream, None), PATH, &headers, body).await;
    assert_eq!(status, 202);
    assert_eq!(answer, json!({"ids": ["w-1:avi:jira:updated:issue"]}));
    assert_eq!(stream.identities(), ["c1/w-1:avi:jira:updated:issue"]);
}

#[tokio::test]
async fn webhook_with_very_many_members_is_mapped_with_all_of_them() {
    let stream = Arc::new(MemoryStream::default());
    let members: Vec<String> = (0..5_000).map(|at| format!("\"m{at}\":{at}")).collect();
    let body = format!(r#"{{"webhookEvent":"jira:issue_created",{}}}"#, members.join(","));
    assert!(body.len() > 32 * 1024, "parsed outside the runtime");
    let (status, _, _) = post(ingest_api(&stream, None), PATH, &[], body).await;
    assert_eq!(status, 202);
    let (_, stored) = &stream.events()[0];
    let event: Value = serde_json::from_slice(stored).unwrap();
    assert_eq!(event["m4999"], 4999);
}

#[tokio::test]
async fn retried_webhook_is_stored_once() {
    let stream = Arc::new(MemoryStream::default());
    for _ in 0..2 {
        let body = sample("webhook-issue-created");
        let (status, _, _) = post(ingest_api(&stream, None), PATH, &[], body).await;
        assert_eq!(status, 202);
    }
    assert_eq!(stream.events().len(), 1);
}

#[tokio::test]
async fn signature_is_required_where_a_secret_is_set() {
    let stream = Arc::new(MemoryStream::default());
    let body = r#"{"webhookEvent":"jira:issue_created","timestamp":1800000000000}"#;
    let good = "sha256=705391f9e72f21389f60c9b266f51444f3669b1fb8df75d55a78b249cd4404b2";
    let other = "sha256=37192212b1e9d03d5765a906af2decd5e968cfff1f35a48cae03d552d6990e04";
    let secret = Some("switchyard");
    let unsigned = post(ingest_api(&stream, secret), PATH, &[], body).await;
    let wrong = post(ingest_api(&stream, secret), PATH, &[("x-hub-signature", other)], body).await;
    for (status, _, answer) in [unsigned, wrong] {
        assert_eq!(status, 401);
        assert_eq!(answer["errors"][0]["code"], "SY-1022");
    }
    assert_eq!(stream.events().len(), 0);
    let signed = post(ingest_api(&stream, secret), PATH, &[("X-Hub-Signature", good)], body).await;
    assert_eq!(signed.0, 202);
    let spelt_up = post(ingest_api(&stream, secret), "/ingest/jira/C1", &[], body).await;
    assert_eq!(spelt_up.0, 401, "the case of the site must not bypass its secret");
}

#[test]
fn published_signature_vectors_verify_and_altered_ones_do_not() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/registration/hub-signature.json");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in cases["vectors"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        let (secret, body) = (Secret::new(text("secret")), text("body"));
        let signature = text("signature");
        assert!(is_signed(&secret, signature, body.as_bytes()), "{case}");
        assert!(!is_signed(&secret, signature, format!("{body} ").as_bytes()), "{case}");
        let hex = signature.trim_start_matches("sha256=");
        for bad in ["", "sha256=", hex, &signature[..signature.len() - 2], &format!("sha1={hex}")] {
            assert!(!is_signed(&secret, bad, body.as_bytes()), "{bad}");
        }
    }
}

#[tokio::test]
async fn body_that_is_not_a_webhook_is_rejected_with_the_reason() {
    let stream = Arc::new(MemoryStream::default());
    for (body, reason) in
        [("{", "not a JSON object"), ("{}", "webhookEvent"), ("", "not a JSON object")]
    {
        let (status, _, answer) = post(ingest_api(&stream, None), PATH, &[], body).await;
        assert_eq!(status, 400);
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(reason), "{message}");
        assert_eq!(answer["errors"][0]["code"], "SY-1023");
    }
}

#[tokio::test]
async fn body_at_the_limit_is_accepted_and_one_byte_more_is_not() {
    let stream = Arc::new(MemoryStream::default());
    let webhook = |bytes: usize| {
        let (start, end) = (r#"{"webhookEvent":"user_created","pad":""#, r#""}"#);
        format!("{start}{}{end}", "a".repeat(bytes - start.len() - end.len()))
    };
    assert_eq!(post(ingest_api(&stream, None), PATH, &[], webhook(64 * 1024)).await.0, 202);
    assert_eq!(post(ingest_api(&stream, None), PATH, &[], webhook(64 * 1024 + 1)).await.0, 413);
}

#[tokio::test]
async fn unconfirmed_or_rejected_webhook_is_answered_with_retry_after() {
    let stream = Arc::new(MemoryStream::default());
    let body = sample("webhook-issue-created");
    stream.is_down.store(true, SeqCst);
    let (status, headers, answer) = post(ingest_api(&stream, None), PATH, &[], body.clone()).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(answer["errors"][0]["code"], "SY-5011");

    stream.is_down.store(false, SeqCst);
    stream.refuse_for_s.store(30, SeqCst);
    let (status, headers, answer) = post(ingest_api(&stream, None), PATH, &[], body).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"30".parse().unwrap()));
    assert_eq!(answer["errors"][0]["code"], "SY-5013");
    assert_eq!(stream.events().len(), 0);
}

#[tokio::test]
async fn full_stream_refuses_a_webhook_at_once() {
    let stream = Arc::new(MemoryStream::default());
    stream.events_max.store(1, SeqCst);
    let headers = |id| [("X-Atlassian-Webhook-Identifier", id)];
    let body = sample("webhook-issue-created");
    let first = post(ingest_api(&stream, None), PATH, &headers("w-1"), body.clone()).await;
    assert_eq!(first.0, 202);
    let (status, answered, answer) =
        post(ingest_api(&stream, None), PATH, &headers("w-2"), body).await;
    assert_eq!((status.as_u16(), &answered["retry-after"]), (503, &"10".parse().unwrap()));
    assert_eq!(answer["errors"][0]["code"], "SY-5014");
}

#[tokio::test]
async fn webhook_of_confluence_is_named_by_its_address() {
    let stream = Arc::new(MemoryStream::default());
    let body = r#"{"page":{"id":7,"spaceKey":"OPS"},"timestamp":1800000000000}"#;
    let path = "/ingest/confluence/c1?event=page_created";
    // The secret is that of the Jira site of this name.
    let (status, _, answer) = post(ingest_api(&stream, Some("switchyard")), path, &[], body).await;
    assert_eq!(status, 202, "{answer}");
    let (status, _, answer) =
        post(ingest_api(&stream, None), "/ingest/confluence/c1/", &[], body).await;
    assert_eq!(status, 400);
    assert_eq!(answer["errors"][0]["code"], "SY-1023");
    let (envelope, _) = &stream.events()[0];
    assert_eq!(envelope.event_type.as_str(), "avi:confluence:created:page");
}
