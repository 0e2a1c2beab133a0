//! Backtests: figures equal to those of `switchyard match` on the same events, bounds, refusals.

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::{ApiClient, ErrorStatus};
use tokio::process::Command;

use crate::support::raw::RawConnection;
use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, event_envelope, eventually,
    issue_event, jetstream,
};

const PATH: &str = "/admin/v1/filters:backtest";
const UPDATED: &str = "avi:jira:updated:issue";
const CREATED: &str = "avi:jira:created:issue";
/// Of these, more are of `site-1` than are read batch by batch: the rest is read forward, through a consumer.
const EVENTS: u64 = 6_000;
/// The filter that is registered, and the one that is tried. Both fail if there is no priority.
const CURRENT: &str = "event.issue.fields.priority.name == 'High'";
const TRIED: &str =
    "event.issue.fields.priority.name != 'High' || event.issue.fields.project.key == 'ABC'";
/// It takes nearly as many steps as it may, and is false.
const COSTLY: &str = "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29].some(\
    a => [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29].some(\
    b => a + b + event.issue.id.length < 0))";

struct World {
    // Ends after the router.
    nats: NatsServer,
    _sink: Sink,
    router: RouterProcess,
}

/// What is published, and its line for `switchyard match`.
struct Published {
    site: &'static str,
    id: String,
    line: String,
}

impl World {
    /// Starts a router with the trigger `inst/k` at `site-1`.
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
        router.provision("app", "inst", "site-1", &sink.url("/hook")).await;
        let module = json!({ "type": "trigger", "data": trigger(CURRENT, "IGNORE") });
        router.put("/admin/v1/installations/inst/modules/k", module).await;
        Self { nats, _sink: sink, router }
    }

    /// Publishes events of two sites: of two types, projects and priorities, some without a priority, some
    /// that the app itself caused.
    async fn publish(&self, count: u64) -> Vec<Published> {
        let context = jetstream(self.nats.client().await);
        let mut published = Vec::new();
        for number in 0..count {
            let site = if number % 4 == 3 { "site-2" } else { "site-1" };
            let event_type = if number % 7 == 0 { CREATED } else { UPDATED };
            let project = if number % 3 == 0 { "ABC" } else { "XXX" };
            let mut body = issue_event(number, project);
            body["eventType"] = event_type.into();
            body["issue"]["fields"]["priority"] = match number % 5 {
                0 => Value::Null,
                1 | 2 => json!({ "name": "Low" }),
                _ => json!({ "name": "High" }),
            };
            let id = format!("event-{number}");
            let (subject, mut headers) = event_envelope(site, event_type, &id);
            headers.insert("ce-subject", format!("{project}-{number}").as_str());
            if number % 11 == 0 {
                headers.insert("ce-originapp", "app");
            }
            let names: Value = headers
                .iter()
                .map(|(name, values)| (name.to_string(), json!(values[0].as_str())))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let line = json!({ "subject": subject, "headers": names, "data": body }).to_string();
            let sent =
                context.publish_with_headers(subject, headers, body.to_string().into()).await;
            sent.expect("sent").await.expect("stored");
            published.push(Published { site, id, line });
        }
        published
    }

    async fn ask(&self, body: Value) -> Value {
        let sent = self.router.api.send(Method::POST, PATH, &[], &body).await;
        sent.expect("a backtest")
    }

    async fn refused(&self, body: Value) -> u16 {
        let sent = self.router.api.send(Method::POST, PATH, &[], &body).await;
        sent.expect_err("it is refused").downcast_ref::<ErrorStatus>().expect("a status").status
    }

    /// Runs `switchyard` with these arguments; returns its exit code and what it prints.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(arguments)
            .env("SWITCHYARD_SERVER", self.router.api.base())
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .output()
            .await
            .expect("the command runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Matches events with a trigger by `switchyard match`; returns the ids that match, and those whose
    /// filter fails.
    async fn matched(
        &self,
        (filter, on_error): (&str, &str),
        events: &[&Published],
    ) -> [BTreeSet<String>; 2] {
        let registration = json!({ "installationId": "inst", "cloudId": "site-1", "appId": "app",
            "licensed": true, "key": "k", "type": "trigger", "data": trigger(filter, on_error) });
        let folder = tempfile::tempdir().expect("a folder");
        let (triggers, file) = (folder.path().join("triggers"), folder.path().join("events"));
        std::fs::write(&triggers, registration.to_string()).expect("written");
        let lines: Vec<&str> = events.iter().map(|event| event.line.as_str()).collect();
        std::fs::write(&file, lines.join("\n")).expect("written");
        let (triggers, file) = (triggers.to_string_lossy(), file.to_string_lossy());
        let (code, printed) =
            self.run(&["match", "--triggers", &*triggers, "--events", &*file]).await;
        assert_eq!(code, Some(0), "{printed}");
        let mut found = [BTreeSet::new(), BTreeSet::new()];
        for line in printed.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            for (ids, member) in found.iter_mut().zip(["matches", "errors"]) {
                if line[member].as_array().is_some_and(|all| !all.is_empty()) {
                    ids.insert(line["id"].as_str().expect("an id").to_owned());
                }
            }
        }
        found
    }
}

fn trigger(filter: &str, on_error: &str) -> Value {
    json!({ "endpoint": "hook", "events": [UPDATED],
        "filter": { "expression": filter, "ignoreSelf": true, "onError": on_error } })
}

/// Arguments that try [`TRIED`] with these options.
fn tried<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["backtest", "-e", TRIED], options].concat()
}

/// The ids of samples.
fn ids(samples: &Value) -> BTreeSet<String> {
    let samples = samples.as_array().expect("samples").iter();
    samples.map(|sample| sample["event"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_equal_those_of_match_on_the_same_events() {
    let world = World::start().await;
    let all = world.publish(EVENTS).await;
    let of_site: Vec<&Published> = all.iter().filter(|one| one.site == "site-1").collect();
    let [matched, failed] = world.matched((TRIED, "IGNORE"), &of_site).await;
    let [current, _] = world.matched((CURRENT, "IGNORE"), &of_site).await;
    let asked = json!({ "expression": TRIED, "subscription": "inst/k", "since": "1h" });
    let found = world.ask(asked.clone()).await;

    assert!(matched.len() > 20 && failed.len() > 10, "the events are of all kinds");
    let size = |ids: &BTreeSet<String>| json!(ids.len());
    assert_eq!(found["matched"], size(&matched), "{found}");
    assert_eq!(found["delivered"], size(&matched), "errors are not delivered: {found}");
    assert_eq!(found["failed"], size(&failed), "{found}");
    let kinds = found["errors"].as_object().expect("kinds").values();
    assert_eq!(kinds.filter_map(Value::as_u64).sum::<u64>(), failed.len() as u64, "{found}");
    assert_eq!(found["read"]["events"], of_site.len(), "events of the site only");
    assert_eq!(found["read"]["complete"], true);
    let left_out = &found["leftOut"];
    assert!(left_out["event"].as_u64() > Some(0) && left_out["ignoreSelf"].as_u64() > Some(0));
    let evaluations = found["cost"]["evaluations"].as_u64().expect("a number");
    let counted = ["matched", "notMatched", "failed"].map(|name| found[name].as_u64().unwrap());
    assert_eq!(evaluations, counted.iter().sum::<u64>());
    assert!(found["cost"]["steps"]["p50"].as_u64() <= found["cost"]["steps"]["max"].as_u64());

    // The difference, against a comparison of both sets.
    let gained: BTreeSet<_> = matched.difference(&current).cloned().collect();
    let lost: BTreeSet<_> = current.difference(&matched).cloned().collect();
    let difference = &found["difference"];
    assert!(gained.len() > 10 && lost.len() > 10);
    assert_eq!((&difference["gained"], &difference["lost"]), (&size(&gained), &size(&lost)));
    assert_eq!(difference["kept"], matched.intersection(&current).count());
    for (name, ids_of_all) in [("gained", &gained), ("lost", &lost)] {
        let sampled = ids(&difference["samples"][name]);
        let newest = of_site.iter().rev().filter(|one| ids_of_all.contains(&one.id)).take(10);
        assert_eq!(sampled, newest.map(|one| one.id.clone()).collect(), "{name}");
    }
    let lost = &difference["samples"]["lost"][0];
    assert_eq!(lost["current"]["delivered"], true, "{lost}");
    assert!(lost["because"].as_str().is_some_and(|text| text.contains("is false")), "{lost}");
    let sample = &found["samples"]["failed"][0];
    assert_eq!((&sample["stage"], &sample["site"]), (&json!("onError"), &json!("site-1")));
    assert!(sample["because"].as_str().is_some_and(|text| text.contains("priority is null")));
    assert!(sample["span"]["offset"].is_number() && sample["time"].is_string(), "{sample}");

    // With another `onError`, errors are deliveries.
    let [received, _] = world.matched((TRIED, "RECEIVE"), &of_site).await;
    assert!(received.len() > matched.len());
    let mut with_errors = asked.clone();
    with_errors["onError"] = "RECEIVE".into();
    let found = world.ask(with_errors).await;
    assert_eq!((&found["delivered"], &found["matched"]), (&size(&received), &size(&matched)));
    let gained = received.difference(&current).count();
    assert_eq!(found["difference"]["gained"], gained, "{found}");

    // What routing did is what a backtest of the current filter counts.
    let found = world.ask(json!({ "subscription": "inst/k", "since": "1h" })).await;
    assert_eq!((&found["delivered"], found.get("difference")), (&size(&current), None));
    eventually(WAIT_MAX, "routing matched as many", || async {
        let path = "/admin/v1/subscriptions/inst%2Fk";
        let shown = world.router.get(path).await.ok()?;
        (shown["stats"]["matched"].as_u64() == Some(current.len() as u64)).then_some(())
    })
    .await;

    try_in_parts(&world, of_site.len(), &matched).await;
    run_commands(&world, &matched).await;
}

/// Tries the filter on a few events at a time, and on those of all sites.
async fn try_in_parts(world: &World, of_site: usize, matched: &BTreeSet<String>) {
    // In parts, each from where the one before ended.
    let (mut from, mut events, mut delivered) = (json!(0), 0, 0);
    while !from.is_null() {
        let part = json!({ "expression": TRIED, "subscription": "inst/k", "fromSequence": from,
            "maxEvents": 700 });
        let part = world.ask(part).await;
        events += part["read"]["events"].as_u64().unwrap();
        delivered += part["delivered"].as_u64().unwrap();
        from = part["read"]["nextSequence"].clone();
    }
    assert_eq!((events, delivered), (of_site as u64, matched.len() as u64));

    // Of all sites, for no app: `ignoreSelf` and the installation do not count.
    let found = world.ask(json!({ "expression": "true" })).await;
    assert_eq!(
        (&found["delivered"], &found["matched"]),
        (&json!(EVENTS), &json!(EVENTS)),
        "{found}"
    );
}

/// Runs the commands of `docs/backtest.md`.
async fn run_commands(world: &World, matched: &BTreeSet<String>) {
    let command = ["backtest", "-e", TRIED, "--subscription", "inst/k", "--since", "1h"];
    let (code, printed) = world.run(&command).await;
    assert_eq!(code, Some(0), "{printed}");
    for part in ["compared with the current filter of inst/k", "gained, the newest 10", "BECAUSE"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let (_, printed) = world.run(&[&command[..], &["-o", "json"]].concat()).await;
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(printed["matched"], matched.len());
    let (_, printed) =
        world.run(&["backtest", "-e", "true", "--site", "site-1", "--max-events", "70"]).await;
    assert!(printed.contains("go on with --from-sequence"), "{printed}");
    // The other commands of docs/backtest.md.
    for command in [
        tried(&["--installation", "inst", "--event", CREATED]),
        tried(&[]),
        vec!["backtest", "--subscription", "inst/k", "--since", "7d"],
        tried(&["--subscription", "inst/k", "--on-error", "receive", "--ignore-self", "true"]),
    ] {
        let (code, printed) = world.run(&command).await;
        assert_eq!(code, Some(0), "{command:?}: {printed}");
        assert!(printed.contains("would be delivered"), "{command:?}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_filter_is_refused_as_by_check() {
    let world = World::start().await;
    let expression = "event.issue.fields.priority.name = 'High'";
    let checked = json!({ "expression": expression });
    let sent = world.router.api.send(Method::POST, "/admin/v1/filters:check", &[], &checked).await;
    let found = world.ask(json!({ "expression": expression, "site": "site-1" })).await;
    assert_eq!(found, sent.expect("a check"));
    assert_eq!(found["valid"], false);
    let (code, printed) = world.run(&["backtest", "-e", expression, "--site", "site-1"]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("SY-3002"), "{printed}");
    let json = ["backtest", "-e", expression, "--site", "site-1", "-o", "json"];
    let (code, printed) = world.run(&json).await;
    assert_eq!((code, printed.contains("\"valid\":false")), (Some(1), true), "{printed}");

    for body in [
        json!({ "site": "site-1" }),
        json!({ "expression": "true", "since": "soon" }),
        json!({ "expression": "true", "since": "1h", "fromSequence": 1 }),
        json!({ "expression": "true", "since": "1h", "until": "2h" }),
        json!({ "expression": "true", "maxEvents": 10_000_001 }),
        json!({ "expression": "true", "maxSeconds": 0 }),
        json!({ "expression": "true", "subscription": "inst" }),
        json!({ "expression": "true", "subscription": "inst/k", "installation": "inst" }),
        json!({ "expression": "true", "installation": "inst", "site": "site-2" }),
    ] {
        assert_eq!(world.refused(body.clone()).await, 422, "{body}");
    }
    for body in [
        json!({ "expression": "true", "subscription": "inst/unknown" }),
        json!({ "expression": "true", "installation": "unknown" }),
    ] {
        assert_eq!(world.refused(body.clone()).await, 404, "{body}");
    }
    let nothing = world.ask(json!({ "expression": "true", "site": "site-1" })).await;
    assert_eq!((&nothing["read"]["events"], &nothing["delivered"]), (&json!(0), &json!(0)));
}

/// A request for lines of progress, which never ends by itself within the test.
fn running(body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nAccept: \
         application/x-ndjson\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

async fn status(api: &ApiClient, body: &Value) -> Option<u16> {
    let sent = api.send(Method::POST, PATH, &[], body).await;
    sent.err().map(|error| error.downcast_ref::<ErrorStatus>().map_or(0, |error| error.status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn third_backtest_is_refused_until_a_client_leaves() {
    let world = World::start().await;
    let broker = world.nats.client().await;
    for number in 0..12_000_u64 {
        let (subject, headers) = event_envelope("site-2", UPDATED, &format!("many-{number}"));
        let body = issue_event(number, "ABC").to_string();
        broker.publish_with_headers(subject, headers, body.into()).await.expect("sent");
    }
    broker.flush().await.expect("flushed");
    let context = world.nats.context().await;
    eventually(WAIT_MAX, "the events are stored", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        (stream.cached_info().state.messages >= 12_000).then_some(())
    })
    .await;

    let base = world.router.api.base();
    let port = base.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let of_site = json!({ "expression": COSTLY, "site": "site-2", "maxSeconds": 600 });
    let of_all = json!({ "expression": COSTLY, "maxSeconds": 600 });
    let mut clients = Vec::new();
    for body in [&of_site, &of_all] {
        let mut client = RawConnection::open(port).await;
        assert!(client.send(running(body)).await);
        assert!(client.until_received("\"remainingSeconds\":", WAIT_MAX).await, "no progress");
        clients.push(client);
    }
    let cheap = json!({ "expression": "true", "site": "site-1" });
    let refused = world.router.api.send(Method::POST, PATH, &[], &cheap).await;
    let refused = refused.expect_err("two backtests run");
    assert_eq!(refused.downcast_ref::<ErrorStatus>().expect("a status").status, 429);
    // A client that leaves ends its backtest: then another site may have one, the same may not.
    clients.pop();
    eventually(WAIT_MAX, "another site has a turn", || async {
        status(&world.router.api, &cheap).await.is_none().then_some(())
    })
    .await;
    let same = json!({ "expression": "true", "site": "site-2" });
    assert_eq!(status(&world.router.api, &same).await, Some(429), "one of the site runs");
    clients.clear();
    eventually(WAIT_MAX, "the site has a turn", || async {
        status(&world.router.api, &same).await.is_none().then_some(())
    })
    .await;
}
