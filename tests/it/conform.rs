//! `switchyard conform` against a server that implements Jira's two expression endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::process::Command;

/// The site's count of evaluation requests. It answers the first one with 429.
type Asked = Arc<AtomicUsize>;

/// base64 of `me@example.com:secret`
const AUTHORIZATION: &str = "Basic bWVAZXhhbXBsZS5jb206c2VjcmV0";

async fn evaluate(
    State(asked): State<Asked>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != AUTHORIZATION) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if asked.fetch_add(1, Ordering::Relaxed) == 0 {
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "0")]).into_response();
    }
    let custom = &body["context"]["custom"];
    let value = match body["expression"].as_str().unwrap() {
        "1 + 2" => json!(3.0),
        "event.issue.key" if custom["event"]["type"] == "json" => {
            custom["event"]["value"]["issue"]["key"].clone()
        }
        // For this filter the server's answer differs from ours.
        "null == false" => json!(true),
        "'a'.repeat(101)" => json!("a".repeat(101)),
        "1 < 'a'" => {
            let answer = json!({"errorMessages": ["Evaluation failed: Can't compare Number to String."], "errors": {}});
            return (StatusCode::BAD_REQUEST, Json(answer)).into_response();
        }
        other => panic!("{other} must not be sent"),
    };
    Json(json!({"value": value})).into_response()
}

async fn analyse(Json(body): Json<Value>) -> Json<Value> {
    let results = body["expressions"].as_array().unwrap().iter().map(|expression| {
        match expression.as_str().unwrap().contains("===") {
            true => json!({"expression": expression, "valid": false,
                "errors": [{"type": "syntax", "message": "== expected, === encountered.", "line": 1, "column": 11}]}),
            false => json!({"expression": expression, "valid": true}),
        }
    });
    Json(json!({"results": results.collect::<Vec<_>>()}))
}

async fn site() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/rest/api/3/expression/evaluate", post(evaluate))
        .route("/rest/api/3/expression/analyse", post(analyse))
        .with_state(Asked::default());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/")
}

async fn conform(folder: &std::path::Path, site: &str, token: &str) -> (i32, String) {
    std::fs::write(folder.join("token"), token).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["conform", "--site", site, "--email", "me@example.com", "--token-file", "token"])
        .args(["--write", "found.json", "cases.json"])
        .current_dir(folder)
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disagreements_with_a_site_are_reported_and_written_as_cases() {
    let folder = tempfile::tempdir().unwrap();
    let cases = json!([
        {"id": "same", "expr": "1 + 2", "expect": {"value": 3}},
        {"id": "bound", "expr": "event.issue.key", "expect": {"value": "A-1"},
            "context": {"event": {"issue": {"key": "A-1"}}}},
        {"id": "fails", "expr": "1 < 'a'", "expect": {"error": "type"}},
        {"id": "differs", "expr": "null == false", "expect": {"value": false}},
        {"id": "limit", "expr": "'a'.repeat(101)", "expect": {"error": "runtime"}},
        {"id": "kept-back", "expr": "issue.key == xs[0]", "expect": {"value": true},
            "context": {"issue": {"key": "A"}, "xs": ["A"]}},
        {"id": "syntax", "expr": "issue.key === 'A'", "expect": {"error": "syntax"},
            "context": {"issue": {"key": "A"}}},
    ]);
    std::fs::write(folder.path().join("cases.json"), cases.to_string()).unwrap();
    let site = site().await;

    let (status, text) = conform(folder.path(), &site, "secret\n").await;
    let expected = "\
differs: null == false
  here: false
  Jira: true
limit: 'a'.repeat(101)
  here: error: `repeat` counts from 0 to 100
  Jira: \"AAA\"
5 evaluated, 2 analysed for their syntax (of 2 that Jira cannot evaluate), 2 disagreements
"
    .replace("AAA", &"a".repeat(101));
    assert_eq!((status, text), (1, expected));

    let written = std::fs::read_to_string(folder.path().join("found.json")).unwrap();
    let cases = switchyard_expr::cases::parse(&written).expect("a case file like any other");
    assert_eq!(cases.len(), 2);
    assert_eq!((cases[0].id.as_str(), cases[0].expr.as_str()), ("jira-differs", "null == false"));
    assert_eq!(cases[0].expect, switchyard_expr::cases::Expect::Value(json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_unreachable_site_has_its_own_error() {
    let folder = tempfile::tempdir().unwrap();
    let cases = json!([{"id": "same", "expr": "1 + 2", "expect": {"value": 3}}]);
    std::fs::write(folder.path().join("cases.json"), cases.to_string()).unwrap();
    let (status, text) = conform(folder.path(), &site().await, "wrong").await;
    assert!(status == 4 && text.contains("rejects the account (401"), "{status} {text}");
    let (status, text) = conform(folder.path(), "http://127.0.0.1:1", "secret").await;
    assert!(status == 3 && text.contains("no answer from the site"), "{status} {text}");
    for site in ["http://jira.example.com", "not an address", "ftp://127.0.0.1"] {
        let (status, text) = conform(folder.path(), site, "secret").await;
        assert!(status == 2 && text.contains("--site"), "{site}: {status} {text}");
    }
}
