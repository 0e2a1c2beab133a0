//! The pages for operators, with a router that has what they are about.

use std::path::Path;

use serde_json::json;

use super::page::Page;
use super::shell::Shell;
use crate::explain::World;
use crate::support::{
    ADMIN_TOKEN, RouterProcess, SECRET, Sink, WAIT_MAX, event_envelope, eventually, issue_event,
    jetstream,
};

/// A router with an installation `acme`, and some events that its trigger receives.
pub(super) async fn world(key: &str) -> World {
    let world = World::start().await;
    provision(&world.router, &world.sink, key).await;
    happen(&world, 1).await;
    world
}

/// Provisions the app `app` and its installation `acme` with one trigger.
pub(super) async fn provision(router: &RouterProcess, sink: &Sink, key: &str) {
    let endpoint = json!({ "key": "hook", "url": sink.url("/hook"), "secret": SECRET });
    let app = json!({ "kind": "forge", "functions": ["main"], "endpoints": [endpoint] });
    router.put("/admin/v1/apps/app", app).await;
    let installation =
        json!({ "app": "app", "cloudId": "site-1", "product": "jira", "licensed": true });
    router.put("/admin/v1/installations/acme", installation).await;
    let data = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"],
        "filter": { "expression": "event.issue.fields.project.key == 'WEB'" } });
    let path = format!("/admin/v1/installations/acme/modules/{key}");
    router.put(&path, json!({ "type": "trigger", "data": data })).await;
}

/// Publishes events of two projects, types and priorities, one without a priority; waits until they are handled.
async fn happen(world: &World, first: u64) {
    let context = jetstream(world.nats.client().await);
    for (number, (kind, project, priority)) in (first..).zip([
        ("updated", "WEB", json!({ "name": "High" })),
        ("updated", "WEB", json!({ "name": "Low" })),
        ("updated", "ABC", json!({ "name": "High" })),
        ("updated", "ABC", json!(null)),
        ("deleted", "ABC", json!({ "name": "High" })),
    ]) {
        let kind = format!("avi:jira:{kind}:issue");
        let (subject, mut headers) = event_envelope("site-1", &kind, &format!("event-{number}"));
        headers.insert("ce-subject", format!("{project}-{number}").as_str());
        let mut body = issue_event(number, project);
        body["eventType"] = json!(kind);
        body["issue"]["fields"]["priority"] = priority;
        let sent = context.publish_with_headers(subject, headers, body.to_string().into()).await;
        sent.expect("sent").await.expect("stored");
    }
    world.until_settled().await;
}

/// A shell of the operator of a router.
pub(super) async fn shell(world: &World) -> Shell {
    let mut shell = Shell::start();
    let base = world.router.api.base();
    shell.say(&format!("export SWITCHYARD_SERVER={base} SWITCHYARD_TOKEN={ADMIN_TOKEN}")).await;
    shell
}

pub(super) async fn deploy(page: &mut Page) {
    let world = world("k").await;
    let shell = shell(&world).await;
    let etc = shell.folder().join("etc");
    let etc = etc.to_str().expect("a path").to_owned();
    for folder in ["systemd/system", "bin"] {
        std::fs::create_dir_all(Path::new(&etc).join(folder)).expect("a folder");
    }
    // Not the folders of this machine.
    let mut shell = shell
        .replace("/etc/", &format!("{etc}/"))
        .replace("/usr/local/bin/", &format!("{etc}/bin/"))
        .replace("Bearer TOKEN\" ROUTER/", &format!("Bearer {ADMIN_TOKEN}\" $SWITCHYARD_SERVER/"));
    shell.run(page).await;
    let look = format!(
        "stat -c %a {etc}/switchyard/secrets.key; {etc}/bin/switchyard --version; \
         ls keys/router.nk deploy/nats/keys/broker.env {etc}/systemd/system/switchyard.service"
    );
    let made = shell.say(&look).await;
    assert!(made.starts_with("600\nswitchyard "), "{made}");
}

pub(super) async fn backtest(page: &mut Page) {
    let world = world("assign").await;
    shell(&world).await.run(page).await;
}

pub(super) async fn shadow(page: &mut Page) {
    let world = world("urgent").await;
    let mut shell = shell(&world).await;
    while let Some(step) = page.next() {
        // The reader copies the name that `show` prints, and runs `rm` later, with another shadow.
        if step.commands.contains("shadow rm") {
            shell.say("switchyard subscriptions shadow set acme/urgent -f shadow.json").await;
        }
        let shown = world.router.get("/admin/v1/subscriptions/acme%2Furgent/shadow").await.ok();
        if let Some(name) = shown.as_ref().and_then(|shown| shown["name"].as_str()) {
            shell.say(&format!("NAME={name}")).await;
        }
        if step.commands.contains("shadow show") {
            happen(&world, 10).await;
            eventually(WAIT_MAX, "the events are counted", || async {
                let shadow = world.router.get("/admin/v1/subscriptions/acme%2Furgent/shadow").await;
                shadow.ok().filter(|shadow| shadow["events"] == 4)
            })
            .await;
        }
        shell.step(&step).await;
    }
    // The second shadow was promoted, with the event type that it adds, and rolled back.
    let revisions = world.router.get("/admin/v1/subscriptions/acme%2Furgent/revisions").await;
    let items = revisions.expect("revisions")["items"].take();
    assert_eq!(items.as_array().map(Vec::len), Some(3), "{items}");
    assert_eq!(items[1]["events"].as_array().map(Vec::len), Some(2), "{items}");
    assert_eq!(items[0]["events"], items[2]["events"]);
}

pub(super) async fn guarantees(page: &mut Page) {
    let world = world("assign").await;
    let shell = shell(&world).await;
    shell.replace("ACME/KEY", "acme/assign").replace("ACME", "acme").run(page).await;
}
