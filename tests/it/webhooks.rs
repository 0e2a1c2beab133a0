//! Connect and dynamic webhooks: from the registration to the requests that the app receives.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use switchyard::clock;
use switchyard::domain::Secret;
use switchyard::jwt::{ConnectToken, qsh};

use crate::support::{
    NatsServer, Received, Setup, Sink, WAIT_MAX, app_token, eventually, publish_raw,
};

const SITE: &str = "site-1";
const APP: &str = "com.example.app";
const TENANT: &str = "tenant-1";
const SHARED_SECRET: &str = "secret-0123456789abcdef0123456789abcdef";
const MODULES: &str = "/rest/atlassian-connect/1/app/module/dynamic";
const WEBHOOKS: &str = "/rest/api/3/webhook";
const PATIENCE: Duration = WAIT_MAX;

/// A Connect app that signs its calls.
struct ConnectApp {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
}

impl ConnectApp {
    fn of(setup: &Setup) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { pool, base: format!("http://127.0.0.1:{}", setup.port) }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let now_s = clock::now_ms().div_euclid(1000);
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let hash = qsh::hash(method.as_str(), bare, query);
        let token = app_token(&Secret::new(SHARED_SECRET), APP, &hash, now_s);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("authorization", format!("JWT {token}"))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("a request");
        let answer = self.pool.request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Posts a body as a Jira site does.
    async fn ingest(&self, body: Vec<u8>, identifier: &str) {
        let request = Request::post(format!("{}/ingest/jira/{SITE}", self.base))
            .header("x-atlassian-webhook-identifier", identifier)
            .body(Full::from(body))
            .expect("a request");
        let answer = self.pool.request(request).await.expect("an answer");
        assert_eq!(answer.status(), 202);
    }
}

/// Asserts that the request has a valid token of the app.
fn assert_signed(received: &Received, query: &str) {
    let token = received.header("authorization").strip_prefix("JWT ").expect("a JWT");
    let token = ConnectToken::parse(token).expect("a token");
    assert!(token.is_signed_with(&Secret::new(SHARED_SECRET)));
    assert_eq!(token.issuer(), TENANT);
    let path = received.path.strip_prefix("/base").expect("a path under the base");
    let now_s = clock::now_ms().div_euclid(1000);
    assert_eq!(token.check(now_s, "POST", path, query), Ok(()));
    verify(received, query);
}

/// Checks the request with the command line, as its receiver would.
fn verify(received: &Received, query: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let headers = received
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    std::fs::write(folder.path().join("headers"), headers.collect::<String>()).expect("a file");
    std::fs::write(folder.path().join("body"), &received.body).expect("a file");
    let url = format!("https://app.example{}?{query}", received.path);
    let check = |arguments: &[&str], secret: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["verify", "--header-file", "headers", "--body-file", "body", "--url", &url])
            .args(arguments)
            .current_dir(folder.path())
            .env("SWITCHYARD_VERIFY_SECRET", secret)
            .output()
            .expect("the command runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let base = ["--base-url", "https://app.example/base"];
    let valid = (Some(0), "the signature is valid\n".to_owned());
    assert_eq!(check(&base, SHARED_SECRET), valid);
    let (code, said) = check(&[], SHARED_SECRET);
    assert!(code == Some(1) && said.starts_with("qsh: "), "{said}");
    let (code, said) = check(&base, "another secret");
    assert!(code == Some(1) && said.starts_with("authorization: it is not signed"), "{said}");
}

async fn arrived(sink: &Sink, path: &str, count: usize) -> Vec<Received> {
    eventually(PATIENCE, &format!("{count} requests at {path}"), || async {
        Some(sink.received_at(path)).filter(|received| received.len() >= count)
    })
    .await
}

struct World {
    _nats: NatsServer,
    _router: crate::support::RouterProcess,
    broker: async_nats::Client,
    sink: Sink,
    app: ConnectApp,
}

/// Starts a router with a Connect app at a sink, with `statics` as its static modules.
async fn world(statics: Value, setup: impl Fn(Setup) -> Setup) -> World {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let unsigned = "SWITCHYARD_INGEST__JIRA__SITE-1__UNSIGNED";
    let mut setup =
        setup(Setup::new(&nats.url(), nats.folder().join("router")).with(unsigned, true));
    let router = setup.start().await;
    let body = json!({"kind": "connect", "baseUrl": sink.url("/base"), "scopes": ["READ"],
        "staticModules": statics});
    router.put(&format!("/admin/v1/apps/{APP}"), body).await;
    let body = json!({"app": APP, "cloudId": SITE, "product": "jira", "clientKey": TENANT,
        "sharedSecret": SHARED_SECRET});
    router.put("/admin/v1/installations/inst-1", body).await;
    let (app, broker) = (ConnectApp::of(&setup), nats.client().await);
    World { _nats: nats, _router: router, broker, sink, app }
}

fn sample(name: &str) -> Value {
    let path = format!("{}/tests/data/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a sample")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingested_webhook_reaches_its_subscribers_unchanged() {
    let statics = json!({"webhooks": [
        {"key": "fixed", "event": "jira:issue_created", "url": "/fixed", "excludeBody": true}]});
    let world = world(statics, |setup| setup).await;
    let body = json!({"webhooks": [
        {"key": "ops", "event": "jira:issue_created", "url": "/ops?key={issue.key}",
            "filter": "project = ops AND issuetype = Bug"},
        {"key": "other", "event": "jira:issue_created", "url": "/other", "filter": "project = A"},
        {"key": "updates", "event": "jira:issue_updated", "url": "/updates"}]});
    assert_eq!(world.app.call(Method::POST, MODULES, &body).await.0, 200);

    let webhook = sample("webhook-issue-created");
    world.app.ingest(serde_json::to_vec_pretty(&webhook).expect("JSON"), "w-1").await;
    let received = arrived(&world.sink, "/base/ops", 1).await;
    assert_eq!(received[0].json(), webhook);
    assert_signed(&received[0], "key=OPS-1042");
    assert_eq!(received[0].header("x-atlassian-webhook-flow"), "Primary");
    assert!(!received[0].headers.contains_key("x-atlassian-webhook-retry"));

    let fixed = arrived(&world.sink, "/base/fixed", 1).await;
    assert!(fixed[0].body.is_empty());
    assert!(!fixed[0].headers.contains_key("content-type"));
    assert_signed(&fixed[0], "");
    assert_eq!(world.sink.count(), 2, "no other subscription");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn platform_event_is_delivered_as_the_corresponding_webhook() {
    let world = world(json!({}), |setup| setup).await;
    let body = json!({"webhooks": [
        {"key": "new", "event": "comment_created", "url": "/new"},
        {"key": "changed", "event": "comment_updated", "url": "/changed"}]});
    assert_eq!(world.app.call(Method::POST, MODULES, &body).await.0, 200);
    let event = sample("jira-commented-issue");
    let bytes = serde_json::to_vec(&event).expect("JSON");
    publish_raw(&world.broker, SITE, "avi:jira:commented:issue", "e1", bytes).await;
    let received = arrived(&world.sink, "/base/new", 1).await;
    let got = received[0].json();
    assert_eq!(got["webhookEvent"], "comment_created");
    assert_eq!(got["user"]["accountId"], event["atlassianId"]);
    assert_eq!((&got["issue"], &got["comment"]), (&event["issue"], &event["comment"]));
    for absent in ["eventType", "selfGenerated", "context", "atlassianId"] {
        assert!(got.get(absent).is_none(), "{absent}");
    }
    assert_eq!(world.sink.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn matching_dynamic_webhooks_share_one_request_over_retries() {
    let quick = |setup: Setup| setup.with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1");
    let world = world(json!({}), quick).await;
    let one = |jql: &str| json!({"events": ["jira:issue_updated"], "jqlFilter": jql});
    let mut narrow = one("project != EMPTY");
    narrow["fieldIdsFilter"] = json!(["description"]);
    let body = json!({"url": world.sink.url("/base/hooks"),
        "webhooks": [one("project = OPS"), one("project = WEB"), one("status != Done"), narrow]});
    let (status, answer) = world.app.call(Method::POST, WEBHOOKS, &body).await;
    assert_eq!(status, 200);
    let id = |at: usize| answer["webhookRegistrationResult"][at]["createdWebhookId"].clone();

    world.sink.answer("/base/hooks", 503, None);
    let event = json!({"eventType": "avi:jira:updated:issue", "issue": {"id": "1", "key": "OPS-1",
        "fields": {"project": {"key": "OPS"}, "status": {"name": "To Do"}}},
        "changelog": {"items": [{"fieldId": "summary"}]}});
    let bytes = serde_json::to_vec(&event).expect("JSON");
    publish_raw(&world.broker, SITE, "avi:jira:updated:issue", "e1", bytes).await;
    let first = arrived(&world.sink, "/base/hooks", 1).await;
    world.sink.answer("/base/hooks", 204, None);
    let both = arrived(&world.sink, "/base/hooks", 2).await;
    assert_eq!(both[1].json()["matchedWebhookIds"], json!([id(0), id(2)]));
    assert_eq!(both[1].header("x-atlassian-webhook-retry"), "1");
    let identifier = first[0].header("x-atlassian-webhook-identifier");
    assert_eq!(both[1].header("x-atlassian-webhook-identifier"), identifier);
    assert_signed(&both[1], "");

    // A webhook that is removed while the request is parked is not listed in the retry.
    world.sink.answer("/base/hooks", 503, None);
    let bytes = serde_json::to_vec(&event).expect("JSON");
    publish_raw(&world.broker, SITE, "avi:jira:updated:issue", "e2", bytes).await;
    arrived(&world.sink, "/base/hooks", 3).await;
    let body = json!({"webhookIds": [id(0)]});
    assert_eq!(world.app.call(Method::DELETE, WEBHOOKS, &body).await.0, 202);
    world.sink.answer("/base/hooks", 204, None);
    let all = arrived(&world.sink, "/base/hooks", 4).await;
    assert_eq!(all[3].json()["matchedWebhookIds"], json!([id(2)]));
}

/// Webhooks whose bytes the event does not have: white space, a long changelog of a new issue, half a
/// surrogate pair, very many members, and a body near the limit of a broker's message.
fn webhooks_of_odd_forms() -> Vec<String> {
    let log = "soot and oil ".repeat(3_000);
    let issue = |key: &str, text: &str| {
        format!(r#""issue":{{"id":"1","key":"{key}","fields":{{"summary":"{text}"}}}}"#)
    };
    let created = r#""webhookEvent":"jira:issue_created","timestamp":7"#;
    let many: Vec<String> = (0..3_000).map(|at| format!(r#""member{at}": {at}"#)).collect();
    vec![
        format!("{{\n  {created} ,\r\n\t{}\n}}\n", issue("A-1", "oil")),
        format!(r#"{{{created},{},"changelog":{{"items":["{log}"]}}}}"#, issue("A-2", "oil")),
        format!(r#"{{{created},{}}}"#, issue("A-3", r"cut \ud83d")),
        format!(r#"{{{created},{},{}}}"#, issue("A-4", "oil"), many.join(",")),
        format!(r#"{{{created},{},"changelog":"{log}"}}"#, issue("A-5", &"wax ".repeat(240_000))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_of_any_form_arrives_and_is_dead_lettered_byte_for_byte() {
    let statics = json!({"webhooks": [
        {"key": "a", "event": "jira:issue_created", "url": "/a"},
        {"key": "b", "event": "jira:issue_created", "url": "/b"}]});
    let world = world(statics, |setup| setup).await;
    world.sink.answer("/base/b", 400, None);
    let sent = webhooks_of_odd_forms();
    for (at, body) in sent.iter().enumerate() {
        world.app.ingest(body.clone().into_bytes(), &format!("w-{at}")).await;
    }
    let mut received: Vec<_> = arrived(&world.sink, "/base/a", sent.len())
        .await
        .into_iter()
        .map(|received| received.body.to_vec())
        .collect();
    let mut expected: Vec<_> = sent.iter().map(|body| body.clone().into_bytes()).collect();
    received.sort_unstable();
    expected.sort_unstable();
    assert!(received == expected, "not what was sent");
    let failed = eventually(PATIENCE, "all are dead-lettered", async || {
        let path = format!("{WEBHOOKS}/failed");
        let (_, page) = world.app.call(Method::GET, &path, &Value::Null).await;
        let rows = page["values"].as_array().cloned().unwrap_or_default();
        (rows.len() == sent.len()).then_some(rows)
    })
    .await;
    let mut failed: Vec<_> = failed
        .iter()
        .map(|row| row["body"].as_str().expect("a body").as_bytes().to_vec())
        .collect();
    failed.sort_unstable();
    assert!(failed == expected, "the list of failed webhooks has something else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_show_the_normal_form_and_records_what_was_written_with_warnings() {
    let world = world(json!({}), |setup| setup).await;
    let written = "project=OPS  and assignee != 'Ada Lovelace'";
    let body = json!({"url": world.sink.url("/base/hooks"), "webhooks": [
        {"events": ["jira:issue_updated", "sprint_started"], "jqlFilter": written},
        {"events": ["jira:issue_updated"], "jqlFilter": "project != null"},
        {"events": ["jira:issue_updated"], "jqlFilter": " "},
        {"events": ["jira:issue_updated"], "jqlFilter": "cf[10029] = 5"}]});
    let (_, answer) = world.app.call(Method::POST, WEBHOOKS, &body).await;
    let results = &answer["webhookRegistrationResult"];
    assert_eq!(results[2]["errors"], json!(["Empty JQL search not supported"]));
    assert_eq!(results[3]["errors"], json!(["The clause cf[10029] is unsupported"]));

    let (_, list) = world.app.call(Method::GET, WEBHOOKS, &Value::Null).await;
    let filter = |at: usize| list["values"][at]["jqlFilter"].as_str().expect("a filter");
    assert_eq!(filter(0), "project = OPS AND assignee != \"Ada Lovelace\"");
    assert_eq!(filter(1), "project != EMPTY");

    let id = results[0]["createdWebhookId"].as_u64().expect("an id");
    let list = world._router.get("/admin/v1/subscriptions").await.expect("a list");
    let items = list["items"].as_array().expect("items");
    let listed = items.iter().find(|item| item["key"] == format!("webhook-{id}"));
    let listed = listed.expect("the webhook");
    assert_eq!(listed["data"]["jqlFilter"], written);
    let warnings = listed["warnings"].as_array().expect("warnings");
    let codes: Vec<&str> = warnings.iter().filter_map(|found| found["code"].as_str()).collect();
    assert_eq!(codes, ["SY-2032", "SY-3106"], "{warnings:?}");
    let single = listed["id"].as_str().expect("an id").replace('/', "%2F");
    let single = world._router.get(&format!("/admin/v1/subscriptions/{single}")).await;
    assert_eq!(single.expect("the webhook")["warnings"], listed["warnings"]);
    let quiet = items.iter().filter(|item| item.get("warnings").is_none()).count();
    assert_eq!(quiet, items.len() - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_webhook_can_be_read_by_its_app_as_it_was_sent() {
    let world = world(json!({}), |setup| setup).await;
    let hooks = json!({"webhooks": [
        {"key": "hook", "event": "jira:issue_updated", "url": "/hook?key={issue.key}"}]});
    assert_eq!(world.app.call(Method::POST, MODULES, &hooks).await.0, 200);
    let dynamic = json!({"url": world.sink.url("/base/dynamic"),
        "webhooks": [{"events": ["jira:issue_updated"], "jqlFilter": "project = OPS"}]});
    assert_eq!(world.app.call(Method::POST, WEBHOOKS, &dynamic).await.0, 200);
    let failed = async |query: &str| {
        let (status, page) =
            world.app.call(Method::GET, &format!("{WEBHOOKS}/failed{query}"), &Value::Null).await;
        assert_eq!(status, 200, "{page}");
        page
    };
    assert_eq!(failed("").await, json!({"maxResults": 100, "values": []}));

    for path in ["/base/hook", "/base/dynamic"] {
        world.sink.answer(path, 400, None);
    }
    for number in [1, 2] {
        crate::support::publish(&world.broker, SITE, number, "OPS").await;
    }
    let page = eventually(PATIENCE, "four webhooks are given up", async || {
        let page = failed("").await;
        (page["values"].as_array().map(Vec::len) == Some(4)).then_some(page)
    })
    .await;
    for row in page["values"].as_array().expect("rows") {
        let sent = world.sink.received().into_iter().find(|sent| {
            sent.header("x-atlassian-webhook-identifier") == row["id"].as_str().expect("an id")
        });
        let sent = sent.expect("it was sent");
        assert_eq!(row["body"].as_str().map(str::as_bytes), Some(&sent.body[..]));
        assert!(row["url"].as_str().expect("a URL").contains(&sent.path));
    }
    let times: Vec<_> = page["values"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["failureTime"].as_i64().expect("a time"))
        .collect();
    assert!(times.is_sorted(), "oldest first");

    // Each one is on one page, and the last page has a cursor for later ones.
    let (mut query, mut seen) = ("?maxResults=1".to_owned(), Vec::new());
    loop {
        let page = failed(&query).await;
        let Some(next) = page["next"].as_str() else { break };
        let ids = page["values"].as_array().expect("rows").iter().map(|row| row["id"].clone());
        seen.extend(ids);
        query = next.split_once("/failed").expect("its own address").1.to_owned();
    }
    let all = page["values"].as_array().expect("rows").iter().map(|row| row["id"].clone());
    assert_eq!(seen, all.collect::<Vec<_>>());
    let later = format!("?after={}", times[3]);
    assert_eq!(failed(&later).await["values"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_is_notified_once_of_a_webhook_that_expires_soon() {
    // With a lifetime of zero, each webhook is in the last tenth of it.
    let world = world(json!({}), |setup| setup.with("SWITCHYARD_LIMITS__WEBHOOK_LIFE_H", 0)).await;
    let body = json!({"kind": "connect", "baseUrl": world.sink.url("/base"), "scopes": ["READ"],
        "notices": {"url": world.sink.url("/notices")}});
    world._router.put(&format!("/admin/v1/apps/{APP}"), body).await;
    let hooks = json!({"url": world.sink.url("/base/hooks"),
        "webhooks": [{"events": ["jira:issue_updated"], "jqlFilter": "project != EMPTY"}]});
    let (_, answer) = world.app.call(Method::POST, WEBHOOKS, &hooks).await;
    let notice = arrived(&world.sink, "/notices", 1).await.remove(0).json();
    assert_eq!(notice["type"], "switchyard.webhook.expiring");
    let id = &answer["webhookRegistrationResult"][0]["createdWebhookId"];
    assert_eq!(notice["data"]["webhooks"][0]["id"], *id);
    assert_eq!(world.sink.received_at("/notices").len(), 1);
}
