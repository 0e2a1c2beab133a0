//! The operator API, without a listener and without a broker.

use axum::http::StatusCode;
use serde_json::{Value, json};

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
    assert_eq!(count("sort=luck").await, None);
}

#[tokio::test]
async fn subscriptions_are_searched_counted_and_ranked_over_all_pages() {
    let api = TestApi::start().await;
    for number in 0..7_u64 {
        let key = api.register().await;
        let id = format!("inst-a%2F{key}");
        if number < 2 {
            api.admin("POST", &format!("/admin/v1/subscriptions/{id}/pause"), json!({})).await;
        }
        let module = api.state.registry.installation("inst-a").unwrap();
        let module = module.module(&key).unwrap();
        (0..number).for_each(|at| module.stats().count_match(i64::try_from(at).unwrap() + 1));
    }
    let get = async |query: &str| {
        let path = format!("/admin/v1/subscriptions?{query}");
        api.admin("GET", &path, json!({})).await.body
    };
    let all = get("limit=1").await;
    assert_eq!((&all["total"], all["items"].as_array().map(Vec::len)), (&json!(7), Some(1)));
    assert_eq!(all["counts"]["states"]["paused"], 2);
    assert_eq!(
        (&all["counts"]["states"]["active"], &all["counts"]["failing"]),
        (&json!(5), &json!(0))
    );
    let paused = get("state=paused&limit=1").await;
    assert_eq!(paused["total"], 2);
    assert_eq!(paused["counts"]["states"]["active"], 5, "what the other choices would select");
    assert_eq!(get("q=updated").await["total"], 7, "in the data");
    assert_eq!(get("q=inst-a/").await["total"], 7, "in the id");
    assert_eq!(get("q=endpoint").await["total"], 0, "not in the names of members");
    for sort in ["volume", "last_match"] {
        let (mut matched, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&format!("sort={sort}&limit=3{cursor}")).await;
            let items = page["items"].as_array().unwrap();
            matched.extend(items.iter().map(|item| item["stats"]["matched"].as_u64().unwrap()));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(matched, [6, 5, 4, 3, 2, 1, 0], "{sort}");
    }
    let id_cursor = all["nextCursor"].as_str().unwrap();
    assert!(
        get(&format!("sort=volume&cursor={id_cursor}")).await["items"].is_null(),
        "of another order"
    );
}

#[tokio::test]
async fn installations_are_selected_and_show_what_they_have() {
    let api = TestApi::start().await;
    api.register().await;
    for id in ["inst-b", "inst-c"] {
        let body = json!({"app": "ari:cloud:ecosystem::app/1", "cloudId": format!("site-{id}"),
            "product": "jira", "state": "disabled"});
        api.admin("PUT", &format!("/admin/v1/installations/{id}"), body).await;
    }
    let ids = async |query: &str| {
        let path = format!("/admin/v1/installations?{query}");
        let found = api.admin("GET", &path, json!({})).await.body;
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let ids: Vec<_> =
            items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
        (ids, found["total"].as_u64())
    };
    let of = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let all = of(&["inst-a", "inst-b", "inst-c"]);
    assert_eq!(ids("").await, (all, Some(3)));
    assert_eq!(ids("state=disabled&limit=1").await, (of(&["inst-b"]), Some(2)));
    assert_eq!(ids("q=site-inst-c").await, (of(&["inst-c"]), Some(1)));
    assert_eq!(ids("site=c").await, (of(&["inst-a"]), Some(1)));
    assert_eq!(ids("app=other").await, (of(&[]), Some(0)));
    assert_eq!(ids("expiring=true").await, (of(&[]), Some(0)));
    assert_eq!(ids("state=gone").await, (of(&[]), None));
    let shown = api.admin("GET", "/admin/v1/installations/inst-a", json!({})).await.body;
    assert_eq!(shown["counts"]["subscriptions"], 1);
    assert_eq!((&shown["counts"]["failing"], &shown["counts"]["parked"]), (&json!(0), &json!(0)));
    assert!(shown["counts"]["parkedMax"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn sites_are_listed_once_with_what_is_installed_and_refused() {
    let api = TestApi::start().await;
    api.register().await;
    for (id, product) in [("inst-b", "confluence"), ("inst-c", "jira")] {
        let site = if id == "inst-b" { "c" } else { "other" };
        let body =
            json!({"app": "ari:cloud:ecosystem::app/1", "cloudId": site, "product": product});
        api.admin("PUT", &format!("/admin/v1/installations/{id}"), body).await;
    }
    let page = api.admin("GET", "/admin/v1/sites?limit=1", json!({})).await.body;
    assert_eq!((&page["total"], page["items"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    let site = &page["items"][0];
    assert_eq!((&site["id"], &site["products"]), (&json!("c"), &json!(["jira", "confluence"])));
    assert_eq!((&site["installations"], &site["subscriptions"]), (&json!(2), &json!(1)));
    assert_eq!(site["modules"]["dynamic"], 1);
    let path = format!("/admin/v1/sites?limit=1&cursor={}", page["nextCursor"].as_str().unwrap());
    let next = api.admin("GET", &path, json!({})).await.body;
    assert_eq!((&next["items"][0]["id"], next.get("nextCursor")), (&json!("other"), None));
    let found = api.admin("GET", "/admin/v1/sites?q=oth", json!({})).await.body;
    assert_eq!((&found["total"], &found["items"][0]["id"]), (&json!(1), &json!("other")));

    let shown = api.admin("GET", "/admin/v1/sites/c", json!({})).await.body;
    assert_eq!(shown["installationList"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["unmapped"], json!({"names": 1, "events": 9, "truncated": false}));
    let none = api.admin("GET", "/admin/v1/sites/oter", json!({})).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    assert!(none.body["message"].as_str().unwrap().contains("oter"), "{}", none.body);
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
    let items: Vec<_> = without_incidents(&found);
    assert_eq!(items.len(), 2, "{found}");
    assert_eq!(items[0]["kind"], "app_modules", "once, not for each installation");
    assert_eq!(items[0]["subjects"], json!([{"kind": "app", "id": "com.example"}]));
    assert_eq!((&items[0]["app"], &items[0]["undelivered"]), (&json!("com.example"), &json!(1)));
    assert_eq!(items[0]["modules"][0]["key"], "odd");
    assert_eq!(items[0]["modules"][0]["codes"], json!(["SY-2036", "SY-2037"]));
    assert_eq!((&items[1]["kind"], &items[1]["id"]), (&json!("modules"), &json!("inst-a")));
    assert_eq!((&items[1]["affected"], &items[1]["undelivered"]), (&json!(1), &json!(0)));
    assert_eq!(items[1]["modules"][0]["codes"], json!(["SY-2015"]));
    let subjects = items[1]["subjects"].as_array().unwrap();
    assert_eq!(subjects[0], json!({"kind": "installation", "id": "inst-a"}));
    assert_eq!((subjects.len(), &subjects[1]["kind"]), (2, &json!("subscription")));
    assert!(found.get("nextCursor").is_none());

    let one = api.admin("GET", "/admin/v1/problems?installation=inst-a", json!({})).await.body;
    let kinds: Vec<_> = without_incidents(&one).iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["modules"], "of the installation alone");
    assert_eq!(one["items"][0]["reason"], "the router is not ready: events and deliveries wait");
    assert_eq!(one["items"][0]["subjects"], json!([]), "no address of the broker");
    let other = api.admin("GET", "/admin/v1/problems?installation=inst-1", json!({})).await.body;
    assert!(without_incidents(&other).is_empty(), "{other}");
}

/// Returns the problems that are not about the missing broker.
fn without_incidents(found: &Value) -> Vec<&Value> {
    let items = found["items"].as_array().unwrap().iter();
    items.filter(|item| item["kind"] != "incident").collect()
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
    let (mut pages, mut reasons) = (0, Vec::new());
    loop {
        let page = api.admin("GET", &path, json!({})).await.body;
        ids.extend(without_incidents(&page).iter().map(|item| item["id"].clone()));
        let incidents = page["items"].as_array().unwrap().iter();
        reasons.extend(incidents.filter(|one| one["kind"] == "incident").cloned());
        pages += 1;
        assert!(pages < 9, "{ids:?} {reasons:?}");
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/admin/v1/problems?limit=1&cursor={cursor}");
    }
    assert_eq!(ids, ["inst-a", "inst-b", "inst-c"]);
    let reasons: Vec<_> = reasons.iter().map(|one| one["reason"].as_str().unwrap()).collect();
    let not_ready = |text| format!("the router is not ready: {text}");
    assert_eq!(reasons, ["starting", "broker not checked yet"].map(not_ready));
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
    let broker = json!([{"kind": "broker", "id": "nats://127.0.0.1:4222"}]);
    assert_eq!(found["findings"][0]["subjects"], broker);
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
