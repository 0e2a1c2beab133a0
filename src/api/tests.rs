//! What all APIs share: unknown paths, the admin token, unreadable bodies.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::json;

use super::testing::{APP, BODY_MAX, MODULES, TestApi, message, request};

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_json() {
    let api = TestApi::start().await;
    let answer = api.admin("GET", "/no/such/path", json!({})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(message(&answer).starts_with("there is no such path"));
    let answer = api.forge("PATCH", MODULES, json!({})).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.headers.contains_key(header::ALLOW));
    assert!(!message(&answer).is_empty());
}

#[tokio::test]
async fn operator_api_rejects_every_token_but_the_admin_token() {
    let api = TestApi::start().await;
    for token in ["", "wrong", "admin-toke", "admin-token2", &api.token] {
        let request = request("GET", "/admin/v1/apps", token).body(Body::empty()).unwrap();
        assert_eq!(api.send(request).await.status, StatusCode::UNAUTHORIZED, "{token}");
    }
    let request = Request::builder().uri("/admin/v1/apps").body(Body::empty()).unwrap();
    assert_eq!(api.send(request).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn body_over_the_limit_is_rejected_in_the_common_error_format() {
    let api = TestApi::start().await;
    let large = json!({"type": "x".repeat(BODY_MAX)});
    for answer in
        [api.forge("POST", MODULES, large.clone()).await, api.admin("PUT", APP, large).await]
    {
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(message(&answer).contains(&BODY_MAX.to_string()));
    }
}

#[tokio::test]
async fn body_that_is_not_a_json_object_is_rejected() {
    let api = TestApi::start().await;
    for (raw, status) in [
        (b"{\"type\":" as &[u8], 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (&b"[".repeat(10_000), 400),
        (b"[]", 422),
        (b"null", 422),
    ] {
        let request = request("POST", MODULES, &api.token).body(Body::from(raw.to_vec()));
        let answer = api.send(request.unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
}
