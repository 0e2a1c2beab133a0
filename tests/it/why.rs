//! Runs every command of `docs/why.md`, and compares what it prints with what the page shows.

use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::explain::World;
use crate::support::{ADMIN_TOKEN, SECRET, event_envelope, issue_event, jetstream};

const UPDATED: &str = "avi:jira:updated:issue";

/// A block of commands, with the lines that the page shows for it.
#[derive(Debug, Default)]
struct Block {
    commands: Vec<String>,
    shown: Vec<String>,
}

/// Returns the blocks of commands of the page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = None;
    for line in page.lines() {
        match (inside, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                inside = Some(kind == "sh");
                if kind == "sh" {
                    blocks.push(Block::default());
                }
            }
            (Some(_), Some(_)) => inside = None,
            (Some(is_command), None) => {
                let block = blocks.last_mut().expect("commands come before what they print");
                let lines = if is_command { &mut block.commands } else { &mut block.shown };
                match lines.last_mut().filter(|last| is_command && last.ends_with('\\')) {
                    Some(last) => last.push_str(&format!("\n{line}")),
                    None => lines.push(line.to_owned()),
                }
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Collapses spaces, so that columns may have other widths.
fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a printed line is what the page shows, in which `...` is any text.
fn is_shown(printed: &str, shown: &str) -> bool {
    let mut rest = printed;
    for (number, part) in shown.split("...").map(str::trim).enumerate() {
        match rest.find(part) {
            Some(at) if at == 0 || number > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.trim().is_empty() || shown.ends_with("...")
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_page_runs_and_prints_what_it_shows() {
    let world = World::start_with(&[("SWITCHYARD_INGEST__JIRA__SITE-1__SECRET", SECRET)]).await;
    let token = provision(&world).await;
    happen(&world).await;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/why.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let folder = world.nats.folder();
    std::fs::write(folder.join("event.json"), issue_event(3, "WEB").to_string()).expect("a file");
    let program = Path::new(env!("CARGO_BIN_EXE_switchyard")).parent().expect("its folder");
    let path = std::env::var_os("PATH").expect("a path");
    let folders = std::iter::once(program.into()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).expect("a path");

    assert!(!page.contains("`switchyard "), "commands are in blocks, which run");
    let blocks = blocks(&page);
    let (setup, questions) = blocks.split_first().expect("the page begins with its settings");
    let (exports, functions): (Vec<_>, Vec<_>) =
        setup.commands.iter().partition(|line| line.starts_with("export SWITCHYARD_"));
    assert_eq!(exports.len(), 2, "the address and the token, which the test sets itself");
    let functions: String = functions.into_iter().map(|line| format!("{line}\n")).collect();
    let mut ran = 0;
    for block in questions {
        let shown: Vec<String> = block.shown.iter().map(|line| collapsed(line)).collect();
        for command in &block.commands {
            let output = Command::new("sh")
                .args(["-c", &format!("{functions}{command}")])
                .current_dir(folder)
                .env("PATH", &path)
                .env("SWITCHYARD_SERVER", world.router.api.base())
                .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
                .env("APP_TOKEN", &token)
                .output()
                .await
                .expect("sh runs");
            let printed =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            // Notes are about an event that is not stored: a negative answer of the command.
            let has_notes = shown.iter().any(|line| line.starts_with("note: "));
            let expected = i32::from(has_notes && command.starts_with("switchyard"));
            assert_eq!(output.status.code(), Some(expected), "{command}: {printed}");
            if command.starts_with("switchyard") {
                let lines: Vec<String> = printed.lines().map(collapsed).collect();
                for line in &shown {
                    let is_printed = lines.iter().any(|printed| is_shown(printed, line));
                    assert!(is_printed, "{command} prints no line {line}: {printed}");
                }
            } else if command.starts_with("explain ") {
                let answer: Value = serde_json::from_str(&printed).expect("JSON");
                is_answer(&answer, &shown);
            }
            ran += 1;
        }
    }
    assert!(ran >= 15, "{ran} commands of the page");
}

/// Checks that the API answers what the command prints.
fn is_answer(answer: &Value, shown: &[String]) {
    for line in shown {
        if let Some(note) = line.strip_prefix("note: ") {
            let hints = answer["hints"].as_array().expect("hints");
            let is_said = hints.iter().filter_map(Value::as_str).any(|hint| is_shown(hint, note));
            assert!(is_said, "no hint {note}: {answer}");
            continue;
        }
        let decision = &answer["events"][0]["decisions"][0];
        let names = ["subscription", "decision", "stage", "because"];
        let row = names.map(|name| decision[name].as_str().unwrap_or("-")).join(" ");
        assert!(is_shown(&row, line), "not {line}: {answer}");
    }
}

#[test]
fn dots_are_any_text() {
    assert!(is_shown("a 1 b 2", "a ... b ..."));
    assert!(is_shown("a b", "a b"));
    assert!(!is_shown("a b c", "a b"));
    assert!(!is_shown("x a b", "a b"));
    assert!(!is_shown("a c", "a ... b"));
}
