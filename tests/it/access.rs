//! Access tokens against real routers: what a token of one installation sees of what really happened, and that a token
//! ends at every replica at once, also in answers that have no end.

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::{ApiClient, ErrorStatus, LineStream};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, event_envelope, eventually,
    issue_event, jetstream, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
const TOKENS: &str = "/admin/v1/tokens";
/// What a caller of `inst-a` must never read.
const OF_OTHERS: [&str; 4] = ["inst-b", "inst-c", "site-2", "app-inst-b"];

async fn create(router: &RouterProcess, id: &str, spec: Value) -> ApiClient {
    let stored = router.put(&format!("{TOKENS}/{id}"), spec).await;
    router.api.with_token(stored["token"].as_str().expect("a token"))
}

/// Returns status and text of an answer.
async fn answer(client: &ApiClient, method: Method, path: &str, body: &Value) -> (u16, String) {
    match client.send(method, path, &[], body).await {
        Ok(value) => (200, value.to_string()),
        Err(error) => {
            let status = error.downcast_ref::<ErrorStatus>().expect("an answer").status;
            (status, format!("{error:#}"))
        }
    }
}

async fn read(client: &ApiClient, path: &str) -> Value {
    let (status, text) = answer(client, Method::GET, path, &Value::Null).await;
    assert_eq!(status, 200, "{path}: {text}");
    for other in OF_OTHERS {
        assert!(!text.contains(other), "{path}: {text}");
    }
    for member in ["\"sequence\"", "\"scanned\"", "\"router\"", "\"replica\"", "\"hints\""] {
        assert!(!text.contains(member), "{path}: {text}");
    }
    serde_json::from_str(&text).expect("JSON")
}

fn items(answer: &Value) -> &[Value] {
    answer["items"].as_array().expect("a list")
}

/// A router with two installations at one site and one at another; the handlers of the first reject everything.
struct World {
    // Ends after the router.
    nats: NatsServer,
    _sink: Sink,
    router: RouterProcess,
    /// Caller of `inst-a`.
    own: ApiClient,
}

impl World {
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
        for (id, site) in [("inst-a", "site-1"), ("inst-b", "site-1"), ("inst-c", "site-2")] {
            let to = sink.url(&format!("/{id}"));
            let client = router.provision(&format!("app-{id}"), id, site, &to).await;
            register(&client, json!({"endpoint": "hook", "events": [EVENT_TYPE]})).await;
        }
        sink.answer("/inst-a", 422, None);
        sink.answer("/inst-b", 422, None);
        let spec = json!({"scope": "operate", "installation": "inst-a", "requestsPerSecond": 1000});
        let own = create(&router, "own", spec).await;
        Self { nats, _sink: sink, router, own }
    }

    /// Publishes an event; returns its sequence.
    async fn publish(&self, site: &str, id: &str) -> u64 {
        let (subject, mut headers) = event_envelope(site, EVENT_TYPE, id);
        headers.insert("ce-subject", "OPS-1");
        let body = issue_event(1, "OPS").to_string();
        let context = jetstream(self.nats.client().await);
        let sent = context.publish_with_headers(subject, headers, body.into()).await.expect("sent");
        sent.await.expect("stored").sequence
    }

    async fn listed(&self, path: &str, count: usize) -> Vec<Value> {
        eventually(WAIT_MAX, path, || async {
            let listed = self.router.get(path).await.expect("a list");
            (items(&listed).len() == count).then(|| items(&listed).to_vec())
        })
        .await
    }

    /// Asserts that what belongs to another installation is answered as what does not exist.
    async fn assert_unknown(&self, method: Method, path: &str, id: &str, unknown: &str) {
        let body = if method == Method::POST { json!({}) } else { Value::Null };
        let found = answer(&self.own, method.clone(), &path.replace("{}", id), &body).await;
        let none = answer(&self.own, method.clone(), &path.replace("{}", unknown), &body).await;
        assert_eq!(found.0, 404, "{method} {path} {id}: {}", found.1);
        let without =
            |text: &str, id: &str| text.replace(id, "{}").replace(&id.replace("%2F", "/"), "{}");
        let (found, none) = (without(&found.1, id), without(&none.1, unknown));
        assert_eq!(found, none, "{method} {path} {id}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn view_of_an_installation_has_its_own_deliveries_and_none_of_others() {
    let world = World::start().await;
    let first = world.publish("site-1", "e1").await;
    let elsewhere = world.publish("site-2", "e2").await;
    let deliveries = world.listed("/admin/v1/deliveries", 3).await;
    let letters = world.listed("/admin/v1/dlq", 2).await;
    let of = |all: &[Value], installation: &str| {
        let found = all.iter().find(|one| one["installation"] == installation);
        text(&found.expect("one of the installation")["id"])
    };

    for query in
        ["", "?event=site-1/e1", &format!("?event={first}"), "?entity=OPS-1", "?outcome=dead"]
    {
        let listed = read(&world.own, &format!("/admin/v1/deliveries{query}")).await;
        assert_eq!(items(&listed).len(), 1, "{query}: {listed}");
        assert_eq!(listed["items"][0]["installation"], "inst-a", "{query}");
    }
    for query in [format!("?event={elsewhere}"), "?event=site-2/e2".into(), "?event=none".into()] {
        let path = format!("/admin/v1/deliveries{query}");
        let (status, found) = answer(&world.own, Method::GET, &path, &Value::Null).await;
        assert_eq!((status, found.as_str()), (200, r#"{"items":[]}"#), "{path}");
    }

    let (own, unknown) = (of(&deliveries, "inst-a"), "dlv_aaaaaaaaaaaaaaaaaaaaaaaaaa");
    read(&world.own, &format!("/admin/v1/deliveries/{own}")).await;
    read(&world.own, &format!("/admin/v1/deliveries/{own}?event=site-1/e1")).await;
    for other in [of(&deliveries, "inst-b"), of(&deliveries, "inst-c")] {
        for query in ["", "?event=site-1/e1", "?event=site-2/e2"] {
            let path = format!("/admin/v1/deliveries/{{}}{query}");
            world.assert_unknown(Method::GET, &path, &other, unknown).await;
            let path = format!("/admin/v1/deliveries/{{}}/redeliver{query}");
            world.assert_unknown(Method::POST, &path, &other, unknown).await;
        }
    }

    let listed = read(&world.own, "/admin/v1/dlq").await;
    let own_letter = text(&listed["items"][0]["id"]);
    assert_eq!((items(&listed).len(), &own_letter), (1, &of(&letters, "inst-a")));
    let letter = read(&world.own, &format!("/admin/v1/dlq/{own_letter}")).await;
    assert!(letter["body"].is_object(), "{letter}");
    let (other, unknown) = (of(&letters, "inst-b"), "7-7");
    for path in ["/admin/v1/dlq/{}", "/admin/v1/dlq/{}/body"] {
        world.assert_unknown(Method::GET, path, &other, unknown).await;
    }
    let (status, _) =
        answer(&world.own, Method::DELETE, &format!("/admin/v1/dlq/{other}"), &Value::Null).await;
    assert_eq!(status, 403);
    assert_eq!(world.listed("/admin/v1/dlq", 2).await.len(), 2);
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn view_of_an_installation_has_events_and_explanations_of_its_own_alone() {
    let world = World::start().await;
    let first = world.publish("site-1", "e1").await;
    let elsewhere = world.publish("site-2", "e2").await;
    world.listed("/admin/v1/deliveries", 3).await;

    for name in ["site-1%2Fe1".to_owned(), first.to_string()] {
        let event = read(&world.own, &format!("/admin/v1/events/{name}?body=true")).await;
        assert_eq!((&event["id"], &event["deliveries"]["total"]), (&json!("e1"), &json!(1)));
        assert!(event.get("body").is_none(), "{event}");
        let listed = read(&world.own, &format!("/admin/v1/events/{name}/deliveries")).await;
        assert_eq!(items(&listed).len(), 1, "{listed}");
    }
    for path in ["/admin/v1/events/{}", "/admin/v1/events/{}/deliveries"] {
        world.assert_unknown(Method::GET, path, "site-2%2Fe2", "site-2%2Fe9").await;
        world.assert_unknown(Method::GET, path, &elsewhere.to_string(), "777").await;
    }

    let path = "/admin/v1/explain";
    let asked = eventually(WAIT_MAX, "a turn", || async {
        let question = json!({"entity": "OPS-1", "since": "1h"});
        let (status, text) = answer(&world.own, Method::POST, path, &question).await;
        (status != 429).then_some((status, text))
    })
    .await;
    assert_eq!(asked.0, 200, "{}", asked.1);
    let explained: Value = serde_json::from_str(&asked.1).expect("JSON");
    let events = explained["events"].as_array().expect("events");
    assert_eq!((events.len(), &events[0]["event"]), (1, &json!("e1")), "{explained}");
    let decisions = events[0]["decisions"].as_array().expect("decisions");
    assert_eq!(decisions.len(), 1, "{explained}");
    assert!(text(&decisions[0]["subscription"]).starts_with("inst-a/"), "{explained}");
    assert!(OF_OTHERS.iter().all(|other| !asked.1.contains(other)), "{explained}");

    let all = world.router.get("/admin/v1/subscriptions").await.expect("a list");
    let of_b = items(&all).iter().find(|one| one["installation"] == "inst-b").expect("one");
    let id = text(&of_b["id"]).replace('/', "%2F");
    let unknown = "inst-x%2Fkey";
    for action in ["pause", "resume", "disable", "promote", "rollback", "test"] {
        let path = format!("/admin/v1/subscriptions/{{}}/{action}");
        world.assert_unknown(Method::POST, &path, &id, unknown).await;
    }
    let now = world.router.get(&format!("/admin/v1/subscriptions/{id}")).await.expect("it");
    assert_eq!(now["state"], "active");
    world.router.kill().await;
}

async fn two(nats: &NatsServer) -> [RouterProcess; 2] {
    let (mut one, mut other) = (
        Setup::new(&nats.url(), nats.folder().join("one")),
        Setup::new(&nats.url(), nats.folder().join("other")),
    );
    let one = one.start().await;
    [one, other.start().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_is_known_and_refused_at_every_replica_at_once() {
    let nats = NatsServer::start().await;
    let [one, other] = two(&nats).await;
    let whoami = "/admin/v1/whoami";
    for round in 0..20 {
        let id = format!("t{round}");
        let here = create(&one, &id, json!({"scope": "admin"})).await;
        let token = one.put(&format!("{TOKENS}/{id}x"), json!({"scope": "admin"})).await;
        let there = other.api.with_token(token["token"].as_str().expect("a token"));
        let (status, text) = answer(&there, Method::GET, whoami, &Value::Null).await;
        assert_eq!(status, 200, "round {round}: {text}");
        let path = format!("{TOKENS}/{id}x");
        one.api.send(Method::DELETE, &path, &[], &Value::Null).await.expect("it is deleted");
        // A read and a change, each of which is the first request after the end of the token.
        let (method, path) = match round % 2 {
            0 => (Method::GET, whoami.to_owned()),
            _ => (Method::PUT, format!("{TOKENS}/by-a-deleted-one")),
        };
        let (status, text) = answer(&there, method, &path, &json!({"scope": "admin"})).await;
        assert_eq!(status, 401, "round {round}: {text}");
        let (status, _) = answer(&here, Method::GET, whoami, &Value::Null).await;
        assert_eq!(status, 200, "round {round}");
    }
    let all = one.get(TOKENS).await.expect("a list");
    assert_eq!(items(&all).len(), 20);
    one.kill().await;
    other.kill().await;
}

/// Reads lines until there are no more, or until one is as it should be.
async fn until_line(lines: &mut LineStream, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
    let found = async {
        while let Some(line) = lines.next().await.ok()? {
            if is_it(&line) {
                return Some(line);
            }
        }
        None
    };
    tokio::time::timeout(WAIT_MAX, found).await.expect("a line, or the end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_feeds_and_listeners_end_when_their_token_is_deleted_at_another_replica() {
    let world = World::start().await;
    let second = Setup::new(&world.nats.url(), world.nats.folder().join("other")).start().await;
    let spec = json!({"scope": "operate"});
    let operator = create(&world.router, "operator", spec).await;
    let listener = json!({"site": "site-1", "events": [EVENT_TYPE]});
    let mut listening = operator.follow("/admin/v1/listeners", Some(&listener)).await.expect("it");
    let mut live = operator.follow("/admin/v1/live", None).await.expect("a feed");
    assert!(until_line(&mut listening, |line| line.get("listener").is_some()).await.is_some());
    assert!(until_line(&mut live, |line| line["notice"] == "idle").await.is_some());

    let path = format!("{TOKENS}/operator");
    second.api.send(Method::DELETE, &path, &[], &Value::Null).await.expect("it is deleted");
    eventually(WAIT_MAX, "the first replica knows", || async {
        let (status, _) = answer(&operator, Method::GET, "/admin/v1/whoami", &Value::Null).await;
        (status == 401).then_some(())
    })
    .await;
    world.publish("site-1", "e1").await;
    assert_eq!(until_line(&mut live, |line| line["notice"] != "idle").await, None);
    assert_eq!(until_line(&mut listening, |line| line.get("delivery").is_some()).await, None);
    second.kill().await;
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_feed_of_an_installation_shows_decisions_on_its_own_subscriptions() {
    let world = World::start().await;
    let mut live = world.own.follow("/admin/v1/live", None).await.expect("a feed");
    world.publish("site-2", "e2").await;
    world.publish("site-1", "e1").await;
    let is_delivery = |line: &Value| line["notice"] == "delivery";
    let mut lines = Vec::new();
    while let Some(line) = until_line(&mut live, |line| line["notice"] != "idle").await {
        let is_last = is_delivery(&line);
        lines.push(line);
        if is_last {
            break;
        }
    }
    let shown = Value::from(lines).to_string();
    assert!(shown.contains("inst-a/") && shown.contains("e1"), "{shown}");
    assert!(OF_OTHERS.iter().all(|other| !shown.contains(other)), "{shown}");
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_gives_access_by_the_command_line() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    router.provision("app", "inst-a", "site-1", "http://127.0.0.1:9/hook").await;
    let run = async |token: &str, arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(arguments.split(' '))
            .env("SWITCHYARD_SERVER", router.api.base())
            .env("SWITCHYARD_TOKEN", token)
            .output()
            .await
            .expect("the command runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, token, said) = run(ADMIN_TOKEN, "tokens add makers -i inst-a --expires 90d").await;
    assert_eq!((code, said.as_str()), (Some(0), "the token is shown only now:"));
    let (code, shown, _) = run(&token, "whoami").await;
    assert_eq!(code, Some(0));
    assert!(shown.contains("makers  read") && shown.contains("inst-a"), "{shown}");
    let (code, _, said) = run(&token, "tokens ls").await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("SY-1131") || said.contains("needs the scope `admin`"), "{said}");
    let (_, listed, _) = run(ADMIN_TOKEN, "tokens ls").await;
    assert!(listed.contains("makers") && !listed.contains(&token), "{listed}");
    let (code, next, _) = run(ADMIN_TOKEN, "tokens rotate makers").await;
    assert_eq!(code, Some(0));
    assert_eq!(run(&token, "whoami").await.0, Some(4));
    assert_eq!(run(&next, "whoami").await.0, Some(0));
    assert_eq!(run(ADMIN_TOKEN, "tokens rm makers").await.0, Some(0));
    assert_eq!(run(&next, "whoami").await.0, Some(4));
    router.kill().await;
}
