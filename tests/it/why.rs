//! Runs every command of `docs/why.md`, and compares what it prints with what the page shows and the API answers.

use hyper::Method;
use serde_json::{Value, json};

use crate::documents::{Page, Shell, Shown};
use crate::explain::World;
use crate::support::{ADMIN_TOKEN, SECRET, event_envelope, issue_event, jetstream};

const UPDATED: &str = "avi:jira:updated:issue";

/// Provisions what the page is about.
async fn provision(world: &World) -> String {
    let endpoint = |key: &str, path: &str| json!({ "key": key, "url": world.sink.url(path), "secret": SECRET });
    let app = json!({ "kind": "forge", "functions": ["main"],
        "endpoints": [endpoint("hook", "/hook"), endpoint("down", "/down")] });
    world.router.put("/admin/v1/apps/app", app).await;
    let installation =
        json!({ "app": "app", "cloudId": "site-1", "product": "jira", "licensed": true });
    let answer = world.router.put("/admin/v1/installations/acme", installation).await;
    for (key, endpoint, event, filter) in [
        (
            "project",
            "hook",
            UPDATED,
            json!({ "expression": "event.issue.fields.project.key == 'ABC'" }),
        ),
        (
            "priority",
            "hook",
            UPDATED,
            json!({ "expression": "event.issue.fields.priority.name == 'High'" }),
        ),
        ("created", "hook", "avi:jira:created:issue", Value::Null),
        ("self", "hook", UPDATED, json!({ "ignoreSelf": true })),
        ("down", "down", UPDATED, json!({ "expression": "event.issue.key == 'ABC-6'" })),
    ] {
        let mut data = json!({ "endpoint": endpoint, "events": [event] });
        if filter.is_object() {
            data["filter"] = filter;
        }
        let path = format!("/admin/v1/installations/acme/modules/{key}");
        world.router.put(&path, json!({ "type": "trigger", "data": data })).await;
    }
    world.sink.answer("/down", 503, None);
    answer["token"].as_str().expect("a token").to_owned()
}

/// Publishes the events of the page, and sends the webhook that is refused.
async fn happen(world: &World) {
    let context = jetstream(world.nats.client().await);
    for (site, project, number, origin) in [
        ("site-1", "WEB", 3, "another"),
        ("site-1", "ABC", 4, "another"),
        ("site-1", "ABC", 5, "app"),
        ("site-1", "ABC", 6, "another"),
        ("site-2", "ABC", 7, "another"),
    ] {
        let (subject, mut headers) = event_envelope(site, UPDATED, &format!("event-{number}"));
        headers.insert("ce-originapp", origin);
        headers.insert("ce-subject", format!("{project}-{number}").as_str());
        let mut body = issue_event(number, project);
        if number == 4 {
            body["issue"]["fields"]["priority"] = Value::Null;
        }
        let sent = context.publish_with_headers(subject, headers, body.to_string().into()).await;
        sent.expect("sent").await.expect("stored");
    }
    let refused = world.router.api.send(Method::POST, "/ingest/jira/site-1", &[], &json!({})).await;
    assert!(refused.is_err(), "a webhook without a signature is refused");
    world.until_settled().await;
}

/// Runs the commands of `docs/why.md`.
pub(crate) async fn run(page: &mut Page) {
    let world = World::start_with(&[("SWITCHYARD_INGEST__JIRA__SITE-1__SECRET", SECRET)]).await;
    let token = provision(&world).await;
    happen(&world).await;
    let text = include_str!("../../docs/why.md");
    assert!(!text.contains("`switchyard "), "commands are in blocks, which run");
    let mut shell = Shell::start()
        .replace("http://127.0.0.1:8089", world.router.api.base())
        .replace("SWITCHYARD_TOKEN=...", &format!("SWITCHYARD_TOKEN={ADMIN_TOKEN}"));
    shell.say(&format!("APP_TOKEN={token}")).await;
    let event = issue_event(3, "WEB").to_string();
    std::fs::write(shell.folder().join("event.json"), event).expect("a file");
    while let Some(step) = page.next() {
        shell.step(&step).await;
        // The API answers what the command prints.
        for command in step.lines().iter().filter(|line| line.starts_with("explain '")) {
            let printed = shell.say(command).await;
            is_answer(&serde_json::from_str(&printed).expect("JSON"), &step.shown);
        }
    }
}

/// Checks that the API answers what the command prints.
fn is_answer(answer: &Value, shown: &[Shown]) {
    for shown in shown {
        if let Some(note) = shown.line().strip_prefix("note: ").map(Shown::new) {
            let hints = answer["hints"].as_array().expect("hints");
            let is_said = hints.iter().filter_map(Value::as_str).any(|hint| note.is(hint));
            assert!(is_said, "no hint {note:?}: {answer}");
            continue;
        }
        let decision = &answer["events"][0]["decisions"][0];
        let names = ["subscription", "decision", "stage", "because"];
        let row = names.map(|name| decision[name].as_str().unwrap_or("-")).join(" ");
        assert!(shown.is(&row), "not {shown:?}: {answer}");
    }
}
