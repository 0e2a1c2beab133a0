//! Questions about the delivery log, through the operator API and the command line.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, event_envelope, eventually,
    issue_event, jetstream, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";

/// A router with three installations at two sites; the handler of `inst-b` rejects everything.
struct World {
    // Ends after the router.
    nats: NatsServer,
    sink: Sink,
    router: RouterProcess,
}

async fn install(router: &RouterProcess, sink: &Sink, id: &str, site: &str) -> ApiClient {
    let path = format!("/{id}");
    let client = router.provision(&format!("app-{id}"), id, site, &sink.url(&path)).await;
    register(&client, json!({"endpoint": "hook", "events": [EVENT_TYPE]})).await;
    client
}

/// Publishes an event about an entity; returns its sequence.
async fn publish_about(broker: &async_nats::Client, site: &str, id: &str, entity: &str) -> u64 {
    let (subject, mut headers) = event_envelope(site, EVENT_TYPE, id);
    headers.insert("ce-subject", entity);
    let body = issue_event(1, "OPS").to_string();
    let context = jetstream(broker.clone());
    let sent = context.publish_with_headers(subject, headers, body.into()).await.expect("sent");
    sent.await.expect("stored").sequence
}

impl World {
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
        for (id, site) in [("inst-a", "site-1"), ("inst-b", "site-1"), ("inst-c", "site-2")] {
            install(&router, &sink, id, site).await;
        }
        sink.answer("/inst-b", 422, None);
        Self { nats, sink, router }
    }

    async fn list(&self, query: &str) -> Value {
        self.router.get(&format!("/admin/v1/deliveries?{query}")).await.expect("a list")
    }

    /// Waits until a query has `count` deliveries, and returns them.
    async fn until_listed(&self, query: &str, count: usize) -> Vec<Value> {
        eventually(WAIT_MAX, query, || async {
            let items = self.list(query).await["items"].as_array().cloned()?;
            (items.len() == count).then_some(items)
        })
        .await
    }

    /// Returns `outcome installation event` of the deliveries that a query lists.
    async fn rows(&self, query: &str) -> BTreeSet<String> {
        let answer = self.list(query).await;
        assert!(answer.get("nextCursor").is_none(), "{query}: {answer}");
        let items = answer["items"].as_array().expect("a list").iter();
        let row = |item: &Value| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            [text(&item["outcome"]), text(&item["installation"]), text(&item["event"]["id"])]
                .join(" ")
        };
        items.map(row).collect()
    }

    async fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(arguments)
            .env("SWITCHYARD_SERVER", self.router.api.base())
            .env("SWITCHYARD_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .output()
            .await
            .expect("the command runs")
    }
}

fn set(rows: &[&str]) -> BTreeSet<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_parameter_selects_the_deliveries_that_it_names() {
    let world = World::start().await;
    let broker = world.nats.client().await;
    publish_about(&broker, "site-1", "e1", "OPS-1").await;
    publish_about(&broker, "site-1", "e2", "OPS-2").await;
    publish_about(&broker, "site-2", "e3", "OPS-1").await;
    world.until_listed("", 5).await;

    let a = ["delivered inst-a e1", "delivered inst-a e2"];
    let b = ["dead inst-b e1", "dead inst-b e2"];
    let c = ["delivered inst-c e3"];
    for (query, expected) in [
        ("site=site-1", set(&[a, b].concat())),
        ("site=site-2", set(&c)),
        ("site=no-such-site", set(&[])),
        ("installation=inst-b", set(&b)),
        ("entity=OPS-1", set(&[a[0], b[0], c[0]])),
        ("site=site-1&entity=OPS-1", set(&[a[0], b[0]])),
        ("event=site-1/e2", set(&[a[1], b[1]])),
        ("event=e2&site=site-1", set(&[a[1], b[1]])),
        ("event=site-1/no-such-event", set(&[])),
        ("outcome=delivered", set(&[a[0], a[1], c[0]])),
        ("outcome=dead", set(&b)),
        ("outcome=failed", set(&b)),
        ("outcome=parked", set(&[])),
        ("class=4xx", set(&b)),
        ("class=2xx&site=site-1", set(&a)),
        ("since=2020-01-01T00:00:00Z&installation=inst-c", set(&c)),
        ("since=4102444800000", set(&[])),
        ("until=2020-01-01T00:00:00Z", set(&[])),
        ("event=site-1/e1&outcome=dead", set(&[b[0]])),
    ] {
        assert_eq!(world.rows(query).await, expected, "{query}");
    }
    let one = &world.list("installation=inst-b&limit=1").await["items"][0];
    let subscription = one["subscription"].as_str().unwrap().replace('/', "%2F");
    assert_eq!(world.rows(&format!("subscription={subscription}")).await, set(&b));
    assert_eq!((&one["reason"], &one["status"]), (&json!("rejected_422"), &json!(422)));
    for wrong in ["outcome=lost", "class=x", "since=soon", "limit=0", "cursor=x", "subscription=x"]
    {
        let refused = world.router.get(&format!("/admin/v1/deliveries?{wrong}")).await;
        assert!(refused.unwrap_err().to_string().contains("422"), "{wrong}");
    }
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_no_gap_and_no_repetition_while_deliveries_are_added() {
    const EVENTS: usize = 60;
    let world = World::start().await;
    let broker = world.nats.client().await;
    for number in 0..EVENTS {
        publish_about(&broker, "site-1", &format!("e{number}"), &format!("OPS-{}", number % 7))
            .await;
    }
    let mut events = EVENTS;
    for query in
        ["site=site-1", "site=site-1&outcome=failed", "installation=inst-a", "entity=OPS-3"]
    {
        // Those of the query before, too.
        world.until_listed("site=site-1&limit=500", 2 * events).await;
        let expected = world.rows(&format!("{query}&limit=500")).await;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        let mut added = 0;
        loop {
            let page = world.list(&format!("{query}&limit=7{cursor}")).await;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 7);
            for item in items {
                let part = |value: &Value| value.as_str().unwrap().to_owned();
                seen.push(
                    [
                        part(&item["outcome"]),
                        part(&item["installation"]),
                        part(&item["event"]["id"]),
                    ]
                    .join(" "),
                );
            }
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // Newer than all pages that follow.
            added += 1;
            publish_about(&broker, "site-1", &format!("later-{query}-{added}"), "OPS-3").await;
        }
        let distinct: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "{query}: a delivery came twice");
        assert_eq!(distinct, expected, "{query}");
        events += added;
    }
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_delivery_and_one_event_are_shown_with_all_attempts() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,1")
        .start()
        .await;
    install(&router, &sink, "inst-a", "site-1").await;
    let world = World { nats, sink, router };
    let broker = world.nats.client().await;
    world.sink.answer("/inst-a", 503, None);
    let sequence = publish_about(&broker, "site-1", "e/1", "OPS-1").await;
    let first = world.until_listed("outcome=parked", 1).await.remove(0);
    world.sink.answer("/inst-a", 200, None);
    world.until_listed("outcome=delivered", 1).await;
    let id = first["id"].as_str().unwrap();
    assert_eq!(id, world.sink.received()[0].header("webhook-id"));

    let get = async |path: String| world.router.get(&path).await;
    for query in ["", "?site=site-1", "?installation=inst-a", "?event=site-1%2Fe%2F1"] {
        let shown = get(format!("/admin/v1/deliveries/{id}{query}")).await.unwrap();
        assert_eq!((&shown["id"], &shown["outcome"]), (&json!(id), &json!("delivered")), "{query}");
        let attempts = shown["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 2, "{query}: {shown}");
        assert_eq!((&attempts[0]["attempt"], &attempts[1]["attempt"]), (&json!(1), &json!(2)));
        assert_eq!(
            (&attempts[0]["reason"], &attempts[0]["class"]),
            (&json!("backoff"), &json!("5xx"))
        );
        assert!(attempts[0]["nextAttemptAt"].is_string(), "{shown}");
        assert_eq!(shown["complete"], true);
    }
    let missing = get("/admin/v1/deliveries/dlv_none".into()).await.unwrap_err().to_string();
    assert!(missing.contains("404"), "{missing}");

    for reference in ["site-1%2Fe%2F1".to_owned(), sequence.to_string()] {
        let event = get(format!("/admin/v1/events/{reference}?body=true")).await.unwrap();
        assert_eq!((&event["id"], &event["sequence"]), (&json!("e/1"), &json!(sequence)));
        assert_eq!((&event["entity"], &event["stored"]), (&json!("OPS-1"), &json!(true)));
        assert_eq!(event["body"]["issue"]["key"], "OPS-1");
        assert_eq!(event["deliveries"]["delivered"], 1);
        let listed = get(format!("/admin/v1/events/{reference}/deliveries")).await.unwrap();
        let items = listed["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "one delivery: {listed}");
        assert_eq!(items[0]["attempts"].as_array().unwrap().len(), 2);
    }
    // An event that is deleted from the event stream is known by the log.
    let context = jetstream(broker.clone());
    context.get_stream("SW_EVENTS").await.unwrap().purge().await.unwrap();
    let event = get("/admin/v1/events/site-1%2Fe%2F1".into()).await.unwrap();
    assert_eq!((&event["stored"], &event["deliveries"]["total"]), (&json!(false), &json!(1)));
    assert!(get("/admin/v1/events/site-1%2Fnone".into()).await.is_err());

    let shown = world.command(&["deliveries", "show", id]).await;
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{shown:?}");
    assert!(text.contains("attempt 1  parked (backoff)  5xx 503"), "{text}");
    let listed = world.command(&["deliveries", "ls", "--since", "1h", "-o", "json"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let event = world.command(&["events", "show", "site-1/e/1"]).await;
    let text = String::from_utf8_lossy(&event.stdout);
    assert!(text.contains("1 deliveries") && text.contains("delivered"), "{text}");
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn router_without_the_log_says_that_it_is_off() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__LOG", "false")
        .start()
        .await;
    install(&router, &sink, "inst-a", "site-1").await;
    let broker = nats.client().await;
    let sequence = publish_about(&broker, "site-1", "e1", "OPS-1").await;
    for path in ["deliveries", "deliveries/dlv_1", "events/1/deliveries"] {
        let refused = router.get(&format!("/admin/v1/{path}")).await.unwrap_err().to_string();
        assert!(refused.contains("409") && refused.contains("delivery log is off"), "{refused}");
    }
    let event = router.get(&format!("/admin/v1/events/{sequence}")).await.unwrap();
    assert_eq!((&event["id"], &event["deliveryLog"]), (&json!("e1"), &json!("off")));
    router.kill().await;
}
