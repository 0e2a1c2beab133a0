//! The scenario of the Forge RFC, from registration to the update that the handler itself makes.

use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use hyper::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::repeats::until_all_acknowledged;
use crate::support::{
    NatsServer, Received, SECRET, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const SITE: &str = "site-1";
const APP: &str = "auto-assign";

/// Computes the `v1` signature of the Standard Webhooks specification.
pub(crate) fn expected_signature(received: &Received, secret: &str) -> String {
    let key = BASE64.decode(secret.trim_start_matches("whsec_").as_bytes()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(received.header("webhook-id").as_bytes());
    mac.update(b".");
    mac.update(received.header("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&received.body);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_receives_only_its_project_and_not_its_own_updates() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = router.provision(APP, "inst-1", SITE, &sink.url("/assign")).await;
    register(&app, json!({ "endpoint": "hook",
        "events": ["avi:jira:created:issue", "avi:jira:updated:issue"],
        "filter": { "expression": "event.issue.fields.project.key == 'XXX'", "ignoreSelf": true } }))
    .await;
    let all = register(
        &app,
        json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": { "expression": "event.issue.fields.project.key == 'LAST'" } }),
    )
    .await;

    let broker = nats.client().await;
    for (number, project) in (0..30).zip(["XXX", "OPS", "WEB"].into_iter().cycle()) {
        publish(&broker, SITE, number, project).await;
    }
    // Another site with the same project key: no event of this installation.
    publish(&broker, "site-2", 100, "XXX").await;
    eventually(WAIT_MAX, "the ten events of project XXX arrive", || async {
        (sink.count() == 10).then_some(())
    })
    .await;

    // The handler assigns the issue; Jira reports the change, caused by the app.
    let mut update = crate::support::issue_event(0, "XXX");
    update["changelog"] = json!({ "items": [{ "fieldId": "assignee", "to": "ada" }] });
    let path = format!("/admin/v1/events?cloudId={SITE}&type=avi:jira:updated:issue");
    let headers = [("ce-id", "own-update"), ("ce-originapp", APP)];
    router.api.send(Method::POST, &path, &headers, &update).await.expect("the update is taken");
    // A later event of the other trigger: when it arrives, the update has been matched.
    publish(&broker, SITE, 200, "LAST").await;
    eventually(WAIT_MAX, "the last event arrives", || async { (sink.count() == 11).then_some(()) })
        .await;

    let received = sink.received();
    for one in received.iter().take(10) {
        assert_eq!(one.json().pointer("/issue/fields/project/key"), Some(&json!("XXX")));
        assert_eq!(one.json()["selfGenerated"], json!(false));
        assert_eq!(one.json()["context"]["cloudId"], json!(SITE));
        assert_eq!(one.header("webhook-signature"), expected_signature(one, SECRET));
        assert_eq!(one.header("switchyard-attempt"), "1");
    }
    assert_eq!(received[10].header("switchyard-module-key"), all);
    let mut ids: Vec<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 11, "each delivery came once");

    let listed = router.get("/admin/v1/subscriptions").await.unwrap();
    let counters = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"].as_str().is_some_and(|id| !id.ends_with(&all)));
    let counters = counters.expect("the first trigger is listed");
    assert_eq!(counters["stats"]["matched"], json!(10));
    assert_eq!(counters["stats"]["delivered"], json!(10));
    assert_eq!(counters["stats"]["ignored"], json!(1));
    assert_eq!(counters["stats"]["notMatched"], json!(21));
    assert!(router.terminate().await, "SIGTERM ends the router in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn function_handler_gets_the_event_on_its_subject() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = router.provision(APP, "inst-1", SITE, &sink.url("/hook")).await;
    let shown: Value = router.get("/admin/v1/installations/inst-1").await.unwrap();
    let broker = nats.client().await;
    let subject = "sw.fn.inst-1.main";
    assert!(shown.to_string().contains(subject), "{shown}");
    let mut function = broker.subscribe(subject).await.unwrap();
    broker.flush().await.unwrap();
    register(&app, json!({ "function": "main", "events": ["avi:jira:updated:issue"] })).await;
    publish(&broker, SITE, 1, "OPS").await;
    let call = tokio::time::timeout(WAIT_MAX, async {
        futures_util::StreamExt::next(&mut function).await
    })
    .await
    .expect("the function is called")
    .expect("the subscription is open");
    let headers = call.headers.expect("headers");
    assert_eq!(headers.get("switchyard-attempt").unwrap().as_str(), "1");
    let body: Value = serde_json::from_slice(&call.payload).unwrap();
    assert_eq!(body.pointer("/issue/key"), Some(&json!("OPS-1")));
    broker.publish(call.reply.expect("a reply subject"), "{}".into()).await.unwrap();
    eventually(WAIT_MAX, "the delivery counts as done", || async {
        let listed = router.get("/admin/v1/subscriptions").await.ok()?;
        (listed["items"][0]["stats"]["delivered"] == json!(1)).then_some(())
    })
    .await;
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_trigger_keeps_its_backlog_and_a_disabled_one_receives_nothing() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    let app = router.provision(APP, "inst-1", SITE, &sink.url("/hook")).await;
    let data = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] });
    let module = json!({ "type": "trigger", "data": data });
    const MODULE: &str = "/forge/installation/v2/dynamic/module";
    let post = async |path: &str, body: &Value| {
        app.send(Method::POST, &format!("{MODULE}{path}"), &[], body).await
    };
    assert_eq!(post(":validate", &module).await.unwrap()["valid"], true);
    let mut wrong = module.clone();
    wrong["data"]["events"] = json!(["avi:jira:created:comment"]);
    let batch = json!({ "items": [module, wrong] });
    let refused = post(":batch", &batch).await.unwrap_err().to_string();
    assert!(refused.contains("items[1].data.events[0]"), "{refused}");
    let answer = post(":batch", &json!({ "items": [module] })).await.unwrap();
    let key = answer["result"][0]["key"].as_str().unwrap().to_owned();

    let broker = nats.client().await;
    post(&format!("/{key}/pause"), &Value::Null).await.unwrap();
    publish(&broker, SITE, 1, "OPS").await;
    let path = format!("/admin/v1/subscriptions/inst-1%2F{key}");
    eventually(WAIT_MAX, "the event is matched", || async {
        (router.get(&path).await.unwrap()["stats"]["matched"] == 1).then_some(())
    })
    .await;
    assert_eq!(sink.count(), 0);
    post(&format!("/{key}/resume"), &Value::Null).await.unwrap();
    eventually(WAIT_MAX, "the backlog arrives", || async { (sink.count() == 1).then_some(()) })
        .await;

    let disabled =
        router.api.send(Method::POST, &format!("{path}/disable"), &[], &Value::Null).await.unwrap();
    assert_eq!(disabled["state"], "inactive");
    let other = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": { "expression": "event.issue.fields.project.key == 'LAST'" } });
    register(&app, other).await;
    publish(&broker, SITE, 2, "OPS").await;
    // When the event of the other trigger arrives, the one before it has been matched.
    publish(&broker, SITE, 3, "LAST").await;
    let arrived = |count: usize| {
        let (sink, condition) = (&sink, format!("{count} requests arrive"));
        async move {
            eventually(WAIT_MAX, &condition, || async {
                Some(sink.received()).filter(|received| received.len() == count)
            })
            .await
        }
    };
    let received = arrived(2).await;
    assert_eq!(received[1].json()["issue"]["key"], "LAST-3");
    post(&format!("/{key}/resume"), &Value::Null).await.unwrap();
    publish(&broker, SITE, 4, "OPS").await;
    let received = arrived(3).await;
    assert_eq!(received[2].json()["issue"]["key"], "OPS-4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn module_whose_handler_returned_410_three_times_is_disabled_until_it_is_resumed() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let app = router.provision(APP, "inst-1", SITE, &sink.url("/hook")).await;
    let version = json!({"kind": "forge", "endpoints": [{"key": "hook", "url": sink.url("/hook")}],
        "notices": {"url": sink.url("/notices")}});
    router.put(&format!("/admin/v1/apps/{APP}"), version).await;
    let trigger = json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]});
    let key = register(&app, trigger).await;
    let path = format!("/admin/v1/subscriptions/inst-1%2F{key}");
    let broker = nats.client().await;
    let seen = |count: usize| {
        let sink = &sink;
        eventually(WAIT_MAX, "the handler is called", move || async move {
            (sink.received_at("/hook").len() == count).then_some(())
        })
    };
    // A success in between: the 410 responses are not consecutive.
    for (number, status) in [(1, 410), (2, 410), (3, 204), (4, 410), (5, 410)] {
        sink.answer("/hook", status, None);
        publish(&broker, SITE, number, "OPS").await;
        seen(usize::try_from(number).unwrap()).await;
        // Otherwise the router may record the next response before this one.
        until_all_acknowledged(&broker).await;
    }
    let subscription = router.get(&path).await.unwrap();
    assert_eq!(subscription["state"], "active");
    publish(&broker, SITE, 6, "OPS").await;
    let state = |wanted: &'static str| {
        let (router, path) = (&router, &path);
        eventually(WAIT_MAX, wanted, move || async move {
            router.get(path).await.ok().filter(|found| found["state"] == wanted)
        })
    };
    let inactive = state("inactive").await;
    assert!(inactive["reason"].as_str().unwrap().contains("410"), "{inactive}");
    let notice = eventually(WAIT_MAX, "the app is notified", || async {
        sink.received_at("/notices").first().cloned()
    })
    .await;
    assert_eq!(notice.json()["type"], "switchyard.module.inactive");
    assert_eq!(notice.json()["data"]["key"], key.as_str());

    sink.answer("/hook", 204, None);
    let resume = format!("/forge/installation/v2/dynamic/module/{key}/resume");
    app.send(Method::POST, &resume, &[], &Value::Null).await.unwrap();
    state("active").await;
    publish(&broker, SITE, 7, "OPS").await;
    seen(7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_is_notified_once_that_a_limit_is_near() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_LIMITS__MODULES_PER_INSTALLATION", 10);
    let router = setup.start().await;
    let app = router.provision(APP, "inst-1", SITE, &sink.url("/hook")).await;
    let version = json!({"kind": "forge", "endpoints": [{"key": "hook", "url": sink.url("/hook")}],
        "notices": {"url": sink.url("/notices")}});
    router.put(&format!("/admin/v1/apps/{APP}"), version).await;
    let body = json!({"type": "trigger",
        "data": {"endpoint": "hook", "events": ["avi:jira:updated:issue"]}});
    let path = "/forge/installation/v2/dynamic/module";
    let mut warned = Vec::new();
    for used in 1..=10 {
        let answer = app.send(Method::POST, path, &[], &body).await.unwrap();
        if answer.get("warnings").is_some() {
            warned.push((used, answer["warnings"][0]["code"].clone()));
        }
    }
    assert_eq!(warned, [(9, json!("SY-2026"))]);
    let notice = eventually(WAIT_MAX, "the app is notified", || async {
        sink.received_at("/notices").first().cloned()
    })
    .await;
    assert_eq!(notice.json()["type"], "switchyard.modules.near_limit");
    assert_eq!(notice.json()["data"], json!({"used": 9, "max": 10}));
    assert_eq!(sink.received_at("/notices").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notice_that_waits_survives_the_end_of_the_router() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_LIMITS__MODULES_PER_INSTALLATION", 1);
    let router = setup.start().await;
    let app = router.provision(APP, "inst-1", SITE, &sink.url("/hook")).await;
    let version = json!({"kind": "forge", "endpoints": [{"key": "hook", "url": sink.url("/hook")}],
        "notices": {"url": sink.url("/notices")}});
    router.put(&format!("/admin/v1/apps/{APP}"), version).await;
    // The app receives the notice and does not answer before the router is killed.
    sink.hold("/notices");
    register(&app, json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]})).await;
    let sent = async || sink.received_at("/notices").first().cloned();
    eventually(WAIT_MAX, "the notice is sent", sent).await;
    assert_eq!(router.get("/admin/v1/installations/inst-1").await.unwrap()["noticesWaiting"], 1);
    router.kill().await;
    sink.release("/notices");
    let router = setup.start().await;
    let again = async || sink.received_at("/notices").get(1).cloned();
    // The claim of the router that was killed ends after a minute.
    let notice = eventually(WAIT_MAX + Duration::from_secs(90), "it is sent again", again).await;
    assert_eq!(notice.json()["type"], "switchyard.modules.near_limit");
    let [first, second] = [0, 1].map(|at| sink.received_at("/notices")[at].clone());
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"), "one notice");
    let settled = async || {
        let shown = router.get("/admin/v1/installations/inst-1").await.unwrap();
        shown.get("noticesWaiting").is_none().then_some(())
    };
    eventually(WAIT_MAX, "none waits", settled).await;
}
