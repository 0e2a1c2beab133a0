//! The operator API, without a listener and without a broker.

use axum::http::StatusCode;
use serde_json::json;

use crate::api::testing::{APP, MODULES, TestApi, app, message, trigger};
use crate::matcher::Matcher;
use crate::registry::PROBLEMS_LISTED_MAX;

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
async fn the_first_problems_of_an_app_are_listed_and_the_others_counted() {
    let api = TestApi::start().await;
    let functions = vec!["a b"; 1_000];
    let answer = api.admin("PUT", APP, app(json!({"functions": functions}))).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let errors = answer.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), PROBLEMS_LISTED_MAX + 1);
    assert_eq!(errors[PROBLEMS_LISTED_MAX]["code"], "SY-2038");
    assert_eq!(errors[PROBLEMS_LISTED_MAX]["message"], "900 more are not listed");
    assert!(message(&answer).ends_with("(and 999 more)"), "{}", message(&answer));
}

#[tokio::test]
async fn the_first_warnings_of_an_app_are_listed_and_the_others_counted() {
    let api = TestApi::start().await;
    let webhook = |n: usize| json!({"key": format!("w{n}"), "event": "misspelt", "url": "/w"});
    let webhooks: Vec<_> = (0..150).map(webhook).collect();
    let body = json!({"kind": "connect", "baseUrl": "https://app.example.com",
        "staticModules": {"webhooks": webhooks}});
    let answer = api.admin("PUT", "/admin/v1/apps/com.example", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let warnings = answer.body["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), PROBLEMS_LISTED_MAX + 1);
    assert_eq!(warnings[PROBLEMS_LISTED_MAX]["message"], "50 more are not listed");
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
    for (unknown, hint) in [("app=other", "app `other`"), ("installation=inst-b", "`inst-b`")] {
        let path = format!("/admin/v1/subscriptions?{unknown}");
        let found = api.admin("GET", &path, json!({})).await.body;
        assert_eq!(found["items"], json!([]), "{unknown}");
        assert!(found["hints"][0].as_str().unwrap().contains(hint), "{found}");
    }
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
async fn tested_filter_has_the_step_budget_of_matching() {
    let api = TestApi::start_with(0, 0, Matcher::new(5)).await;
    let body = json!({"expression": "[1, 2, 3, 4, 5, 6].every(n => n < 7)",
        "event": {"eventType": "avi:jira:created:issue"}});
    let answer = api.admin("POST", "/admin/v1/filters:test", body).await;
    assert_eq!((answer.status, &answer.body["verdict"]), (StatusCode::OK, &json!("error")));
}

#[tokio::test]
async fn unmapped_webhooks_of_a_site_are_listed_with_their_counts() {
    let api = TestApi::start().await;
    let listed = api.admin("GET", "/admin/v1/sites/c/unmapped", json!({})).await;
    assert_eq!(listed.status, StatusCode::OK);
    let item = json!({"name": "lantern_lit", "count": 2, "eventType": "webhook:lantern_lit"});
    assert_eq!(listed.body, json!({"items": [item], "other": 7, "truncated": false}));
    let none = api.admin("GET", "/admin/v1/sites/elsewhere/unmapped/", json!({})).await;
    assert_eq!(none.body["items"], json!([]));
}

#[tokio::test]
async fn problems_name_apps_and_installations_with_undelivered_or_warned_modules() {
    let api = TestApi::start().await;
    let body = json!({"kind": "connect", "baseUrl": "https://app.example.com",
        "staticModules": {"webhooks": [
            {"key": "good", "event": "jira:issue_created", "url": "/w"},
            {"key": "odd", "event": "jira:issue_created", "url": "/w",
                "conditions": [{"condition": "user_is_admin"}]}]}});
    api.admin("PUT", "/admin/v1/apps/com.example", body).await;
    for id in ["inst-1", "inst-2"] {
        let installation = json!({"app": "com.example", "cloudId": id, "product": "jira",
            "clientKey": id, "sharedSecret": "0123456789abcdef0123456789abcdef"});
        let put = api.admin("PUT", &format!("/admin/v1/installations/{id}"), installation).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.body);
    }
    api.register().await;
    let filter = json!({"type": "trigger", "data": {"events": ["avi:jira:updated:issue"],
        "endpoint": "hook", "filter": {"ignoreSelf": true, "onError": "RECEIVE"}}});
    api.forge("POST", MODULES, filter).await;

    let found = api.admin("GET", "/admin/v1/problems", json!({})).await.body;
    let items = found["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{found}");
    assert_eq!(items[0]["kind"], "app_modules", "once, not for each installation");
    assert_eq!((&items[0]["app"], &items[0]["undelivered"]), (&json!("com.example"), &json!(1)));
    assert_eq!(items[0]["modules"][0]["key"], "odd");
    assert_eq!(items[0]["modules"][0]["codes"], json!(["SY-2036", "SY-2037"]));
    assert_eq!((&items[1]["kind"], &items[1]["id"]), (&json!("modules"), &json!("inst-a")));
    assert_eq!((&items[1]["affected"], &items[1]["undelivered"]), (&json!(1), &json!(0)));
    assert_eq!(items[1]["modules"][0]["codes"], json!(["SY-2015"]));
    assert!(found.get("nextCursor").is_none());
}

#[tokio::test]
async fn problems_are_paged_through_installations() {
    let api = TestApi::start().await;
    let warned = json!({"type": "trigger", "data": {"events": ["avi:jira:updated:issue"],
        "endpoint": "hook", "filter": {"ignoreSelf": true, "onError": "RECEIVE"}}});
    api.forge("POST", MODULES, warned.clone()).await;
    for id in ["inst-b", "inst-c"] {
        let path = format!("/admin/v1/installations/{id}");
        let installation =
            json!({"app": "ari:cloud:ecosystem::app/1", "cloudId": "c", "product": "jira"});
        api.admin("PUT", &path, installation).await;
        let put = api.admin("PUT", &format!("{path}/modules/m"), warned.clone()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.body);
    }
    let (mut path, mut ids) = ("/admin/v1/problems?limit=1".to_owned(), Vec::new());
    for _ in 0..4 {
        let page = api.admin("GET", &path, json!({})).await.body;
        ids.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/admin/v1/problems?limit=1&cursor={cursor}");
    }
    assert_eq!(ids, ["inst-a", "inst-b", "inst-c"]);
}

#[tokio::test]
async fn endpoints_are_paged_and_belong_to_their_subscriptions() {
    let api = TestApi::start().await;
    let second = json!({"key": "second", "url": "https://app.example.com/second"});
    let hook = json!({"key": "hook", "url": "https://app.example.com/"});
    api.admin("PUT", APP, app(json!({"endpoints": [hook, second]}))).await;
    api.register().await;
    api.register().await;
    let mut other = trigger();
    other["data"]["endpoint"] = json!("second");
    api.forge("POST", MODULES, other).await;
    let (mut seen, mut path) = (Vec::new(), "/admin/v1/endpoints?limit=1".to_owned());
    loop {
        let page = api.admin("GET", &path, json!({})).await.body;
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        assert_eq!(page["replica"]["name"], "test/1");
        let Some(next) = page["nextCursor"].as_str() else { break };
        path = format!("/admin/v1/endpoints?limit=1&cursor={next}");
    }
    assert_eq!(seen.len(), 2, "{seen:#?}");
    let of = |url: &str| seen.iter().find(|one| one["address"] == url).unwrap();
    assert_eq!(of("https://app.example.com/")["subscriptions"], 2);
    assert_eq!(of("https://app.example.com/second")["state"], "idle");
    let id = of("https://app.example.com/second")["id"].as_str().unwrap().replace('/', "%2F");
    let shown = api.admin("GET", &format!("/admin/v1/endpoints/{id}"), json!({})).await;
    assert_eq!(shown.body["host"], "https://app.example.com");
    for (query, count) in [
        ("state=open", Some(0)),
        ("failing=true", Some(0)),
        ("app=x", Some(0)),
        ("installation=inst-a", Some(2)),
        ("state=broken", None),
        ("failing=maybe", None),
    ] {
        let answer = api.admin("GET", &format!("/admin/v1/endpoints?{query}"), json!({})).await;
        assert_eq!(answer.body["items"].as_array().map(Vec::len), count, "{query}");
    }
    let unknown = api.admin("GET", "/admin/v1/endpoints/inst-a%2Fep_x", json!({})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tests_and_resets_of_endpoints_are_bounded() {
    let api = TestApi::start().await;
    api.register().await;
    let list = api.admin("GET", "/admin/v1/endpoints", json!({})).await.body;
    let id = list["items"][0]["id"].as_str().unwrap().replace('/', "%2F");
    let path = format!("/admin/v1/endpoints/{id}/reset-breaker");
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(api.admin("POST", &path, json!({})).await.status);
    }
    assert_eq!(statuses[0], StatusCode::OK);
    assert_eq!(statuses[7], StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn doctor_and_top_answer_without_a_broker() {
    let api = TestApi::start().await;
    api.register().await;
    let found = api.admin("GET", "/admin/v1/doctor", json!({})).await.body;
    assert_eq!(found["status"], "critical");
    assert_eq!(found["findings"][0]["check"], "broker");
    assert!(found.get("broker").is_none());
    let top = api.admin("GET", "/admin/v1/top?by=volume&limit=1", json!({})).await.body;
    assert_eq!((&top["subscriptions"], &top["items"]), (&json!(1), &json!([])));
    assert_eq!(top["ready"], false);
    for wrong in ["top?by=luck", "top?limit=0", "live?decision=maybe"] {
        let refused = api.admin("GET", &format!("/admin/v1/{wrong}"), json!({})).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

#[tokio::test]
async fn subscriptions_are_selected_by_site_and_by_failure() {
    let api = TestApi::start().await;
    api.register().await;
    for (query, count) in
        [("site=c", 1), ("site=other", 0), ("failing=true", 0), ("failing=false", 1)]
    {
        let path = format!("/admin/v1/subscriptions?{query}");
        let found = api.admin("GET", &path, json!({})).await.body;
        assert_eq!(found["items"].as_array().map(Vec::len), Some(count), "{query}");
    }
}
