//! The HTTP APIs, without a listener and without a broker.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use super::testing::NoFailedWebhooks;
use super::{ApiState, router};
use crate::domain::Secret;
use crate::matcher::Matcher;
use crate::registry::testing::MemoryStore;
use crate::registry::{ConnectLimits, Registry, Settings};

const ADMIN: &str = "admin-token";
const APP: &str = "/admin/v1/apps/ari%3Acloud%3Aecosystem%3A%3Aapp%2F1";
const MODULES: &str = "/forge/installation/v2/dynamic/module";
const BODY_MAX: usize = 16 * 1024;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

/// The API of one replica, with the installation `inst-a` of a Forge app.
struct TestApi {
    router: Router,
    token: String,
    _run: JoinSet<()>,
}

impl TestApi {
    async fn start() -> Self {
        Self::start_with(0, 0).await
    }

    async fn start_with(registration_rate: u32, registration_burst: u32) -> Self {
        let settings = Settings {
            prefix: "sw".into(),
            allow_unknown_events: false,
            accept_inert_types: false,
            connect: ConnectLimits::default(),
            modules_max: 100,
            property_paths_max: 5,
            public_url: String::new(),
            discovery_life_ms: i64::MAX / 2,
            signing_key_life_ms: i64::MAX,
            registration_rate,
            registration_burst,
        };
        let matcher = Arc::new(Matcher::default());
        let registry = Registry::new(MemoryStore::new(), Arc::clone(&matcher), settings);
        let registry = Arc::new(registry);
        let mut run = JoinSet::new();
        run.spawn(Arc::clone(&registry).run());
        timeout(Duration::from_secs(5), registry.wait_until_ready()).await.unwrap();
        let admin_token = Secret::new(ADMIN);
        let check_url: Box<crate::registry::CheckUrl> = Box::new(|url| match url.host_str() {
            Some("10.0.0.1") => Err("the address is private".into()),
            _ => Ok(()),
        });
        let state = ApiState {
            registry,
            matcher,
            admin_token,
            body_max: BODY_MAX,
            failed_webhooks: Arc::new(NoFailedWebhooks),
            check_url,
        };
        let mut api = Self { router: router(Arc::new(state)), token: String::new(), _run: run };
        api.admin("PUT", APP, app(json!({}))).await;
        let installation =
            json!({"app": "ari:cloud:ecosystem::app/1", "cloudId": "c", "product": "jira"});
        let answer = api.admin("PUT", "/admin/v1/installations/inst-a", installation).await;
        api.token = answer.body["token"].as_str().unwrap().to_owned();
        api
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(request(method, path, ADMIN).body(Body::from(body.to_string())).unwrap()).await
    }

    async fn forge(&self, method: &str, path: &str, body: Value) -> Answer {
        let request = request(method, path, &self.token);
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn register(&self) -> String {
        let answer = self.forge("POST", MODULES, trigger()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["key"].as_str().unwrap().to_owned()
    }
}

fn request(method: &str, path: &str, token: &str) -> axum::http::request::Builder {
    let bearer = format!("Bearer {token}");
    Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer)
}

fn app(changes: Value) -> Value {
    let mut app = json!({"kind": "forge", "functions": ["main"],
        "endpoints": [{"key": "hook", "url": "https://app.example.com/"}]});
    let (Value::Object(app_members), Value::Object(changes)) = (&mut app, changes) else {
        panic!("objects")
    };
    app_members.extend(changes);
    app
}

fn trigger() -> Value {
    json!({"type": "trigger", "data": {"events": ["avi:jira:updated:issue"], "endpoint": "hook"}})
}

fn message(answer: &Answer) -> &str {
    answer.body["message"].as_str().unwrap()
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_json() {
    let api = TestApi::start().await;
    let answer = api.admin("GET", "/no/such/path", json!({})).await;
    assert_eq!((answer.status, message(&answer)), (StatusCode::NOT_FOUND, "there is no such path"));
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

#[tokio::test]
async fn calls_on_behalf_of_a_user_are_refused() {
    let api = TestApi::start().await;
    for (value, status) in [
        ("Forge as=app,id=1", StatusCode::OK),
        ("Forge as=user,id=1", StatusCode::UNAUTHORIZED),
        ("nonsense", StatusCode::UNAUTHORIZED),
    ] {
        let request = request("GET", MODULES, &api.token)
            .header("forge-proxy-authorization", value)
            .body(Body::empty());
        assert_eq!(api.send(request.unwrap()).await.status, status, "{value}");
    }
}

#[tokio::test]
async fn list_as_array_has_no_pages() {
    let api = TestApi::start().await;
    let keys = [api.register().await, api.register().await];
    let request = request("GET", &format!("{MODULES}?limit=1"), &api.token)
        .header(header::ACCEPT, "application/json;shape=array")
        .body(Body::empty());
    let answer = api.send(request.unwrap()).await;
    let listed: Vec<_> = answer.body.as_array().unwrap().iter().map(|m| &m["key"]).collect();
    assert_eq!(listed, keys.each_ref());
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_modules_are_added_and_removed() {
    let api = TestApi::start().await;
    let mut kept = Vec::new();
    let mut removed = Vec::new();
    for _ in 0..6 {
        kept.push(api.register().await);
        removed.push(api.register().await);
    }
    let (mut seen, mut path) = (Vec::new(), format!("{MODULES}/?limit=2"));
    loop {
        let answer = api.forge("GET", &path, json!({})).await;
        let page = answer.body["result"].as_array().unwrap();
        seen.extend(page.iter().map(|module| module["key"].as_str().unwrap().to_owned()));
        let Some(next) = answer.body["nextPageToken"].as_str() else { break };
        assert_eq!(answer.body["lastEvaluatedKey"], next);
        path = format!("{MODULES}/?limit=2&nextPageToken={next}");
        if let Some(key) = removed.pop() {
            api.forge("DELETE", &format!("{MODULES}/{key}"), json!({})).await;
        }
        // A page has two modules and one more is registered, so the scan ends.
        api.register().await;
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
    assert!(kept.iter().all(|key| distinct.contains(key)));
}

#[tokio::test]
async fn etag_guards_updates_and_deletions() {
    let api = TestApi::start().await;
    let path = format!("{MODULES}/{}", api.register().await);
    let tag = api.forge("GET", &path, json!({})).await.headers[header::ETAG].clone();
    let send = async |method: &str, tag: &[u8]| {
        let request = request(method, &path, &api.token).header(header::IF_MATCH, tag);
        api.send(request.body(Body::from(trigger().to_string())).unwrap()).await
    };
    let updated = send("PUT", tag.as_bytes()).await;
    assert_eq!(updated.status, StatusCode::OK);
    assert_ne!(updated.headers[header::ETAG], tag);
    for stale in [tag.as_bytes(), b"\"x\"", b"W/\"2\""] {
        assert_eq!(send("PUT", stale).await.status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(send("DELETE", stale).await.status, StatusCode::PRECONDITION_FAILED);
    }
    assert_eq!(send("DELETE", b"*").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn too_many_registrations_are_answered_with_retry_after() {
    let api = TestApi::start_with(1, 2).await;
    api.register().await;
    api.register().await;
    let answer = api.forge("POST", MODULES, trigger()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    assert_eq!(api.forge("GET", MODULES, json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn key_in_a_registration_is_rejected_because_the_server_assigns_it() {
    let api = TestApi::start().await;
    for path in ["/key", "/data/key"] {
        let mut body = trigger();
        let (parent, name) = path.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = json!("mine");
        let answer = api.forge("POST", MODULES, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(message(&answer).contains("key is assigned by the server"));
    }
}

#[tokio::test]
async fn keys_inside_and_outside_of_the_data_agree_in_version_1() {
    let api = TestApi::start().await;
    let modules = MODULES.replace("v2", "v1");
    let mut body = trigger();
    body["key"] = json!("mine");
    body["data"]["key"] = json!("other");
    let answer = api.forge("POST", &modules, body.clone()).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.body["errors"][0]["path"], "data.key");
    body["data"]["key"] = json!("mine");
    assert_eq!(api.forge("POST", &modules, body.clone()).await.status, StatusCode::CREATED);
    assert_eq!(api.forge("PUT", &modules, body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn type_of_a_module_cannot_change() {
    let api = TestApi::start().await;
    let path = format!("{MODULES}/{}", api.register().await);
    let body = json!({"type": "macro", "data": {}});
    let answer = api.forge("PUT", &path, body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(message(&answer).contains("type"));
}

#[tokio::test]
async fn warnings_are_returned_with_the_module_if_there_are_any() {
    let api = TestApi::start().await;
    let mut body = trigger();
    assert!(api.forge("POST", MODULES, body.clone()).await.body.get("warnings").is_none());
    body["data"]["filter"] = json!({"ignoreSelf": true, "onError": "RECEIVE"});
    let answer = api.forge("POST", MODULES, body).await;
    assert_eq!(answer.body["warnings"][0]["code"], "SY-2015");
    assert_eq!(answer.body["warnings"][0]["path"], "data.filter.onError");
}

#[tokio::test]
async fn registration_returns_the_complexity_of_each_filter() {
    let api = TestApi::start().await;
    let mut body = trigger();
    body["data"].as_object_mut().unwrap().remove("filter");
    let created = api.forge("POST", MODULES, body.clone()).await;
    assert_eq!(
        created.body.get("complexity"),
        None,
        "a trigger without a filter has no complexity"
    );
    let expression = "event.changelog?.items.some(i => i.fieldId == 'status') ?? false";
    body["data"]["filter"] = json!({"expression": expression});
    let created = api.forge("POST", MODULES, body.clone()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let cost = &created.body["complexity"][0];
    assert_eq!(cost["path"], "data.filter.expression");
    assert_eq!(cost["expression"], "6*N + 11");
    assert_eq!(cost["variables"], json!({"N": "event.changelog.items"}));
    let path = format!("{MODULES}/{}", created.body["key"].as_str().unwrap());
    let replaced = api.forge("PUT", &path, body).await;
    assert_eq!(replaced.body["complexity"], created.body["complexity"]);
    assert_eq!(api.forge("GET", &path, json!({})).await.body.get("complexity"), None);
}

#[tokio::test]
async fn unknown_member_of_an_app_is_refused_by_name() {
    let api = TestApi::start().await;
    for body in [
        app(json!({"colour": 1})),
        app(json!({"endpoints": [{"key": "hook", "url": "https://x.example", "colour": 1}]})),
    ] {
        let answer = api.admin("PUT", APP, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(message(&answer).contains("colour"), "{}", answer.body);
    }
}

#[tokio::test]
async fn endpoint_address_that_is_closed_to_deliveries_is_rejected() {
    let api = TestApi::start().await;
    let endpoint = json!({"key": "hook", "url": "https://10.0.0.1/"});
    let answer = api.admin("PUT", APP, app(json!({"endpoints": [endpoint]}))).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.body["errors"][0]["path"], "endpoints[0].url");
    assert!(message(&answer).contains("private"));
}

#[tokio::test]
async fn secret_of_an_endpoint_is_shown_when_it_is_new_and_never_again() {
    let api = TestApi::start().await;
    let known = json!({"key": "hook", "url": "https://app.example.com/"});
    let new = json!({"key": "second", "url": "https://app.example.com/2"});
    let answer = api.admin("PUT", APP, app(json!({"endpoints": [known, new]}))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body["endpoints"][0].get("secret").is_none());
    assert!(answer.body["endpoints"][1]["secret"].as_str().unwrap().starts_with("whsec_"));
    let shown = api.admin("GET", APP, json!({})).await;
    assert!(!shown.body.to_string().contains("whsec_"));
}

#[tokio::test]
async fn installation_shows_the_subjects_of_its_functions_and_no_secret() {
    let api = TestApi::start().await;
    let shown = api.admin("GET", "/admin/v1/installations/inst-a/", json!({})).await.body;
    assert_eq!(shown["functions"], json!([{"function": "main", "subject": "sw.fn.inst-a.main"}]));
    assert_eq!(shown["modules"]["dynamicMax"], 100);
    assert!(shown.get("token").is_none() && !shown.to_string().contains("tokenHash"));
    let new = api.admin("POST", "/admin/v1/installations/inst-a/token", json!({})).await;
    assert_eq!(new.status, StatusCode::OK);
    assert_eq!(api.forge("GET", MODULES, json!({})).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn operator_lists_are_paged_and_filtered() {
    let api = TestApi::start().await;
    for _ in 0..3 {
        api.register().await;
    }
    let (mut seen, mut path) = (0, "/admin/v1/subscriptions?limit=2".to_owned());
    loop {
        let answer = api.admin("GET", &path, json!({})).await;
        seen += answer.body["items"].as_array().unwrap().len();
        let Some(next) = answer.body["nextCursor"].as_str() else { break };
        path = format!("/admin/v1/subscriptions?limit=2&cursor={next}");
    }
    assert_eq!(seen, 3);
    let count = async |query: &str| {
        let path = format!("/admin/v1/subscriptions?{query}");
        api.admin("GET", &path, json!({})).await.body["items"].as_array().map(Vec::len)
    };
    assert_eq!(count("installation=inst-a&state=active").await, Some(3));
    assert_eq!(count("event=avi%3Ajira%3Aupdated%3Aissue&q=hook").await, Some(3));
    assert_eq!(count("event=avi%3Ajira%3Acreated%3Aissue").await, Some(0));
    assert_eq!(count("app=other").await, Some(0));
    assert_eq!(count("state=nonsense").await, None);
}

#[tokio::test]
async fn subscription_shows_its_filter_handler_and_figures() {
    let api = TestApi::start().await;
    let mut body = trigger();
    body["data"]["filter"] = json!({"expression": "true", "ignoreSelf": true});
    let key = api.forge("POST", MODULES, body).await.body["key"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/subscriptions/inst-a%2F{key}");
    let shown = api.admin("GET", &path, json!({})).await.body;
    assert_eq!(shown["id"], format!("inst-a/{key}"));
    assert_eq!(shown["state"], "active");
    assert_eq!(shown["events"][0]["expression"], "true");
    assert_eq!(shown["events"][0]["onError"], "IGNORE_AND_LOG");
    assert_eq!(shown["handler"]["url"], "https://app.example.com/");
    assert_eq!(shown["stats"]["matched"], 0);
    assert!(shown["stats"].get("lastMatch").is_none());
    assert!(shown["createdAt"].as_str().unwrap().ends_with('Z'));
    let missing = api.admin("GET", "/admin/v1/subscriptions/inst-a%2Fnone", json!({})).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn filters_are_checked_against_the_events_they_are_for() {
    let api = TestApi::start().await;
    let path = "/admin/v1/filters:check";
    let filter = json!({"expression": "event.issue.fields.priorty.name == 'High'",
        "events": ["avi:jira:updated:issue"], "onError": "RECEIVE"});
    let answer = api.admin("POST", path, filter).await;
    assert_eq!((answer.status, &answer.body["valid"]), (StatusCode::OK, &json!(true)));
    let found = &answer.body["diagnostics"][0];
    let expected = ["SY-3103", "warning", "priority"];
    assert_eq!(["code", "severity", "replacement"].map(|name| &found[name]), expected);
    assert_eq!((&found["offset"], &found["length"]), (&json!(19), &json!(7)));
    assert_eq!(answer.body["complexity"]["expression"], "11");
    let answer = api.admin("POST", path, json!({"expression": "event.a = 1"})).await;
    assert_eq!(answer.body["valid"], false);
    let answer = api.admin("POST", path, json!({"expresion": "true"})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn filters_are_tested_on_an_event_and_explained() {
    let api = TestApi::start().await;
    let path = "/admin/v1/filters:test";
    let event = json!({"eventType": "avi:jira:created:issue", "issue": {"key": "A-1"}});
    let body = json!({"expression": "event.issue.key == 'B-1' && true", "event": event});
    let answer = api.admin("POST", path, body).await;
    assert_eq!((answer.status, &answer.body["verdict"]), (StatusCode::OK, &json!("false")));
    let part = &answer.body["parts"][0]["parts"][0];
    assert_eq!((&part["decides"], &part["reads"][0]["value"]), (&json!(true), &json!("A-1")));
    let answer = api.admin("POST", path, json!({"expression": "1 +", "event": event})).await;
    assert_eq!(answer.body["valid"], false);
    let answer = api.admin("POST", path, json!({"expression": "true", "event": 3})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn module_is_tested_on_an_event_before_and_after_registration() {
    let api = TestApi::start().await;
    let test = format!("{MODULES}:test");
    let event = json!({"eventType": "avi:jira:created:issue",
        "issue": {"fields": {"project": {"key": "OPS"}}}});
    let data = json!({"endpoint": "hook", "events": ["avi:jira:created:issue"],
        "filter": {"expression": "event.issue.fields.project.key == 'WEB'"}});
    let body = json!({"type": "trigger", "data": data, "event": event});
    let answer = api.forge("POST", &test, body).await;
    assert_eq!((answer.status, &answer.body["delivered"]), (StatusCode::OK, &json!(false)));
    assert!(answer.body["explanation"].is_object(), "{}", answer.body);
    let module = json!({"type": "trigger", "data": data});
    let registered = api.forge("POST", MODULES, module).await;
    let body = json!({"key": registered.body["key"], "event": event});
    let again = api.forge("POST", &test, body).await;
    assert_eq!(again.body["stage"], "filter");
    let refused = api.forge("POST", &test, json!({"key": "ghost", "event": {}})).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let refused = api.forge("POST", &test, json!({"key": "ghost"})).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}
