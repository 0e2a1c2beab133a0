//! The Forge API, without a listener and without a broker.

use axum::body::Body;
use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::api::testing::{MODULES, TestApi, message, request, trigger};
use crate::matcher::Matcher;

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
    let api = TestApi::start_with(1, 2, Matcher::default()).await;
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

/// Tests a trigger with `filter` on `event`, as the installation `inst-b` without a licence, whose
/// app acts with the account `own`. Returns whether it is delivered, and the stage that decides.
async fn dry_run(api: &mut TestApi, filter: Value, event: Value) -> (bool, String) {
    let installation = json!({"app": "ari:cloud:ecosystem::app/1", "cloudId": "c",
        "product": "jira", "licensed": false, "appAccountId": "own"});
    let answer = api.admin("PUT", "/admin/v1/installations/inst-b", installation).await;
    if let Some(token) = answer.body["token"].as_str() {
        api.token = token.to_owned();
    }
    let mut data = json!({"endpoint": "hook", "events": ["avi:jira:created:issue"]});
    if !filter.is_null() {
        data["filter"] = filter;
    }
    let body = json!({"type": "trigger", "data": data, "event": event});
    let answer = api.forge("POST", &format!("{MODULES}:test"), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    (answer.body["delivered"] == true, answer.body["stage"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn dry_run_names_the_stage_that_decides() {
    let mut api = TestApi::start().await;
    let ops = "event.issue.fields.project.key == 'OPS'";
    let event = |key: &str| {
        json!({"eventType": "avi:jira:created:issue",
            "issue": {"fields": {"project": {"key": key}}}})
    };
    let bare = json!({"eventType": "avi:jira:created:issue"});
    let mut own = event("OPS");
    own["selfGenerated"] = json!(true);
    for (filter, event, delivered, stage) in [
        (Value::Null, bare.clone(), true, "event"),
        (json!({"ignoreSelf": true}), bare.clone(), true, "filter"),
        (json!({"expression": ops}), event("OPS"), true, "filter"),
        (json!({"expression": ops}), event("WEB"), false, "filter"),
        (json!({"expression": ops}), json!({"eventType": "avi:jira:x:y"}), false, "event"),
        (json!({"expression": ops}), bare.clone(), false, "onError"),
        (json!({"expression": ops, "onError": "RECEIVE"}), bare.clone(), true, "onError"),
        (json!({"appIsLicensed": true}), bare, false, "appIsLicensed"),
        (json!({"ignoreSelf": true}), own.clone(), false, "ignoreSelf"),
        (json!({"expression": ops}), json!({"subject": "s", "data": own}), true, "filter"),
    ] {
        let found = dry_run(&mut api, filter.clone(), event.clone()).await;
        assert_eq!(found, (delivered, stage.to_owned()), "{filter} {event}");
    }
}

#[tokio::test]
async fn dry_run_recognises_changes_by_the_account_of_the_app() {
    let mut api = TestApi::start().await;
    let event =
        |account: &str| json!({"eventType": "avi:jira:created:issue", "atlassianId": account});
    let ignore_self = json!({"ignoreSelf": true});
    let found = dry_run(&mut api, ignore_self.clone(), event("own")).await;
    assert_eq!(found, (false, "ignoreSelf".to_owned()));
    assert!(dry_run(&mut api, ignore_self, event("another")).await.0);
    let reads_flag = json!({"expression": "event.selfGenerated"});
    assert!(dry_run(&mut api, reads_flag.clone(), event("own")).await.0);
    assert!(!dry_run(&mut api, reads_flag, event("another")).await.0);
}

#[tokio::test]
async fn dry_run_rejects_what_is_not_an_event_also_without_a_filter() {
    let api = TestApi::start().await;
    let data = json!({"endpoint": "hook", "events": ["avi:jira:created:issue"]});
    let body = json!({"type": "trigger", "data": data, "event": [1]});
    let answer = api.forge("POST", &format!("{MODULES}:test"), body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.body["errors"][0]["path"], "event");
}

#[tokio::test]
async fn dry_run_has_the_step_budget_of_matching() {
    let api = TestApi::start_with(0, 0, Matcher::new(5)).await;
    let data = json!({"endpoint": "hook", "events": ["avi:jira:created:issue"],
        "filter": {"expression": "[1, 2, 3, 4, 5, 6].every(n => n < 7)"}});
    let body = json!({"type": "trigger", "data": data,
        "event": {"eventType": "avi:jira:created:issue"}});
    let answer = api.forge("POST", &format!("{MODULES}:test"), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(
        (&answer.body["delivered"], &answer.body["stage"]),
        (&json!(false), &json!("onError"))
    );
}
