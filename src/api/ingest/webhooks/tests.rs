//! Webhook ingestion, against a stream in memory.

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;

use axum::body::Body;
use serde_json::{Value, json};

use super::*;
use crate::api::ingest::sites::{KnownSites, SiteAccess, rules_of};
use crate::api::testing::{MemoryStream, intake, post};
use crate::domain::Secret;
use crate::event::webhook::OriginalWebhook;

const PATH: &str = "/ingest/jira/c1";

fn state(stream: &Arc<MemoryStream>, rules: Arc<SiteRules>) -> IngestState {
    IngestState {
        publisher: Arc::clone(stream) as Arc<dyn Publisher>,
        directory: Arc::new(KnownSites(None)),
        rules,
        bodies: intake(),
        failures: Arc::new(AuthFailures::new(1)),
        refusals: Arc::default(),
        body_bytes_max: 64 * 1024,
        event_bytes_max: 64 * 1024,
    }
}

/// An API that knows every site; unsigned webhooks are accepted, except for Jira's `c1` with a secret.
fn ingest_api(stream: &Arc<MemoryStream>, secret: Option<&str>) -> OpenApiRouter {
    let secret = secret
        .map(|secret| SiteAccess { secrets: vec![Secret::new(secret)], ..SiteAccess::default() });
    let sites = secret.map(|access| ((Product::Jira, "c1".into()), access));
    let rules = SiteRules { sites: sites.into_iter().collect(), is_open: true };
    webhook_routes(state(stream, Arc::new(rules)))
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

#[tokio::test]
async fn body_that_is_not_a_webhook_is_rejected_with_the_reason() {
    let stream = Arc::new(MemoryStream::default());
    for (body, reason) in
        [("{", "not JSON"), ("[]", "not an object"), ("{}", "webhookEvent"), ("", "no body")]
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

#[tokio::test]
async fn site_without_an_installation_or_settings_is_refused_unread_and_counted() {
    let stream = Arc::new(MemoryStream::default());
    let mut closed = state(&stream, rules_of(Product::Jira, "c2", SiteAccess::default()));
    closed.directory = Arc::new(KnownSites(Some(vec!["c1".into()])));
    let refusals = Arc::clone(&closed.refusals);
    let routes = webhook_routes(closed);
    // A body that never ends: it must not be read.
    let endless =
        || Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>());
    for (path, status, code) in [
        ("/ingest/jira/ghost", 404, "SY-1026"),
        ("/ingest/jira/ghost/some-token", 404, "SY-1026"),
        ("/ingest/jira/c1", 401, "SY-1027"),
        ("/ingest/jira/c1/some-token", 401, "SY-1029"),
    ] {
        let found = post(routes.clone(), path, &[], endless()).await;
        assert_eq!((found.0.as_u16(), &found.2["errors"][0]["code"]), (status, &json!(code)));
    }
    let text = refusals.render();
    for series in [
        r#"{site="other",reason="unknown_site"} 2"#,
        r#"{site="c1",reason="closed"} 1"#,
        r#"{site="c1",reason="wrong_token"} 1"#,
    ] {
        assert!(text.contains(series), "{series} in {text}");
    }
    assert_eq!(stream.events().len(), 0);
}

#[tokio::test]
async fn token_in_the_path_replaces_a_signature() {
    let stream = Arc::new(MemoryStream::default());
    let token = Some(Secret::new("0123456789abcdef0123456789abcdef"));
    let access = SiteAccess { tokens: token.into_iter().collect(), ..SiteAccess::default() };
    let routes = webhook_routes(state(&stream, rules_of(Product::Jira, "c1", access)));
    let body = r#"{"webhookEvent":"jira:issue_created","timestamp":1800000000000}"#;
    for (path, status) in [
        ("/ingest/jira/c1", 401),
        ("/ingest/jira/c1/0123456789abcdef0123456789abcdee", 401),
        ("/ingest/jira/c1/0123456789abcdef0123456789abcdef", 202),
        ("/ingest/jira/c1/0123456789abcdef0123456789abcdef/", 202),
    ] {
        assert_eq!(post(routes.clone(), path, &[], body).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn webhook_that_is_not_declared_as_json_is_refused() {
    let stream = Arc::new(MemoryStream::default());
    let body = r#"{"webhookEvent":"jira:issue_created","timestamp":1800000000000}"#;
    for (media_type, status) in [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-8", 202),
        ("application/vnd.x+json", 202),
    ] {
        let headers = [("content-type", media_type)];
        let found = post(ingest_api(&stream, None), PATH, &headers, body).await;
        assert_eq!(found.0, status, "{media_type}");
    }
}

#[tokio::test]
async fn webhook_is_kept_byte_for_byte_and_its_event_is_cut_to_fit_the_broker() {
    let stream = Arc::new(MemoryStream::default());
    stream.message_bytes_max.store(56 * 1024, SeqCst);
    let (long, log) = ("wax ".repeat(2_000), "oil ".repeat(5_000));
    let body = format!(
        r#"{{ "webhookEvent":"jira:issue_created","changelog":["{log}"],"issue":{{"key":"A-1","fields":{{"description":"{long}"}}}}}}"#
    );
    let (status, _, answer) = post(ingest_api(&stream, None), PATH, &[], body.clone()).await;
    assert_eq!(status, 202, "{answer}");
    let (envelope, event) = stream.events().remove(0);
    let kept = OriginalWebhook::Whole(body.into());
    assert!(envelope.webhook == Some(kept));
    let event: Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["switchyardCut"], json!(["issue.fields.description"]));

    stream.message_bytes_max.store(32 * 1024, SeqCst);
    let body = format!(r#"{{"webhookEvent":"jira:issue_deleted","issue":{{"key":"{log}"}}}}"#);
    let (status, _, answer) = post(ingest_api(&stream, None), PATH, &[], body).await;
    assert_eq!((status.as_u16(), &answer["errors"][0]["code"]), (413, &json!("SY-1030")));
    assert!(answer["message"].as_str().unwrap().contains("max_payload"), "{answer}");
    assert_eq!(stream.events().len(), 1);
}

#[tokio::test]
async fn every_refusal_of_a_body_is_counted_under_its_reason() {
    let stream = Arc::new(MemoryStream::default());
    let state = state(&stream, Arc::new(SiteRules { sites: HashMap::new(), is_open: true }));
    let refusals = Arc::clone(&state.refusals);
    let routes = webhook_routes(state);
    let deep = format!("{{\"webhookEvent\":\"x\",\"a\":{}{}}}", "[".repeat(600), "]".repeat(600));
    let large = format!("{{\"webhookEvent\":\"{}\"}}", "x".repeat(70_000));
    let packed: &[(&str, &str)] = &[("content-encoding", "gzip")];
    for (body, headers, status, reason) in [
        ("".to_owned(), &[] as &[_], 400, "empty_body"),
        ("{".to_owned(), &[], 400, "not_json"),
        (r#"{"webhookEvent":"x","a":1e999}"#.to_owned(), &[], 400, "not_json"),
        (deep, &[], 400, "too_deep"),
        ("[]".to_owned(), &[], 400, "not_a_webhook"),
        ("{}".to_owned(), &[], 400, "bad_name"),
        (large, &[], 413, "too_large"),
        ("{}".to_owned(), packed, 415, "packed"),
    ] {
        let before = refusals.render();
        let found = post(routes.clone(), PATH, headers, body).await;
        assert_eq!(found.0, status, "{reason}");
        let label = format!("reason=\"{reason}\"");
        let counted = |text: &str| {
            text.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_ne!(counted(&before), counted(&refusals.render()), "{reason}");
    }
    stream.is_down.store(true, SeqCst);
    let down = post(routes.clone(), PATH, &[], r#"{"webhookEvent":"user_created"}"#).await;
    assert_eq!(down.0, 503);
    assert!(refusals.render().contains("reason=\"not_stored\""));
    let identity: &[(&str, &str)] = &[("content-encoding", "identity")];
    stream.is_down.store(false, SeqCst);
    assert_eq!(post(routes, PATH, identity, r#"{"webhookEvent":"user_created"}"#).await.0, 202);
}
