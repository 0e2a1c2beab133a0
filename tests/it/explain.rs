//! Explanations of stored events: the causes for which nothing arrives, each by one call and one command.

use hyper::Method;
use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, event_envelope, eventually,
    issue_event, jetstream, publish, publish_raw, register,
};

const UPDATED: &str = "avi:jira:updated:issue";
const CREATED: &str = "avi:jira:created:issue";

pub(crate) struct World {
    // Ends after the router.
    pub(crate) nats: NatsServer,
    pub(crate) sink: Sink,
    pub(crate) router: RouterProcess,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a router with these variables.
    pub(crate) async fn start_with(variables: &[(&str, &str)]) -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let setup = Setup::new(&nats.url(), nats.folder().join("router"));
        let with = |setup: Setup, (name, value): &(&str, &str)| setup.with(name, value);
        let router = variables.iter().fold(setup, with).start().await;
        Self { nats, sink, router }
    }

    /// Provisions the installation `inst` at `site`.
    pub(crate) async fn provision(&self, site: &str) -> ApiClient {
        self.router.provision("app", "inst", site, &self.sink.url("/hook")).await
    }

    /// Waits until all events are acknowledged.
    pub(crate) async fn until_settled(&self) {
        let context = self.nats.context().await;
        eventually(WAIT_MAX, "every event is acknowledged", || async {
            let stream = context.get_stream("SW_EVENTS").await.ok()?;
            let router: async_nats::jetstream::consumer::PullConsumer =
                stream.get_consumer("router").await.ok()?;
            let info = router.cached_info();
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }

    pub(crate) async fn ask(&self, body: Value) -> Value {
        let sent = self.router.api.send(Method::POST, "/admin/v1/explain", &[], &body).await;
        sent.expect("an explanation")
    }

    /// Runs `switchyard explain`; returns its exit code and what it prints.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["explain", "--server", self.router.api.base()])
            .args(arguments)
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .output()
            .await
            .expect("the command runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }
}

/// Registers a trigger of the installation `inst`; returns its id.
async fn subscribe(app: &ApiClient, data: Value) -> String {
    format!("inst/{}", register(app, data).await)
}

fn trigger(filter: &str) -> Value {
    json!({ "endpoint": "hook", "events": [UPDATED], "filter": { "expression": filter } })
}

/// The only decision of the only event.
fn decision(explanation: &Value) -> &Value {
    assert_eq!(explanation["events"].as_array().map(Vec::len), Some(1), "{explanation}");
    let decisions = &explanation["events"][0]["decisions"];
    assert_eq!(decisions.as_array().map(Vec::len), Some(1), "{explanation}");
    &decisions[0]
}

pub(crate) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

pub(crate) fn hints(explanation: &Value) -> String {
    let hints = explanation["hints"].as_array().expect("hints");
    hints.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_project_and_null_priority_are_explained_by_the_filter() {
    let world = World::start().await;
    let filter = "event.issue.fields.project.key == 'ABC'";
    let app = world.provision("site-1").await;
    let project = subscribe(&app, trigger(filter)).await;
    let filter = "event.issue.fields.priority.name == 'High'";
    let priority = subscribe(&app, trigger(filter)).await;
    let broker = world.nats.client().await;
    let mut body = issue_event(3, "XXX");
    body["issue"]["fields"]["priority"] = Value::Null;
    publish_raw(&broker, "site-1", UPDATED, "event-3", body.to_string().into()).await;
    publish(&broker, "site-1", 4, "XXX").await;
    world.until_settled().await;

    // The event has no attribute that names its entity: its body does.
    let asked = json!({ "subscription": project, "entity": "XXX-3", "since": "15m" });
    let found = world.ask(asked).await;
    let decided = decision(&found);
    assert_eq!((text(decided, "decision"), text(decided, "stage")), ("not delivered", "filter"));
    let because = text(decided, "because");
    assert!(because.contains("event.issue.fields.project.key == 'ABC' is false"), "{because}");
    assert_eq!(decided["values"]["event.issue.fields.project.key"], "XXX");
    assert_eq!(decided["span"]["offset"], 0);

    let found = world.ask(json!({ "subscription": priority, "event": "event-3" })).await;
    let decided = decision(&found);
    assert_eq!((text(decided, "decision"), text(decided, "stage")), ("not delivered", "onError"));
    assert!(text(decided, "because").contains("event.issue.fields.priority is null"), "{decided}");

    let arguments = ["--installation", "inst", "--entity", "XXX-3", "--since", "15m"];
    let (code, printed) = world.run(&arguments).await;
    assert_eq!(code, Some(0), "{printed}");
    for part in ["BECAUSE", "onError", "event.issue.fields.project.key is \"XXX\"", "sequence 1"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    // The other event matches one of both.
    let found = world.ask(json!({ "site": "site-1", "sequence": 2 })).await;
    let decisions = found["events"][0]["decisions"].as_array().expect("decisions");
    let delivered = decisions.iter().find(|one| one["subscription"] == *priority).expect("it");
    assert_eq!(text(delivered, "decision"), "delivered", "{found}");
    assert!(text(delivered, "because").starts_with("attempt 1 answered 204"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_type_and_wrong_site_are_explained() {
    let world = World::start().await;
    let id = subscribe(&world.provision("my-site").await, trigger("true")).await;
    let broker = world.nats.client().await;
    let created = issue_event(3, "XXX").to_string().replace(UPDATED, CREATED);
    publish_raw(&broker, "my-site", CREATED, "event-1", created.into_bytes()).await;
    publish(&broker, "mysite", 4, "XXX").await;
    world.until_settled().await;

    let found = world.ask(json!({ "subscription": id, "event": "event-1" })).await;
    let decided = decision(&found);
    assert_eq!((text(decided, "decision"), text(decided, "stage")), ("not delivered", "event"));
    let because = format!("it subscribes to {UPDATED}, not to {CREATED}");
    assert_eq!(text(decided, "because"), because);

    let found =
        world.ask(json!({ "installation": "inst", "entity": "XXX-4", "since": "1h" })).await;
    assert_eq!(found["events"], json!([]));
    let said = hints(&found);
    assert!(said.contains("no event for XXX-4 on site my-site"), "{said}");
    assert!(said.contains("site mysite had one at "), "{said}");
    assert!(said.contains("the site has 1 other event in this time"), "{said}");
    let (code, printed) =
        world.run(&["--installation", "inst", "--entity", "XXX-4", "--since", "1h"]).await;
    assert_eq!(code, Some(1), "nothing found is a negative answer: {printed}");
    assert!(printed.contains("note: site mysite had one at "), "{printed}");

    let asked = json!({ "installation": "inst", "site": "mysite", "entity": "XXX-4" });
    let found = world.ask(asked).await;
    assert_eq!(text(decision(&found), "stage"), "site");
    let found = world.ask(json!({ "installation": "inst", "sequence": 99 })).await;
    assert!(hints(&found).contains("no event with sequence 99 is stored"), "{found}");
    let (code, printed) =
        world.run(&["--subscription", "inst/mistyped", "--entity", "XXX-4"]).await;
    assert_eq!(code, Some(4), "there never was one: {printed}");
    assert!(printed.contains("there is no subscription inst/mistyped"), "{printed}");
    let (code, printed) = world.run(&["--installation", "inst"]).await;
    assert_eq!(code, Some(4), "no events are named: {printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_the_app_itself_is_explained_by_ignore_self() {
    let world = World::start().await;
    let data = json!({ "endpoint": "hook", "events": [UPDATED],
        "filter": { "ignoreSelf": true } });
    let id = subscribe(&world.provision("site-1").await, data).await;
    let context = jetstream(world.nats.client().await);
    for (event, origin) in [("own", "app"), ("foreign", "another")] {
        let (subject, mut headers) = event_envelope("site-1", UPDATED, event);
        headers.insert("ce-subject", "XXX-3");
        headers.insert("ce-originapp", origin);
        let body = issue_event(3, "XXX").to_string();
        let sent = context.publish_with_headers(subject, headers, body.into()).await;
        sent.expect("sent").await.expect("stored");
    }
    world.until_settled().await;
    let found = world.ask(json!({ "subscription": id, "entity": "XXX-3" })).await;
    let events = found["events"].as_array().expect("events");
    let decided: Vec<_> = events.iter().map(|event| &event["decisions"][0]).collect();
    let of = |at: usize| (text(decided[at], "decision"), text(decided[at], "stage"));
    assert_eq!((of(0), of(1)), (("not delivered", "ignoreSelf"), ("delivered", "")));
    let (code, printed) = world.run(&["--subscription", &id, "--event", "own"]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("ignoreSelf  the app made this change itself"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_that_is_down_is_explained_by_its_attempts() {
    let world = World::start().await;
    let id = subscribe(&world.provision("site-1").await, trigger("true")).await;
    let broker = world.nats.client().await;
    world.sink.answer("/hook", 503, None);
    publish(&broker, "site-1", 3, "XXX").await;
    world.until_settled().await;
    let waiting = json!({ "subscription": id, "entity": "XXX-3", "since": "15m" });
    let found = world.ask(waiting).await;
    let decided = decision(&found);
    assert_eq!((text(decided, "decision"), text(decided, "stage")), ("waiting", "endpoint"));
    let because = text(decided, "because");
    assert!(because.contains("answered 503") && because.contains("next attempt at"), "{because}");
    assert_eq!(decided["delivery"]["status"], 503);
    assert!(text(&decided["delivery"], "id").starts_with("dlv_"));

    world.sink.answer("/hook", 422, None);
    publish(&broker, "site-1", 5, "XXX").await;
    world.until_settled().await;
    let (code, printed) = world.run(&["--subscription", &id, "--entity", "XXX-5"]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("answered 422"), "{printed}");
    assert!(printed.contains("it is dead-lettered"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filter_of_the_time_of_the_event_decides_and_the_current_one_is_said() {
    let world = World::start().await;
    let app = world.provision("site-1").await;
    let module = |filter: &str| json!({ "type": "trigger", "data": trigger(filter) });
    let path = "/admin/v1/installations/inst/modules/k";
    world.router.put(path, module("event.issue.fields.project.key == 'ABC'")).await;
    let broker = world.nats.client().await;
    publish(&broker, "site-1", 3, "XXX").await;
    world.until_settled().await;
    world.router.put(path, module("event.issue.fields.project.key == 'XXX'")).await;
    let asked = json!({ "subscription": "inst/k", "event": "event-3" });
    let found = world.ask(asked.clone()).await;
    let decided = decision(&found);
    assert_eq!((text(decided, "decision"), text(decided, "stage")), ("not delivered", "filter"));
    assert!(text(decided, "because").contains("== 'ABC' is false"), "{decided}");
    assert_eq!(text(&decided["now"], "decision"), "would be delivered", "{decided}");
    assert!(decided["revision"]["then"]["since"].is_string(), "{decided}");
    assert!(decided["revision"]["now"]["since"].is_string(), "{decided}");
    let (_, printed) = world.run(&["--subscription", "inst/k", "--event", "event-3"]).await;
    assert!(printed.contains("inst/k was changed since: revision"), "{printed}");
    assert!(printed.contains("inst/k now: would be delivered"), "{printed}");

    // Changed after the event was stored, and before it is routed: no delivery says by which revision.
    let pause = |until: Value| {
        let (broker, body) = (broker.clone(), json!({ "pause_until": until }).to_string());
        async move {
            let sent = broker.request("$JS.API.CONSUMER.PAUSE.SW_EVENTS.router", body.into()).await;
            let answer = String::from_utf8_lossy(&sent.expect("an answer").payload).into_owned();
            assert!(!answer.contains("error"), "{answer}");
        }
    };
    pause(json!("2100-01-01T00:00:00Z")).await;
    publish(&broker, "site-1", 4, "XXX").await;
    world.router.put(path, module("event.issue.fields.project.key == 'ABC'")).await;
    pause(json!("1970-01-01T00:00:00Z")).await;
    world.until_settled().await;
    let found = world.ask(json!({ "subscription": "inst/k", "event": "event-4" })).await;
    let decided = decision(&found);
    assert_eq!(text(decided, "decision"), "matched", "{decided}");
    let because = text(decided, "because");
    assert!(because.contains("the event may have been routed after that"), "{because}");
    assert_eq!(text(&decided["now"], "decision"), "would not be delivered", "{decided}");

    // Registered after the event.
    let late = subscribe(&app, trigger("true")).await;
    let found = world.ask(json!({ "subscription": late, "event": "event-3" })).await;
    let decided = decision(&found);
    assert_eq!(text(decided, "stage"), "registration", "{decided}");
    assert_eq!(text(&decided["now"], "decision"), "would be delivered", "{decided}");

    // Deleted since.
    let path = "/forge/installation/v2/dynamic/module/k";
    app.send(Method::DELETE, path, &[], &Value::Null).await.expect("removed");
    let found = world.ask(asked).await;
    let decided = decision(&found);
    assert_eq!((text(decided, "decision"), text(decided, "stage")), ("not delivered", "filter"));
    assert!(text(decided, "because").contains("== 'ABC' is false"), "{decided}");
    assert_eq!(decided["revision"]["now"]["state"], "deleted", "{decided}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_that_cannot_be_read_is_named_with_the_reason() {
    let world = World::start().await;
    subscribe(&world.provision("site-1").await, trigger("true")).await;
    let context = jetstream(world.nats.client().await);
    let (subject, mut headers) = event_envelope("site-1", UPDATED, "event-9");
    headers.insert("ce-subject", "ABC-9");
    let sent = context.publish_with_headers(subject, headers, "not JSON".into()).await;
    sent.expect("sent").await.expect("stored");
    world.until_settled().await;
    for asked in
        [json!({ "entity": "ABC-9" }), json!({ "sequence": 1 }), json!({ "event": "event-9" })]
    {
        let mut body = json!({ "installation": "inst" });
        body.as_object_mut().expect("members").extend(asked.as_object().expect("members").clone());
        let found = world.ask(body).await;
        assert_eq!(found["events"], json!([]));
        let said = hints(&found);
        let unreadable = "event 1 is stored but cannot be read (the body is not JSON";
        assert!(said.contains(unreadable) && said.contains("`switchyard dlq ls`"), "{said}");
        assert!(!said.contains("no event"), "{asked}: {said}");
    }
    let (code, printed) = world.run(&["--installation", "inst", "--entity", "ABC-9"]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("note: event 1 is stored but cannot be read"), "{printed}");
    let arguments = ["--installation", "inst", "--entity", "ABC-9", "-o", "jsonl"];
    let (code, printed) = world.run(&arguments).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("note: event 1 is stored but"), "on standard error: {printed}");
}
