//! Apps that call several replicas: every replica gives the same answers.

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::{ApiClient, ErrorStatus};
use tokio::task::JoinSet;

use crate::support::{
    NatsServer, Proxy, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const V1: &str = "/forge/installation/v1/dynamic/module";
const V2: &str = "/forge/installation/v2/dynamic/module";
const HANDLER: &str = "http://127.0.0.1:9/hook";
/// Limit of modules per installation.
const LIMIT: usize = 100;

async fn two(nats: &NatsServer) -> [RouterProcess; 2] {
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    <[_; 2]>::from(tokio::join!(one.start(), other.start()))
}

/// A client of the same app at another replica.
fn at(router: &RouterProcess, token: &str) -> ApiClient {
    router.api.with_token(token)
}

fn trigger(key: Option<&str>, filter: &str) -> Value {
    let mut body = json!({"type": "trigger", "data": {"endpoint": "hook",
        "events": ["avi:jira:updated:issue"], "filter": {"expression": filter}}});
    if let Some(key) = key {
        body["key"] = json!(key);
    }
    body
}

/// 0 for a success, else the status of the error.
async fn status(client: &ApiClient, method: Method, path: &str, tag: &str, body: &Value) -> u16 {
    let headers = [("if-match", tag)];
    match client.send(method, path, if tag.is_empty() { &[] } else { &headers }, body).await {
        Ok(_) => 0,
        Err(error) => error.downcast_ref::<ErrorStatus>().expect("an answer").status,
    }
}

/// Provisions at `router`; the installation's token.
async fn provision(router: &RouterProcess, installation: &str) -> String {
    let app = json!({"kind": "forge", "endpoints": [{"key": "hook", "url": HANDLER}]});
    router.put("/admin/v1/apps/app-1", app).await;
    let body = json!({"app": "app-1", "cloudId": "site-1", "product": "jira"});
    let answer = router.put(&format!("/admin/v1/installations/{installation}"), body).await;
    answer["token"].as_str().expect("a token").to_owned()
}

async fn keys(client: &ApiClient) -> Vec<String> {
    let listed = client.send(Method::GET, V2, &[], &Value::Null).await.expect("a list");
    let modules = listed["result"].as_array().expect("modules").iter();
    modules.map(|module| module["key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_registers_at_one_replica_and_continues_at_another() {
    let nats = NatsServer::start().await;
    let [one, other] = two(&nats).await;
    for round in 0..30 {
        let token = provision(&one, &format!("inst-{round}")).await;
        let (here, there) = (at(&one, &token), at(&other, &token));
        let data = trigger(None, "true")["data"].take();
        let key = register(&there, data).await;
        let path = format!("{V2}/{key}");
        assert_eq!(status(&here, Method::PUT, &path, "", &trigger(None, "false")).await, 0);
        let read = there.send(Method::GET, &path, &[], &Value::Null).await.expect("the module");
        assert_eq!(read["data"]["filter"]["expression"], "false", "round {round}");
        assert_eq!(keys(&here).await, [key]);
        assert_eq!(status(&there, Method::DELETE, &path, "", &Value::Null).await, 0);
        assert_eq!(status(&here, Method::GET, &path, "", &Value::Null).await, 404);
        assert_eq!(keys(&here).await, Vec::<String>::new(), "round {round}");
    }
    // An endpoint that was added at one replica can be used at the other.
    let token = provision(&one, "inst-last").await;
    let app = json!({"kind": "forge", "functions": ["late"],
        "endpoints": [{"key": "hook", "url": HANDLER}]});
    one.put("/admin/v1/apps/app-1", app).await;
    let late = json!({"function": "late", "events": ["avi:jira:updated:issue"]});
    register(&at(&other, &token), late).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_registrations_at_two_replicas_end_at_exactly_the_limit() {
    let nats = NatsServer::start().await;
    let routers = two(&nats).await;
    let token = provision(&routers[0], "inst-1").await;
    let items: Vec<Value> = (0..LIMIT - 20).map(|_| trigger(None, "true")).collect();
    let batch = json!({"items": items});
    let client = at(&routers[0], &token);
    client.send(Method::POST, &format!("{V2}:batch"), &[], &batch).await.expect("room");
    let mut calls = JoinSet::new();
    for number in 0..50 {
        let client = at(&routers[number % 2], &token);
        let filter = format!("event.issue.id == '{number}'");
        calls.spawn(
            async move { status(&client, Method::POST, V2, "", &trigger(None, &filter)).await },
        );
    }
    let mut answers = calls.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers, [[0; 20].as_slice(), &[422; 30]].concat());
    for router in &routers {
        assert_eq!(keys(&at(router, &token)).await.len(), LIMIT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_of_one_key_the_second_gets_a_precondition_error() {
    let nats = NatsServer::start().await;
    let routers = two(&nats).await;
    let token = provision(&routers[0], "inst-1").await;
    let [one, other] = routers.each_ref().map(|router| at(router, &token));
    for round in 0..20 {
        let key = format!("key-{round}");
        let (mine, theirs) = (trigger(Some(&key), "1 == 1"), trigger(Some(&key), "2 == 2"));
        let answers = tokio::join!(
            status(&one, Method::POST, V1, "", &mine),
            status(&other, Method::POST, V1, "", &theirs)
        );
        assert!(matches!(answers, (0, 422) | (422, 0)), "{answers:?}");
        let path = format!("{V1}/{key}");
        let answers = tokio::join!(
            status(&one, Method::PUT, &path, "\"1\"", &mine),
            status(&other, Method::PUT, &path, "\"1\"", &theirs)
        );
        assert!(matches!(answers, (0, 412) | (412, 0)), "{answers:?}");
        let kept = one.send(Method::GET, &path, &[], &Value::Null).await.expect("the module");
        let won = if answers.0 == 0 { mine } else { theirs };
        assert_eq!(kept["data"]["filter"], won["data"]["filter"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_continue_while_the_broker_is_unreachable() {
    let mut nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let token = provision(&router, "inst-1").await;
    let client = at(&router, &token);
    let key = register(&client, trigger(None, "true")["data"].take()).await;
    nats.kill();
    let listed = tokio::time::timeout(WAIT_MAX, keys(&client)).await;
    assert_eq!(listed.expect("an answer in time"), [key]);
    assert_eq!(status(&client, Method::GET, &format!("{V2}/none"), "", &Value::Null).await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnected_replica_resumes_its_watch_and_its_revision_never_decreases() {
    const REVISION: &str = "switchyard_registry_revision";
    let starts = |kind: &str| format!("switchyard_registry_watch_starts_total{{kind=\"{kind}\"}}");
    let nats = NatsServer::start().await;
    let proxy = Proxy::to(&nats.url()).await;
    let one = Setup::new(&nats.url(), nats.folder().join("one")).start().await;
    let other = Setup::new(&proxy.url(), nats.folder().join("other")).start().await;
    let token = provision(&one, "inst-1").await;
    let (here, there) = (at(&one, &token), at(&other, &token));
    let kept = register(&here, trigger(None, "true")["data"].take()).await;
    let dropped = register(&here, trigger(None, "true")["data"].take()).await;
    assert_eq!(keys(&there).await, [kept.clone(), dropped.clone()]);

    for round in 1..=2 {
        let before = other.metric(REVISION).await;
        proxy.cut();
        let added = register(&here, trigger(None, "true")["data"].take()).await;
        let deleted = if round == 1 { &dropped } else { &kept };
        let path = format!("{V2}/{deleted}");
        assert_eq!(status(&here, Method::DELETE, &path, "", &Value::Null).await, 0);
        assert!(keys(&there).await.contains(deleted), "a disconnected replica lists what it knows");
        proxy.restore();
        let wanted = keys(&here).await;
        assert!(wanted.contains(&added));
        eventually(WAIT_MAX, "the other replica follows", || async {
            let revision = other.metric(REVISION).await;
            assert!(revision >= before, "{revision} after {before}");
            (keys(&there).await == wanted).then_some(())
        })
        .await;
        eventually(WAIT_MAX, "the break is counted", || async {
            (other.metric(&starts("resume")).await >= f64::from(round)).then_some(())
        })
        .await;
    }
    for router in [&one, &other] {
        assert_eq!(router.metric(&starts("load")).await.to_string(), "1", "loaded at its start");
    }
    assert_eq!(one.metric(REVISION).await.to_string(), other.metric(REVISION).await.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_count_410_responses_of_a_handler_together() {
    let nats = NatsServer::start().await;
    let sink = Sink::start().await;
    let [one, other] = two(&nats).await;
    let app = one.provision("app-1", "inst-1", "site-1", &sink.url("/hook")).await;
    let events = json!({"endpoint": "hook", "events": ["avi:jira:updated:issue"]});
    let key = register(&app, events).await;
    let path = format!("/admin/v1/subscriptions/inst-1%2F{key}");
    let broker = nats.client().await;
    let call = async |number: u64, status: u16| {
        sink.answer("/hook", status, None);
        publish(&broker, "site-1", number, "OPS").await;
        eventually(WAIT_MAX, "the handler is called", || async {
            (sink.count() as u64 == number).then_some(())
        })
        .await;
    };
    // Waits until both replicas received `count` responses of a kind; returns how many the first got.
    let received = async |figure: &str, wanted: u64| {
        let of = async |router: &RouterProcess| {
            let found = router.get(&path).await.expect("the subscription");
            assert_eq!(found["state"], "active");
            found["stats"][figure].as_u64().expect("a number")
        };
        eventually(WAIT_MAX, figure, || async {
            let (first, second) = (of(&one).await, of(&other).await);
            (first + second == wanted).then_some(first)
        })
        .await
    };
    // Two 410 responses and one success in any order at any replica do not disable the module.
    call(1, 410).await;
    call(2, 410).await;
    let before = received("failedAttempts", 2).await;
    call(3, 204).await;
    received("delivered", 1).await;
    call(4, 410).await;
    call(5, 410).await;
    let after = received("failedAttempts", 4).await;
    // One of the replicas stops, so that the other alone has not received three.
    let (ends, stays) = if after > before { (one, other) } else { (other, one) };
    ends.terminate().await;
    call(6, 410).await;
    eventually(WAIT_MAX, "the module is inactive", || async {
        (stays.get(&path).await.ok()?["state"] == "inactive").then_some(())
    })
    .await;
}
