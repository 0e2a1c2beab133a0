//! Secrets of operators, apps and sites: none appears in logs, answers or errors, each has a minimum
//! strength, and two are valid while one is replaced.

use std::fs::{read_to_string, write};
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};
use switchyard::domain::Secret;
use switchyard::jwt::qsh;

use crate::support::raw::{exchange, log_in, status};
use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, app_token, eventually, publish,
    register,
};

const ENDPOINT_SECRET: &str = "whsec_RW5kcG9pbnQgc2VjcmV0IG51bWJlciBvbmUgISE=";
const SHARED_SECRET: &str = "shared-secret-of-a-tenant-0123456789";
const OAUTH_TOKEN: &str = "token-of-an-oauth-client-0123456789";
const CLIENT_SECRET: &str = "secret-of-an-oauth-client-0123456789";
const FILE_TOKEN: &str = "further-operator-token-0123456789abcdef";

/// Registers apps and installations with every kind of secret; returns the Forge token.
async fn register_all(router: &RouterProcess, sink: &Sink) -> Vec<String> {
    let mut shown = Vec::new();
    let app = json!({"kind": "forge", "functions": ["main"],
        "endpoints": [{"key": "hook", "url": sink.url("/hook"), "secret": ENDPOINT_SECRET},
            {"key": "generated", "url": sink.url("/other")}],
        "discovery": {"use": ["trigger"], "url": sink.url("/discovery")},
        "notices": {"url": sink.url("/notices")}, "delivery": {"style": "forge_remote"}});
    let answer = router.put("/admin/v1/apps/app", app).await;
    shown.push(answer["endpoints"][1]["secret"].as_str().expect("generated").to_owned());
    for part in ["discovery", "notices"] {
        shown.push(answer[part]["secret"].as_str().expect("generated").to_owned());
    }
    let installation = json!({"app": "app", "cloudId": "site", "product": "jira"});
    let answer = router.put("/admin/v1/installations/inst", installation).await;
    shown.push(answer["token"].as_str().expect("a token").to_owned());
    let app = json!({"kind": "connect", "baseUrl": sink.url("/connect")});
    router.put("/admin/v1/apps/connect-app", app).await;
    let installation = json!({"app": "connect-app", "cloudId": "site", "product": "jira",
        "clientKey": "tenant", "sharedSecret": SHARED_SECRET});
    router.put("/admin/v1/installations/inst-c", installation).await;
    let client = json!({"token": OAUTH_TOKEN, "user": "u", "installation": "inst-c",
        "clientSecret": CLIENT_SECRET});
    router.put("/admin/v1/oauth-clients/client", client).await;
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_at_every_level_and_answers_have_no_secret() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let folder = nats.folder().to_owned();
    write(folder.join("tokens"), FILE_TOKEN).unwrap();
    let url = nats.url().replace("://", "://somebody:password-in-the-url@");
    let mut setup = Setup::new(&url, folder.join("router"))
        .with("SWITCHYARD_LOG__FILTER", "trace")
        .with("SWITCHYARD_ADMIN__TOKEN_FILE", folder.join("tokens").display());
    setup.log = Some(folder.join("router.log"));
    let router = setup.start().await;
    let mut secrets = register_all(&router, &sink).await;
    secrets.extend(
        [
            ADMIN_TOKEN,
            ENDPOINT_SECRET,
            SHARED_SECRET,
            OAUTH_TOKEN,
            CLIENT_SECRET,
            FILE_TOKEN,
            "password-in-the-url",
        ]
        .map(String::from),
    );
    let forge = router.api.with_token(&secrets[3]);
    register(&forge, json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]})).await;
    router
        .api
        .with_token("no-such-token")
        .send(Method::GET, "/admin/v1/apps", &[], &Value::Null)
        .await
        .expect_err("refused");
    publish(&nats.client().await, "site", 1, "P").await;
    eventually(WAIT_MAX, "a delivery", || async {
        (!sink.received_at("/hook").is_empty()).then_some(())
    })
    .await;
    let mut answers = String::new();
    for path in [
        "apps",
        "apps/app",
        "installations",
        "installations/inst-c",
        "oauth-clients",
        "oauth-clients/client",
        "subscriptions",
        "signing-keys",
        "problems",
    ] {
        let answer = router.get(&format!("/admin/v1/{path}")).await.expect(path);
        answers.push_str(&answer.to_string());
    }
    answers.push_str(&router.get("/healthz/deep").await.expect("a report").to_string());
    assert!(router.terminate().await);
    let log = read_to_string(folder.join("router.log")).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log has every level");
    // Bare keys, too: without prefixes, and as bytes are printed.
    secrets.push(ENDPOINT_SECRET.trim_start_matches("whsec_").to_owned());
    secrets.extend(private_keys(&nats).await);
    for secret in &secrets {
        for (name, text) in [("log", &log), ("answer", &answers)] {
            let found = text.lines().find(|line| line.contains(secret.as_str()));
            assert!(found.is_none(), "{name} shows {secret}: {found:?}");
        }
    }
}

/// The private halves of the signing keys, as the registry stores them.
async fn private_keys(nats: &NatsServer) -> Vec<String> {
    let registry = nats.context().await.get_key_value("SW_REG").await.expect("the registry");
    let stored = registry.get("keys.signing").await.expect("read").expect("stored");
    let document: Value = serde_json::from_slice(&stored).expect("JSON");
    let keys = document["keys"].as_array().expect("keys");
    keys.iter().map(|key| key["pkcs8"].as_str().expect("a key").to_owned()).collect()
}

/// Calls the Connect API as the tenant with `secret`; returns whether the secret is accepted.
async fn is_accepted(router: &RouterProcess, secret: &str) -> bool {
    const MODULES: &str = "/rest/atlassian-connect/1/app/module/dynamic";
    let now_s = switchyard::clock::now().as_second();
    let hash = qsh::hash("GET", MODULES, "");
    let token = app_token(&Secret::new(secret), "connect-app", &hash, now_s);
    let authorization = format!("JWT {token}");
    let headers = [("authorization", authorization.as_str())];
    router.api.send(Method::GET, MODULES, &headers, &Value::Null).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_secrets_are_valid_until_the_old_one_is_retired() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let shown = register_all(&router, &sink).await;
    let forge = router.api.with_token(&shown[3]);
    register(&forge, json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]})).await;

    // Endpoint: the new secret signs first, the old one in addition.
    let path = "/admin/v1/apps/app/endpoints/hook";
    let replaced =
        router.api.send(Method::POST, &format!("{path}/secret"), &[], &json!({})).await.unwrap();
    let new = Secret::new(replaced["secret"].as_str().unwrap());
    assert!(replaced["previousSecretUntil"].is_string(), "{replaced}");
    for (number, secrets) in [(1, vec![new.clone(), Secret::new(ENDPOINT_SECRET)]), (2, vec![new])]
    {
        publish(&nats.client().await, "site", number, "P").await;
        let request = eventually(WAIT_MAX, "a delivery", || async {
            let all = sink.received_at("/hook");
            all.into_iter().find(|one| one.json()["issue"]["key"] == format!("P-{number}").as_str())
        })
        .await;
        let (id, time) = (request.header("webhook-id"), request.header("webhook-timestamp"));
        let time: i64 = time.parse().unwrap();
        let signed = secrets.iter().map(|secret| {
            switchyard::delivery::sign(secret, id, time, &request.body).expect("a signature")
        });
        let expected: Vec<String> = signed.collect();
        assert_eq!(request.header("webhook-signature"), expected.join(" "));
        let retired = format!("{path}/previous-secret");
        router.api.send(Method::DELETE, &retired, &[], &Value::Null).await.expect("retired");
    }

    // Connect: both are accepted.
    let other = "another-shared-secret-of-this-tenant";
    let installation = json!({"app": "connect-app", "cloudId": "site", "product": "jira",
        "clientKey": "tenant", "sharedSecret": other});
    router.put("/admin/v1/installations/inst-c", installation).await;
    for secret in [other, SHARED_SECRET] {
        assert!(is_accepted(&router, secret).await, "{secret}");
    }
    let retired = "/admin/v1/installations/inst-c/previous-secret";
    router.api.send(Method::DELETE, retired, &[], &Value::Null).await.expect("retired");
    assert!(is_accepted(&router, other).await && !is_accepted(&router, SHARED_SECRET).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_can_be_guessed_are_refused_or_warned_of() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    register_all(&router, &sink).await;
    let refused = async |path: &str, body: Value| {
        let error = router.api.send(Method::PUT, path, &[], &body).await.expect_err("refused");
        error.to_string()
    };
    let endpoint = json!({"key": "hook", "url": sink.url("/hook"), "secret": "whsec_c2hvcnQ="});
    let error =
        refused("/admin/v1/apps/app", json!({"kind": "forge", "endpoints": [endpoint]})).await;
    assert!(error.contains("endpoints[0].secret: a secret has at least 32 characters"), "{error}");
    let connect = |secret: &str| {
        json!({"app": "connect-app", "cloudId": "site", "product": "jira", "clientKey": "tenant",
            "sharedSecret": secret})
    };
    let client = |token: &str| json!({"token": token, "user": "u", "installation": "inst-c"});
    for (path, body) in [
        ("/admin/v1/installations/inst-c", connect("")),
        ("/admin/v1/installations/inst-c", connect("seven77")),
        ("/admin/v1/oauth-clients/client", client("")),
        ("/admin/v1/oauth-clients/client", client("seven77")),
    ] {
        let error = refused(path, body).await;
        assert!(error.contains("at least 8 characters") && !error.contains("seven77"), "{error}");
    }
    let warned = router.put("/admin/v1/installations/inst-c", connect("eight888")).await;
    assert!(warned["warnings"][0]["message"].as_str().unwrap().contains("guessed"), "{warned}");
    let warned = router.put("/admin/v1/oauth-clients/client", client("eight888")).await;
    assert_eq!(warned["warnings"][0]["path"], "token");

    let listed = router.get("/admin/v1/oauth-clients").await.unwrap();
    let shown = json!({"id": "client", "user": "u", "installation": "inst-c",
        "signsWebhooks": true});
    assert_eq!(listed["items"], json!([shown]));
    let mut rotated = client("long-enough-for-a-token");
    rotated["clientSecret"] = json!("short77");
    let error = refused("/admin/v1/oauth-clients/client", rotated.clone()).await;
    assert!(error.contains("clientSecret") && !error.contains("short77"), "{error}");
    rotated["clientSecret"] = json!("another-secret-of-the-client-01234567");
    router.put("/admin/v1/oauth-clients/client", rotated).await;
    let of_client = "/admin/v1/oauth-clients/client";
    assert!(router.get(of_client).await.unwrap()["previousSecretUntil"].is_string());
    let retire = format!("{of_client}/previous-secret");
    router.api.send(Method::DELETE, &retire, &[], &Value::Null).await.unwrap();
    assert!(router.get(of_client).await.unwrap().get("previousSecretUntil").is_none());
    router
        .api
        .send(Method::DELETE, "/admin/v1/oauth-clients/client", &[], &Value::Null)
        .await
        .unwrap();
    assert!(router.get("/admin/v1/oauth-clients/client").await.is_err());
    assert_eq!(router.get("/admin/v1/oauth-clients").await.unwrap()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_tokens_of_a_file_are_rotated_without_a_restart() {
    let nats = NatsServer::start().await;
    let file = nats.folder().join("tokens");
    let next = "operator-token-of-next-week-0123456789";
    write(&file, FILE_TOKEN).unwrap();
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_ADMIN__TOKEN_FILE", file.display());
    let router = setup.start().await;
    let is_accepted = async |token: &str| {
        let client = router.api.with_token(token);
        client.send(Method::GET, "/admin/v1/apps", &[], &Value::Null).await.is_ok()
    };
    assert!(is_accepted(ADMIN_TOKEN).await && is_accepted(FILE_TOKEN).await);
    let port = setup.port;
    let cookie = log_in(port, FILE_TOKEN).await;
    let feed = tokio::spawn(async move {
        exchange(port, &format!("GET /live/stream HTTP/1.1\r\nCookie: {cookie}"), "").await
    });
    replace_file(&file, &format!("{FILE_TOKEN}\n{next}\n"));
    eventually(WAIT_MAX, "the new token is accepted", || async {
        is_accepted(next).await.then_some(())
    })
    .await;
    assert!(is_accepted(FILE_TOKEN).await && !feed.is_finished(), "both are valid");
    replace_file(&file, next);
    eventually(WAIT_MAX, "the old token is refused", || async {
        (!is_accepted(FILE_TOKEN).await).then_some(())
    })
    .await;
    assert!(is_accepted(next).await && is_accepted(ADMIN_TOKEN).await);
    let feed = tokio::time::timeout(WAIT_MAX, feed).await.expect("the open feed ends").unwrap();
    assert_eq!(status(&feed), 200, "{feed}");
    assert!(router.metric("switchyard_config_reloads_total{result=\"ok\"}").await > 1.5);
}

/// Replaces a file as secret managers do: by renaming another one.
fn replace_file(file: &Path, text: &str) {
    let new = file.with_extension("new");
    write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}
