//! Listening clients: what they receive, what their answers do, and that nothing of them remains.

use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::{ApiClient, ErrorStatus, LineStream};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::repeats::until_all_acknowledged;
use crate::scenario::expected_signature;
use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const SITE: &str = "site-1";
const LISTENERS: &str = "/admin/v1/listeners";
const FILTER: &str = "event.issue.fields.project.key == 'XXX'";

async fn two(nats: &NatsServer) -> [RouterProcess; 2] {
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    // One after the other: the second knows the first, and is known by it soon after.
    let one = one.start().await;
    [one, other.start().await]
}

/// The program as a listening client.
struct Listening {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The first line.
    listener: Value,
}

impl Listening {
    async fn start(router: &RouterProcess, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["listen", "-o", "jsonl"])
            .args(arguments)
            .env("SWITCHYARD_SERVER", router.api.base())
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut listening = Self { child, lines, listener: Value::Null };
        listening.listener = listening.line().await["listener"].take();
        listening
    }

    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(WAIT_MAX, self.lines.next_line()).await;
        let line = line.expect("a line in time").expect("stdout can be read").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    /// Sends SIGKILL.
    async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}

/// Clients that are connected to a replica.
const CONNECTED: &str = "switchyard_listeners";

async fn listeners(router: &RouterProcess) -> usize {
    let listed = router.get(LISTENERS).await.expect("a list");
    listed["items"].as_array().expect("a list").len()
}

async fn until_no_listener(routers: &[&RouterProcess]) {
    for router in routers {
        eventually(WAIT_MAX, "the listener ends", || async {
            let is_left = listeners(router).await > 0 || router.metric(CONNECTED).await > 0.5;
            (!is_left).then_some(())
        })
        .await;
    }
}

async fn dropped(routers: &[&RouterProcess], policy: &str) -> f64 {
    let mut sum = 0.0;
    let series = format!("switchyard_policy_drops_total{{policy=\"{policy}\"}}");
    for router in routers {
        sum += router.metric(&series).await;
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_deliver_to_a_listener_and_nothing_of_it_remains() {
    let nats = NatsServer::start().await;
    let [one, other] = two(&nats).await;
    let (sink, broker) = (Sink::start().await, nats.client().await);
    let to = sink.url("/here");
    let arguments = ["--to", &to, "--filter", FILTER, "--site", SITE];
    let mut listening = Listening::start(&one, &arguments).await;
    assert_eq!(listening.listener["site"], SITE);
    assert!(listening.listener["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!((listeners(&one).await, listeners(&other).await), (1, 1));
    assert!(one.metric(CONNECTED).await > 0.5 && other.metric(CONNECTED).await < 0.5);

    for number in 0..20 {
        publish(&broker, SITE, number, if number % 2 == 0 { "XXX" } else { "OPS" }).await;
    }
    let mut ids = Vec::new();
    for _ in 0..10 {
        let line = listening.line().await;
        assert_eq!(line["answer"]["status"], 204, "{line}");
        ids.push(line["delivery"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10, "each came once");
    let received = sink.received_at("/here");
    assert_eq!(received.len(), 10);
    let secret = listening.listener["secret"].as_str().unwrap().to_owned();
    for one in &received {
        assert_eq!(one.json()["issue"]["fields"]["project"]["key"], "XXX");
        assert_eq!(one.header("webhook-signature"), expected_signature(one, &secret));
        assert_eq!(one.header("switchyard-attempt"), "1");
    }
    let log = other.get("/admin/v1/deliveries?outcome=delivered&limit=50").await.expect("a log");
    let logged = log["items"].as_array().expect("a list");
    assert_eq!(logged.len(), 10, "{log}");

    listening.kill().await;
    until_no_listener(&[&one, &other]).await;
    answer_at(&one, &other, &broker).await;
    until_no_listener(&[&one, &other]).await;
    for router in [&one, &other] {
        for list in ["apps", "installations", "subscriptions", "dlq"] {
            let listed = router.get(&format!("/admin/v1/{list}")).await.expect("a list");
            assert_eq!(listed["items"], json!([]), "{list}");
        }
    }
    publish(&broker, SITE, 100, "XXX").await;
    until_all_acknowledged(&broker).await;
    assert_eq!(sink.count(), 10, "the listener has ended");
    let account = one.get("/admin/v1/account").await.expect("an account");
    assert_eq!(account["gap"], 0, "{account}");
}

/// Receives a delivery at one replica and answers it at the other, as behind a load balancer.
async fn answer_at(one: &RouterProcess, other: &RouterProcess, broker: &async_nats::Client) {
    let body = json!({ "site": SITE, "events": [UPDATED] });
    let mut lines = one.api.follow(LISTENERS, Some(&body)).await.expect("a listener");
    let first = lines.next().await.expect("a line").expect("the first");
    publish(broker, SITE, 50, "XXX").await;
    let delivery = loop {
        let line = lines.next().await.expect("a line").expect("a delivery");
        if line["delivery"].is_object() {
            break line["delivery"].clone();
        }
    };
    let id = first["listener"]["id"].as_str().expect("an id");
    let answer = format!("{LISTENERS}/{id}/answers/{}", delivery["number"].as_str().unwrap());
    let accepted = json!({ "status": 200, "body": "done" });
    other.api.send(Method::POST, &answer, &[], &accepted).await.expect("it is awaited");
    let again = other.api.send(Method::POST, &answer, &[], &accepted).await;
    assert!(again.is_err(), "it was answered");
    let delivery = delivery["headers"]["webhook-id"].as_str().expect("an id");
    eventually(WAIT_MAX, "the answer is recorded", || async {
        let shown = other.get(&format!("/admin/v1/deliveries/{delivery}")).await.ok()?;
        (shown["outcome"] == "delivered").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_end_a_delivery_once_and_leave_nothing_behind() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let (sink, broker) = (Sink::start().await, nats.client().await);
    sink.answer("/here", 500, None);
    let to = sink.url("/here");
    let mut listening =
        Listening::start(&router, &["--to", &to, "--filter", FILTER, "--site", SITE]).await;
    // More than failures that open a breaker.
    for number in 0..12 {
        publish(&broker, SITE, number, "XXX").await;
        let line = listening.line().await;
        assert_eq!(line["answer"]["status"], 500, "{line}");
    }
    assert_eq!(sink.count(), 12, "no delivery is repeated");
    sink.answer("/here", 410, None);
    publish(&broker, SITE, 12, "XXX").await;
    assert_eq!(listening.line().await["answer"]["status"], 410);
    sink.answer("/here", 200, None);
    publish(&broker, SITE, 13, "XXX").await;
    assert_eq!(listening.line().await["answer"]["status"], 200);
    until_all_acknowledged(&broker).await;
    assert_eq!(dropped(&[&router], "listener_failed").await, 13.0);
    let log = router.get("/admin/v1/deliveries?outcome=dropped&limit=50").await.expect("a log");
    assert_eq!(log["items"].as_array().unwrap().len(), 13, "{log}");
    let dead = router.get("/admin/v1/dlq").await.expect("dead letters");
    assert_eq!(dead["items"], json!([]));

    // A handler that does not answer, and a client that ends: the event does not wait for either.
    sink.hold("/here");
    publish(&broker, SITE, 14, "XXX").await;
    eventually(WAIT_MAX, "the handler has it", || async { (sink.count() == 15).then_some(()) })
        .await;
    let started = tokio::time::Instant::now();
    listening.kill().await;
    until_all_acknowledged(&broker).await;
    assert!(started.elapsed() < Duration::from_secs(12), "before the timeout of the delivery");
    until_no_listener(&[&router]).await;
    let account = router.get("/admin/v1/account").await.expect("an account");
    assert_eq!(account["gap"], 0, "{account}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_follows_a_trigger_with_its_filter_and_its_secret() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let (sink, broker) = (Sink::start().await, nats.client().await);
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/app")).await;
    let key = register(
        &app,
        json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": { "expression": FILTER, "ignoreSelf": true },
        "payload": { "include": { "fields": ["project"] } } }),
    )
    .await;
    let (to, id) = (sink.url("/here"), format!("inst-1/{key}"));
    let mut listening = Listening::start(&router, &["--to", &to, "--subscription", &id]).await;
    assert!(listening.listener["secret"].is_null(), "{}", listening.listener);
    publish(&broker, SITE, 1, "OPS").await;
    publish(&broker, SITE, 2, "XXX").await;
    let line = listening.line().await;
    assert_eq!(line["body"]["issue"]["key"], "XXX-2", "{line}");
    let received = sink.received_at("/here");
    let signature = expected_signature(&received[0], crate::support::SECRET);
    assert_eq!(received[0].header("webhook-signature"), signature);
    let fields = received[0].json()["issue"]["fields"].as_object().unwrap().clone();
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["project"]);
    eventually(WAIT_MAX, "the app receives it, too", || async {
        (sink.received_at("/app").len() == 1).then_some(())
    })
    .await;

    // An installation that is disabled takes its listeners with it.
    let disabled =
        json!({ "app": "app-1", "cloudId": SITE, "product": "jira", "state": "disabled" });
    router.put("/admin/v1/installations/inst-1", disabled).await;
    let ended = tokio::time::timeout(WAIT_MAX, listening.child.wait()).await;
    assert_eq!(ended.expect("it ends").expect("its status").code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_of_a_killed_replica_is_dropped_by_the_others() {
    let nats = NatsServer::start().await;
    let [one, other] = two(&nats).await;
    let mut listening =
        Listening::start(&one, &["--filter", FILTER, "--site", SITE, "--event", UPDATED]).await;
    assert_eq!(listeners(&other).await, 1);
    one.kill().await;
    let ended = tokio::time::timeout(WAIT_MAX, listening.child.wait()).await;
    assert_eq!(ended.expect("it ends").expect("its status").code(), Some(3), "the router is lost");
    // Still matched for a moment: counted, and acknowledged all the same.
    let broker = nats.client().await;
    publish(&broker, SITE, 1, "XXX").await;
    until_no_listener(&[&other]).await;
    until_all_acknowledged(&broker).await;
}

const UPDATED: &str = "avi:jira:updated:issue";

/// A client that reads no lines but the first.
async fn open(api: &ApiClient) -> anyhow::Result<LineStream> {
    let body = json!({ "site": SITE, "events": [UPDATED] });
    let mut lines = api.follow(LISTENERS, Some(&body)).await?;
    assert!(lines.next().await?.expect("a line")["listener"].is_object());
    Ok(lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_are_bounded_and_slow_ones_delay_no_other() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let (sink, broker) = (Sink::start().await, nats.client().await);
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/app")).await;
    register(&app, json!({ "endpoint": "hook", "events": [UPDATED] })).await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(open(&router.api).await.expect("a listener"));
    }
    let error = open(&router.api).await.expect_err("one too many");
    let status = error.downcast_ref::<ErrorStatus>().expect("an answer").status;
    assert_eq!(status, 429, "{error}");

    // None of the sixteen answers.
    let started = tokio::time::Instant::now();
    for number in 0..20 {
        publish(&broker, SITE, number, "XXX").await;
    }
    eventually(WAIT_MAX, "the app receives all of them", || async {
        (sink.count() == 20).then_some(())
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(silent);
    until_no_listener(&[&router]).await;
    until_all_acknowledged(&broker).await;
    assert_eq!(sink.count(), 20);
    let account = router.get("/admin/v1/account").await.expect("an account");
    assert_eq!(account["gap"], 0, "{account}");
    eventually(WAIT_MAX, "there is a place again", || async { open(&router.api).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_never_takes_the_place_of_an_installation() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let (sink, broker) = (Sink::start().await, nats.client().await);
    let app = router.provision("app-1", "listener-1", SITE, &sink.url("/app")).await;
    register(&app, json!({ "endpoint": "hook", "events": [UPDATED] })).await;
    let mut announced = broker.subscribe("sw.listeners").await.expect("a subscription");
    let _lines = open(&router.api).await.expect("a listener");
    let genuine = tokio::time::timeout(WAIT_MAX, announced.next()).await.expect("in time");
    let mut forged: Value = serde_json::from_slice(&genuine.expect("one").payload).expect("JSON");
    forged["origin"] = json!("another replica");
    for id in ["listener-1", "listener-2"] {
        forged["record"]["id"] = json!(id);
        let inbox = broker.new_inbox();
        let mut confirmed = broker.subscribe(inbox.clone()).await.expect("an inbox");
        let text = forged.to_string().into();
        broker.publish_with_reply("sw.listeners", inbox, text).await.expect("it is sent");
        if id == "listener-2" {
            // They are followed in order, so the first one is ignored by now.
            let reply = tokio::time::timeout(WAIT_MAX, confirmed.next()).await;
            assert!(reply.expect("in time").is_some());
        }
    }
    publish(&broker, SITE, 1, "XXX").await;
    eventually(WAIT_MAX, "the app receives it", || async { (sink.count() == 1).then_some(()) })
        .await;
    assert_eq!(listeners(&router).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_refused_with_the_reason() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    for (body, reason) in [
        (json!({}), "a site, an installation or a subscription"),
        (json!({"site": SITE, "filter": "event.issue ="}), "SY-3"),
        (json!({"site": SITE, "events": ["avi:jira:create:issue"]}), "did you mean"),
        (json!({"installation": "none"}), "no installation `none`"),
        (json!({"subscription": "none/x"}), "none"),
        (json!({"site": SITE, "expression": "true"}), "expression"),
    ] {
        let error = router.api.send(Method::POST, LISTENERS, &[], &body).await;
        let error = error.expect_err("it is refused");
        let found = error.downcast_ref::<ErrorStatus>().expect("an answer");
        assert!((400..500).contains(&found.status), "{body}: {error}");
        let raw = raw(&router, &body).await;
        assert!(raw.contains(reason), "{body}: {raw}");
    }
    let anyone = router.api.with_token("not-the-token-of-an-operator-00");
    assert!(open(&anyone).await.is_err());
    let answers = format!("{LISTENERS}/listener-x/answers/1");
    let late = router.api.send(Method::POST, &answers, &[], &json!({"status": 200})).await;
    let late = late.expect_err("no delivery waits");
    assert_eq!(late.downcast_ref::<ErrorStatus>().expect("an answer").status, 404);
}

/// The whole answer to a request that is refused.
async fn raw(router: &RouterProcess, body: &Value) -> String {
    let port = router.api.base().rsplit(':').next().unwrap().parse().expect("a port");
    let body = body.to_string();
    let head = format!(
        "POST {LISTENERS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
         Content-Type: application/json"
    );
    crate::support::raw::exchange(port, &head, &body).await
}
