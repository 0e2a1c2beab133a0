//! Forge remotes: the request they receive, how they verify it, and what its tokens allow.

use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use data_encoding::BASE64URL_NOPAD;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use switchyard::clock;
use switchyard::jwt::{KeyRecord, KeyRing, system};

use crate::mistakes::assert_text;
use crate::support::{
    NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const APP: &str = "ari:cloud:ecosystem::app/11111111-aaaa-4aaa-8aaa-000000000001";
const MODULES: &str = "/forge/installation/v2/dynamic/module";
const V1: &str = "/forge/installation/v1/dynamic/module";
const PATIENCE: Duration = WAIT_MAX;

/// Provisions an app with a Forge remote endpoint; returns a client of its installation.
async fn provision(router: &RouterProcess, sink: &Sink) -> ApiClient {
    let app = json!({"kind": "forge", "version": "2.1.0",
        "endpoints": [{"key": "hook", "url": sink.url("/hook"), "auth": {"appSystemToken": true}}],
        "delivery": {"style": "forge_remote", "body": "wrapped", "profile": "router"}});
    router.put(&format!("/admin/v1/apps/{}", APP.replace('/', "%2F")), app).await;
    let body = json!({"app": APP, "cloudId": "site-1", "product": "jira"});
    let answer = router.put("/admin/v1/installations/inst-1", body).await;
    router.api.with_token(answer["token"].as_str().expect("a token"))
}

/// Verifies a token with the keys of `jwks`; returns its claims.
fn verified(jwks: &Value, token: &str) -> Option<Value> {
    let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
    let (signed, signature) = token.rsplit_once('.').expect("a token");
    let (header, claims) = signed.split_once('.').expect("a token");
    let header: Value = serde_json::from_slice(&decoded(header)).expect("a header");
    assert_eq!(header["alg"], "RS256");
    let key = jwks["keys"].as_array()?.iter().find(|key| key["kid"] == header["kid"])?;
    let number = |name: &str| decoded(key[name].as_str().expect("a number"));
    let public = RsaPublicKeyComponents { n: number("n"), e: number("e") };
    let text = signed.as_bytes();
    public.verify(&RSA_PKCS1_2048_8192_SHA256, text, &decoded(signature)).ok()?;
    Some(serde_json::from_slice(&decoded(claims)).expect("claims"))
}

fn fit(received: &crate::support::Received) -> &str {
    received.header("authorization").strip_prefix("Bearer ").expect("a bearer token")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remote_gets_a_token_for_each_attempt_and_calls_back_with_another() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1");
    let router = setup.start().await;
    let app = provision(&router, &sink).await;
    let trigger = json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]});
    let key = register(&app, trigger.clone()).await;
    sink.answer("/hook", 503, None);
    publish(&nats.client().await, "site-1", 1, "OPS").await;
    let seen = |count| {
        let sink = &sink;
        eventually(PATIENCE, "the remote is called", move || async move {
            Some(sink.received()).filter(|all| all.len() >= count)
        })
    };
    seen(1).await;
    sink.answer("/hook", 204, None);
    let received = seen(2).await;

    let jwks = router.get("/.well-known/jwks.json").await.expect("a key set");
    let claims: Vec<Value> =
        received.iter().map(|one| verified(&jwks, fit(one)).expect("a valid signature")).collect();
    assert_eq!(
        (&claims[0]["iss"], &claims[0]["aud"]),
        (&json!("forge/invocation-token"), &json!(APP))
    );
    assert_eq!(claims[0]["app"]["installationId"], "inst-1");
    assert_eq!(claims[0]["app"]["appVersion"], "2.1.0");
    assert_eq!(claims[0]["context"], json!({"cloudId": "site-1", "moduleKey": key}));
    assert_ne!(claims[0]["jti"], claims[1]["jti"], "one token for each attempt");
    assert_eq!(received[0].header("x-forge-invocation-id"), claims[0]["jti"].as_str().unwrap());
    for (name, length) in [("x-b3-traceid", 32), ("x-b3-spanid", 16)] {
        assert_eq!(received[0].header(name).len(), length, "{name}");
    }
    assert_eq!(received[0].header("x-b3-traceid"), received[1].header("x-b3-traceid"));
    let (first, second) = (received[0].json(), received[1].json());
    assert_eq!(first["payload"]["issue"]["key"], "OPS-1");
    assert!(first["payload"].get("retryContext").is_none());
    let retry = json!({"retryCount": 1, "retryReason": "INVALID_REMOTE_INVOCATION_ERROR",
        "retryData": null});
    assert_eq!(second["payload"]["retryContext"], retry);
    assert_eq!(second["context"]["moduleKey"], key);

    // The app token registers modules; the invocation token does not, although we signed it.
    let system = app.with_token(received[1].header("x-forge-oauth-system"));
    register(&system, trigger).await;
    let listed = system.send(Method::GET, MODULES, &[], &Value::Null).await.expect("a list");
    assert_eq!(listed["result"].as_array().map(Vec::len), Some(2));
    let stolen = app.with_token(fit(&received[1]));
    let refused = stolen.send(Method::GET, MODULES, &[], &Value::Null).await;
    assert!(refused.unwrap_err().to_string().contains("401"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_publish_the_same_keys_through_rotation_and_restart() {
    let nats = NatsServer::start().await;
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    // Started concurrently, so that both find no key.
    let (first, second) = tokio::join!(one.start(), other.start());
    let jwks = |router: &RouterProcess| {
        let api = router.api.clone();
        async move {
            let path = "/.well-known/jwks.json";
            api.send(Method::GET, path, &[], &Value::Null).await.expect("a key set")
        }
    };
    let made = jwks(&first).await;
    assert_eq!(made["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(jwks(&second).await, made);

    let rotate = |revoke: bool| {
        let api = first.api.clone();
        async move {
            let body = json!({"revoke": revoke});
            api.send(Method::POST, "/admin/v1/signing-keys", &[], &body).await.expect("rotated")
        }
    };
    rotate(false).await;
    let both = jwks(&first).await;
    assert_eq!(both["keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(both["keys"][0], made["keys"][0], "the old one stays published");
    eventually(PATIENCE, "the other replica has it too", || async {
        (jwks(&second).await == both).then_some(())
    })
    .await;
    drop(second);
    let second = other.start().await;
    assert_eq!(jwks(&second).await, both, "keys survive a restart");

    rotate(true).await;
    let fresh = jwks(&first).await;
    assert_eq!(fresh["keys"].as_array().map(Vec::len), Some(1));
    let old = both["keys"].as_array().expect("keys");
    assert!(!old.contains(&fresh["keys"][0]));
    let kid = fresh["keys"][0]["kid"].as_str().expect("a name");
    let (_, pem) = exchange(&first, "GET", &format!("/.well-known/connect-keys/{kid}"), "").await;
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_token_is_rejected_with_its_age_at_every_api_that_accepts_it() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    provision(&router, &sink).await;
    let registry = nats.context().await.get_key_value("SW_REG").await.expect("the registry");
    let keys = registry.get("keys.signing").await.expect("an answer").expect("keys");
    let keys: Value = serde_json::from_slice(&keys).expect("JSON");
    let keys: Vec<KeyRecord> = serde_json::from_value(keys["keys"].clone()).expect("keys");
    let ring = KeyRing::default();
    ring.apply(&keys).expect("keys");
    let now_ms = clock::now_ms();
    let token_of = |ago_s: i64| {
        let claims = system::claims(&APP.into(), &"inst-1".into(), now_ms / 1000 - ago_s);
        ring.sign(&claims, now_ms).expect("a token")
    };
    let ask = |method: &'static str, path: &'static str, token: String| {
        let head = format!("authorization: Bearer {token}\r\ncontent-length: 0\r\n");
        let router = &router;
        async move { exchange(router, method, path, &head).await }
    };
    let (head, _) = ask("GET", MODULES, token_of(60)).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");

    // A token is valid for two hours, so this one expired 4 minutes ago.
    let one = "/forge/installation/v2/dynamic/module/some-key";
    for (method, path) in [("GET", MODULES), ("POST", MODULES), ("DELETE", one), ("GET", V1)] {
        let (head, body) = ask(method, path, token_of(2 * 3600 + 4 * 60 + 5)).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{method}: {head}");
        assert!(head.contains("\r\ndate: "), "clients compare clocks by our date: {head}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let error = &answer["errors"][0];
        assert_eq!(error["code"], "SY-1109");
        assert_eq!(error["message"], "token refused: it expired 4 min ago");
        assert_eq!(error["help"], "use the token that came with the latest event");
        let said = format!("GET {MODULES}\nan expired token\n\n401 Unauthorized\n{answer:#}\n");
        assert_text("api_token_expired", &said);
    }
    // The age of a token that we did not sign is not reported.
    let foreign = KeyRing::default();
    foreign.apply(&[KeyRecord::generate().expect("a key")]).expect("a key");
    let claims = system::claims(&APP.into(), &"inst-1".into(), 0);
    let (head, body) = ask("GET", MODULES, foreign.sign(&claims, now_ms).expect("a token")).await;
    assert!(head.starts_with("HTTP/1.1 401") && !body.contains("SY-1109"), "{head} {body}");
}

/// Head and body of a raw response; the client parses JSON only.
async fn exchange(
    router: &RouterProcess,
    method: &str,
    path: &str,
    head: &str,
) -> (String, String) {
    let address = router.api.base().trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    (head.to_owned(), body.to_owned())
}
