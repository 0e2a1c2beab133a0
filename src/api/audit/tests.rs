//! What is recorded of the calls of operators, without a broker.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::testing::{ADMIN, APP, TestApi, app, request};
use crate::audit::{Action, AuditRecord, Content, Step, Via};
use crate::domain::Scope;

const MODULE: &str = "/admin/v1/installations/inst-a/modules/k";

/// Operations with a method that may change something, and that are not recorded.
const NOT_RECORDED: [&str; 7] = [
    "POST /admin/v1/events",
    "POST /admin/v1/explain",
    "POST /admin/v1/filters:backtest",
    "POST /admin/v1/filters:check",
    "POST /admin/v1/filters:test",
    "POST /admin/v1/listeners/{id}/answers/{delivery}",
    "POST /admin/v1/subscriptions/{id}/test",
];

fn module(filter: &str) -> Value {
    json!({"type": "trigger", "data": {"endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": {"expression": filter}}})
}

/// The records of what `call` does.
async fn records_of<T>(api: &TestApi, call: impl Future<Output = T>) -> (Vec<AuditRecord>, T) {
    let before = api.audit.records().len();
    let done = call.await;
    (api.audit.records().split_off(before), done)
}

fn started(record: &AuditRecord) -> (&Action, Option<&Value>) {
    match &record.step {
        Step::Started { action, before } => (action, before.as_ref().map(value)),
        step => panic!("{step:?}"),
    }
}

fn done(record: &AuditRecord) -> (u16, Option<&Value>) {
    match &record.step {
        Step::Done { status, after } => (*status, after.as_ref().map(value)),
        step => panic!("{step:?}"),
    }
}

fn value(content: &Content) -> &Value {
    match content {
        Content::Value(value) => value,
        Content::Omitted(reason) => panic!("{reason}"),
    }
}

#[tokio::test]
async fn every_operation_is_recorded_or_named_here_as_one_that_changes_nothing() {
    let api = TestApi::start().await;
    let recorded: BTreeSet<String> = super::recorded_operations(&api.document).collect();
    let mut others = Vec::new();
    for (path, item) in api.document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|method| *method != "get") {
            let operation = format!("{} {path}", method.to_uppercase());
            if path.starts_with("/admin/") && !recorded.contains(&operation) {
                others.push(operation);
            }
        }
    }
    assert_eq!(others, NOT_RECORDED);
    assert!(recorded.contains("PUT /admin/v1/apps/{id}"));
}

#[tokio::test]
async fn change_has_a_record_before_and_after_it_without_secrets() {
    let api = TestApi::start().await;
    let (created, answer) = records_of(&api, api.admin("PUT", MODULE, module("true"))).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let [first, last] = &created[..] else { panic!("{created:?}") };
    let (action, before) = started(first);
    assert_eq!(
        (&*action.caller, action.scope, action.via),
        ("admin", Some(Scope::Admin), Via::Api)
    );
    assert_eq!((&*action.operation, &*action.method, &*action.path), ("putModule", "PUT", MODULE));
    assert_eq!(before, None, "there was none");
    let (status, after) = done(last);
    assert_eq!(status, 201);
    assert_eq!(after.unwrap()["data"]["filter"]["expression"], "true");
    assert_eq!((&first.id, first.at_ms <= last.at_ms), (&last.id, true));

    let (changed, _) = records_of(&api, api.admin("PUT", MODULE, module("false"))).await;
    let filter = |content: Option<&Value>| content.unwrap()["data"]["filter"]["expression"].clone();
    assert_eq!(filter(started(&changed[0]).1), "true");
    assert_eq!(filter(done(&changed[1]).1), "false");

    let (removed, _) = records_of(&api, api.admin("DELETE", MODULE, Value::Null)).await;
    assert_eq!(filter(started(&removed[0]).1), "false");
    assert_eq!(done(&removed[1]), (204, None));

    let path = "/admin/v1/installations/inst-a/token";
    let (rotated, answer) = records_of(&api, api.admin("POST", path, Value::Null)).await;
    let token = answer.body["token"].as_str().unwrap();
    assert_eq!(done(&rotated[1]).1.unwrap()["id"], "inst-a");
    for record in api.audit.records() {
        let text = serde_json::to_string(&record).unwrap();
        for secret in [token, &api.token, ADMIN] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

#[tokio::test]
async fn created_record_has_the_answer_after_it() {
    let api = TestApi::start().await;
    let body = json!({"query": {"installation": "inst-a"}, "dryRun": true});
    let (records, answer) =
        records_of(&api, api.admin("POST", "/admin/v1/dlq/redrive", body)).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    assert_eq!(started(&records[0]).1, None);
    assert_eq!(done(&records[1]).1.unwrap()["id"], answer.body["id"]);
}

#[tokio::test]
async fn refused_change_is_recorded_and_reads_and_dry_runs_are_not() {
    let api = TestApi::start().await;
    let (refused, answer) =
        records_of(&api, api.admin("PUT", APP, app(json!({"colour": 1})))).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(done(&refused[1]), (422, None));
    assert_eq!(started(&refused[0]).1.unwrap()["kind"], "forge");
    let (missing, _) =
        records_of(&api, api.admin("DELETE", "/admin/v1/apps/none", Value::Null)).await;
    assert_eq!((started(&missing[0]).1, done(&missing[1])), (None, (404, None)));
    for (method, path, body) in [
        ("GET", APP.to_owned(), Value::Null),
        ("GET", "/admin/v1/audit-log".to_owned(), Value::Null),
        ("POST", "/admin/v1/filters:check".to_owned(), json!({"expression": "true"})),
        ("PUT", format!("{MODULE}?dryRun=true"), module("true")),
    ] {
        let (none, answer) = records_of(&api, api.admin(method, &path, body)).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.body);
        assert_eq!(none, [], "{method} {path}");
    }
    let unknown = request("DELETE", APP, "wrong").body(Body::empty()).unwrap();
    let (none, answer) = records_of(&api, api.send(unknown)).await;
    assert_eq!((answer.status, none), (StatusCode::UNAUTHORIZED, vec![]));
}

#[tokio::test]
async fn nothing_is_changed_that_cannot_be_recorded() {
    let api = TestApi::start().await;
    api.audit.is_down.store(true, SeqCst);
    for (method, path, body) in [
        ("PUT", MODULE, module("true")),
        ("DELETE", APP, Value::Null),
        ("POST", "/admin/v1/signing-keys", json!({})),
    ] {
        let answer = api.admin(method, path, body).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}");
        assert_eq!(answer.body["errors"][0]["code"], "SY-5025", "{method} {path}");
    }
    assert!(api.admin("GET", APP, Value::Null).await.status.is_success());
    let modules = "/admin/v1/installations/inst-a/modules";
    let modules = api.admin("GET", modules, Value::Null).await;
    assert_eq!(modules.body["items"], json!([]));
}

#[tokio::test]
async fn request_says_by_which_way_and_under_which_id_it_came() {
    let api = TestApi::start().await;
    let send = async |headers: &[(&str, &str)]| {
        let mut request = request("POST", "/admin/v1/signing-keys", ADMIN);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let call = api.send(request.body(Body::from("{}")).unwrap());
        let (records, _) = records_of(&api, call).await;
        started(&records[0]).0.clone()
    };
    let action = send(&[("user-agent", "switchyard/0.1.0"), ("x-request-id", "r-1")]).await;
    assert_eq!((action.via, action.request_id.as_deref()), (Via::Command, Some("r-1")));
    let long = "x".repeat(10_000);
    let action = send(&[("user-agent", "curl/8"), ("x-request-id", &long)]).await;
    assert_eq!((action.via, action.request_id.map(|id| id.len())), (Via::Api, Some(512)));
}

#[tokio::test]
async fn log_is_listed_and_shown_and_takes_no_change() {
    let api = TestApi::start().await;
    api.admin("PUT", MODULE, module("true")).await;
    api.admin("PUT", MODULE, module("false")).await;
    let list = async |query: &str| {
        let answer = api.admin("GET", &format!("/admin/v1/audit-log{query}"), Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    };
    let all = list("").await;
    let operations: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|item| item["operation"].clone()).collect();
    assert_eq!(operations, ["putModule", "putModule", "putInstallation", "putApp"]);
    assert!(all["items"][0].get("before").is_none(), "lists have no contents: {all}");
    assert_eq!(all["items"][0]["outcome"], "done");
    let details = list("?details=true&limit=1").await;
    assert_eq!(details["items"][0]["after"]["data"]["filter"]["expression"], "false");
    let first = list("?limit=1&operation=putModule").await;
    let rest = format!("?operation=putModule&cursor={}", first["nextCursor"].as_str().unwrap());
    let rest = list(&rest).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    for (query, count) in [
        ("?caller=admin", 4),
        ("?caller=other", 0),
        ("?path=/apps/", 1),
        ("?since=2099-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(list(query).await["items"].as_array().unwrap().len(), count, "{query}");
    }
    let path = format!("/admin/v1/audit-log/{}", all["items"][0]["id"].as_str().unwrap());
    let shown = api.admin("GET", &path, Value::Null).await.body;
    assert_eq!(shown["before"]["data"]["filter"]["expression"], "true");
    assert_eq!(shown["after"]["data"]["filter"]["expression"], "false");
    for path in [&path, "/admin/v1/audit-log", "/admin/v1/audit-log/1-0000000000000000"] {
        for method in ["PUT", "POST", "DELETE", "PATCH"] {
            let answer = api.admin(method, path, json!({})).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
    for none in ["1-0000000000000000", "x"] {
        let path = format!("/admin/v1/audit-log/{none}");
        assert_eq!(api.admin("GET", &path, Value::Null).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(list("").await, all);
}
