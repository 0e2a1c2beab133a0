//! Requests without a broker: what is refused, and what is said if nothing is found.

use axum::body::Body;
use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use super::request::{Asked, Asker, Question};
use crate::api::error::ApiError;
use crate::api::testing::{Answer, MODULES, TestApi, message, request};
use crate::domain::CloudId;
use crate::registry::InstallationRecord;
use crate::registry::testing::connect_installation;

const PATH: &str = "/admin/v1/explain";

#[tokio::test]
async fn request_names_subscriptions_and_one_kind_of_events() {
    let api = TestApi::start().await;
    for (body, said) in [
        (json!({}), "one of `entity`"),
        (json!({"installation": "inst-a"}), "one of `entity`"),
        (json!({"installation": "inst-a", "entity": "A-1", "event": "e"}), "one of `entity`"),
        (json!({"installation": "inst-a", "sequence": 1, "since": "1h"}), "one of `entity`"),
        (json!({"entity": "A-1"}), "name a subscription"),
        (json!({"installation": "none", "entity": "A-1"}), "there is no installation `none`"),
        (
            json!({"installation": "none", "site": "c", "entity": "A-1"}),
            "there is no installation `none`",
        ),
        (json!({"subscription": "none/k", "entity": "A-1"}), "there is no installation `none`"),
        (json!({"installation": "inst-a", "sequence": 0}), "begin at 1"),
        (json!({"installation": "inst-a", "subscription": "inst-a/k", "entity": "A-1"}), "either"),
        (json!({"subscription": "k", "entity": "A-1"}), "<installation>/<key>"),
        (json!({"installation": "inst-a", "entity": "A-1", "since": "soon"}), "an age"),
        (json!({"installation": "inst-a", "entity": "A-1", "limit": 51}), "1 to 50"),
        (json!({"installation": "inst-a", "entity": "A-1", "colour": 1}), "colour"),
    ] {
        let answer = api.admin("POST", PATH, body.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(message(&answer).contains(said), "{body}: {}", answer.body);
    }
}

#[tokio::test]
async fn subscription_that_is_not_known_is_said_though_nothing_is_found() {
    // No revisions are kept here.
    let api = TestApi::start().await;
    let key = api.register().await;
    let said = |body: Value| api.admin("POST", PATH, body);
    let unknown = "whether there was a subscription inst-a/mistyped is not known";
    let answer = said(json!({"subscription": "inst-a/mistyped", "entity": "A-1"})).await;
    assert!(answer.body["hints"].to_string().contains(unknown), "{}", answer.body);
    let answer = said(json!({"subscription": format!("inst-a/{key}"), "entity": "A-1"})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(!answer.body["hints"].to_string().contains("is not known"), "{}", answer.body);
}

#[tokio::test]
async fn nothing_found_is_an_answer() {
    let api = TestApi::start().await;
    let bodies = [
        (json!({"installation": "inst-a", "entity": "A-1"}), "no event for A-1 on site"),
        (json!({"site": "s", "event": "e"}), "no event with the id e on site s"),
        (json!({"event": "s/e"}), "no installation is at site s"),
        (json!({"site": "s", "since": "1h"}), "no event on site s since"),
        (json!({"sequence": 7}), "no event with sequence 7 is stored"),
    ];
    for (body, said) in bodies {
        let answer = api.admin("POST", PATH, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.body);
        assert_eq!(answer.body["events"], json!([]));
        assert!(answer.body["hints"].to_string().contains(said), "{body}: {}", answer.body);
    }
}

async fn ask(api: &TestApi, key: &str, query: &str) -> Answer {
    api.forge("GET", &format!("{MODULES}/{key}/explain?{query}"), Value::Null).await
}

#[tokio::test]
async fn app_asks_about_its_own_modules_with_one_kind_of_events() {
    let api = TestApi::start().await;
    let key = api.register().await;
    for (query, said) in [
        ("", "one of `entity`"),
        ("entity=A-1&event=e", "one of `entity`"),
        ("sequence=x", "whole number"),
        ("entity=A-1&since=soon", "an age"),
        ("entity=A-1&limit=51", "1 to 50"),
        ("site=other&entity=A-1", "there is no such parameter"),
    ] {
        let answer = ask(&api, &key, query).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert!(message(&answer).contains(said), "{query}: {}", answer.body);
    }
    let path = format!("{MODULES}/{key}/explain?entity=A-1");
    let answer = api.send(request("GET", &path, "wrong").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
}

#[tokio::test]
async fn answer_to_an_app_has_nothing_about_other_events_and_takes_a_share_of_the_turns() {
    let api = TestApi::start().await;
    let key = api.register().await;
    let answer = ask(&api, &key, "entity=A-1").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let hints = answer.body["hints"].as_array().unwrap();
    assert_eq!(hints.len(), 1, "webhooks without an event type are for operators: {hints:?}");
    assert!(hints[0].as_str().unwrap().starts_with("no event for A-1 on site c since "));
    assert!(answer.body.get("searched").is_none());
    assert!(answer.body.get("retained").is_none(), "{}", answer.body);

    // It rests between two questions; this machine may be slower than that once.
    let mut refused = None;
    for _ in 0..100 {
        let answer = ask(&api, &key, "entity=A-1").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.expect("a question right after another one is refused");
    assert_eq!(answer.body["errors"][0]["code"], "SY-4004");
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    let body = json!({"installation": "inst-a", "entity": "A-1"});
    let answer = api.admin("POST", PATH, body).await;
    assert_eq!(answer.status, StatusCode::OK, "operators have a place of their own");
    assert!(answer.body["hints"].to_string().contains("lantern_lit (2)"), "{}", answer.body);
}

#[test]
fn app_sees_events_of_its_site_that_were_stored_since_it_is_installed() {
    let record =
        InstallationRecord { cloud_id: "c".into(), created_ms: 1_000, ..connect_installation() };
    let by = |question: Question| -> Result<Asked, ApiError> {
        Asked::by_app(&record, "k".into(), &question)
    };
    let asked = by(Question { event: Some("other/e".into()), ..Question::default() }).unwrap();
    assert_eq!(asked.site, Some("c".into()), "whatever the event names");
    assert_eq!(asked.since_ms, 1_000);
    let Asker::App { .. } = asked.asker else { panic!("an app") };
    let sees = |site: &str, stored_ms| asked.asker.sees(&CloudId::from(site), stored_ms);
    assert!(sees("c", 1_000) && !sees("c", 999) && !sees("other", 2_000));
}
