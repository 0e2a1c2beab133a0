//! Explanations that apps ask for, hints about what was refused, and why live events say filters failed.

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::{ApiClient, ErrorStatus};

use crate::explain::{World, hints, text};
use crate::support::raw::{RawConnection, log_in};
use crate::support::{
    ADMIN_TOKEN, SECRET, WAIT_MAX, eventually, issue_event, publish, publish_raw, register,
};

const UPDATED: &str = "avi:jira:updated:issue";
const MODULES: &str = "/forge/installation/v2/dynamic/module";

fn trigger(filter: &str) -> Value {
    json!({ "endpoint": "hook", "events": [UPDATED], "filter": { "expression": filter } })
}

/// Asks with the token of an app; waits while its installation rests. Returns the answer or its status.
async fn ask(app: &ApiClient, key: &str, query: &str) -> Result<Value, u16> {
    let path = format!("{MODULES}/{key}/explain?{query}");
    eventually(WAIT_MAX, "the installation has its turn", || async {
        match app.send(Method::GET, &path, &[], &Value::Null).await {
            Ok(answer) => Some(Ok(answer)),
            Err(error) => {
                let status = error.downcast_ref::<ErrorStatus>().expect("an answer").status;
                (status != 429).then_some(Err(status))
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_is_answered_about_its_own_modules_and_its_own_site() {
    let world = World::start().await;
    let app = world.provision("site-1").await;
    let hook = world.sink.url("/hook");
    let other = world.router.provision("other-app", "other", "site-1", &hook).await;
    let own = register(&app, trigger("event.issue.fields.project.key == 'ABC'")).await;
    let foreign = register(&other, trigger("true")).await;
    let broker = world.nats.client().await;
    publish(&broker, "site-1", 3, "XXX").await;
    publish(&broker, "site-2", 4, "XXX").await;
    publish(&broker, "site-1", 5, "ABC").await;
    world.until_settled().await;

    let found = ask(&app, &own, "entity=XXX-3&since=15m").await.expect("an answer");
    let decisions = found["events"][0]["decisions"].as_array().expect("decisions");
    assert_eq!(decisions.len(), 1, "not those of the other app: {found}");
    assert_eq!(text(&decisions[0], "subscription"), format!("inst/{own}"));
    assert_eq!(text(&decisions[0], "stage"), "filter");
    assert_eq!(decisions[0]["values"]["event.issue.fields.project.key"], "XXX");
    assert!(found["events"][0].get("sequence").is_none(), "it counts events of others: {found}");
    let found = ask(&app, &own, "since=15m&limit=1").await.expect("an answer");
    assert_eq!(hints(&found), "more events fit; the newest 1 are explained", "{found}");
    let found = ask(&app, &own, "event=event-5").await.expect("an answer");
    assert_eq!(text(&found["events"][0]["decisions"][0], "decision"), "delivered", "{found}");

    for query in ["entity=XXX-4", "sequence=2", "event=site-2%2Fevent-4", "event=event-4"] {
        let found = ask(&app, &own, query).await.expect("an answer");
        assert_eq!(found["events"], json!([]), "{query}: {found}");
        let said = hints(&found);
        assert!(said.contains("site site-1"), "{query}: {said}");
        for secret in ["site-2", "XXX-3", "ABC-5", "other"] {
            let said = said.replace("site-2/event-4", "");
            assert!(!said.contains(secret), "{query} says something about {secret}: {said}");
        }
    }
    assert_eq!(ask(&app, &foreign, "entity=XXX-3").await, Err(404), "of another installation");
    let path = format!("{MODULES}/{own}");
    app.send(Method::DELETE, &path, &[], &Value::Null).await.expect("removed");
    let found = ask(&app, &own, "entity=XXX-3").await.expect("a module that it had");
    assert_eq!(text(&found["events"][0]["decisions"][0], "stage"), "filter", "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_webhooks_and_events_are_hints_with_their_times() {
    let world = World::start_with(&[("SWITCHYARD_INGEST__JIRA__SITE-1__SECRET", SECRET)]).await;
    world.provision("site-1").await;
    for _ in 0..3 {
        let sent =
            world.router.api.send(Method::POST, "/ingest/jira/site-1", &[], &json!({})).await;
        assert!(sent.is_err(), "not signed");
    }
    let path = format!("/admin/v1/events?cloudId=site-1&type={UPDATED}");
    let sent = world.router.api.send(Method::POST, &path, &[], &json!([1])).await;
    assert!(sent.is_err(), "not an event");
    let found = world.ask(json!({ "installation": "inst", "entity": "XXX-3" })).await;
    let said = hints(&found);
    let webhooks = "refused at the ingest API of this router: no_signature 3 times since 20";
    let events = "refused at the event API of this router: SY-1005 once since 20";
    assert!(said.contains(webhooks) && said.contains(events), "{said}");
    assert!(said.contains(", the last one at 20"), "{said}");
    // Not what was refused before the time that is asked about.
    let found = world
        .ask(json!({ "installation": "inst", "entity": "XXX-3", "since": "2100-01-01T00:00:00Z" }))
        .await;
    assert!(!hints(&found).contains("refused"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_feed_names_the_failed_filter_with_its_deciding_part() {
    let world = World::start().await;
    let app = world.provision("site-1").await;
    let key = register(&app, trigger("event.issue.fields.priority.name == 'High'")).await;
    let broker = world.nats.client().await;
    let mut body = issue_event(3, "XXX");
    body["issue"]["fields"]["priority"] = Value::Null;
    let body = body.to_string();
    publish_raw(&broker, "site-1", UPDATED, "event-3", body.clone().into()).await;
    world.until_settled().await;
    let found = world.ask(json!({ "installation": "inst", "event": "event-3" })).await;
    let because = text(&found["events"][0]["decisions"][0], "because").to_owned();
    assert!(because.ends_with(", event.issue.fields.priority is null"), "{because}");

    let base = world.router.api.base();
    let port = base.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut live = RawConnection::open(port).await;
    let cookie = log_in(port, ADMIN_TOKEN).await;
    live.send(format!("GET /live/stream HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"))
        .await;
    assert!(live.until_received("application/x-ndjson", WAIT_MAX).await);
    publish_raw(&broker, "site-1", UPDATED, "event-4", body.into()).await;
    let id = format!("inst/{key}");
    let failure = json!({"because": because, "delivered": false, "subscription": id});
    let notice = format!(r#""failures":[{failure}],"ignored":0"#);
    assert!(live.until_received(&notice, WAIT_MAX).await, "the feed says {notice}");
}
