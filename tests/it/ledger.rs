//! The check of the delivery log against the event stream: it names exactly the deliveries whose records
//! are lost, and a replay of what is missing closes it.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
const EVENTS: u64 = 30;

/// Runs `switchyard account --check ledger`; returns its exit code and its JSON.
async fn check(router: &RouterProcess, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["account", "--check", "ledger", "-o", "json", "--server", router.api.base()])
        .args(arguments)
        .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
        .output()
        .await
        .expect("the command runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{errors}"));
    (output.status.code(), value)
}

async fn until_records(context: &async_nats::jetstream::Context, wanted: u64) {
    eventually(WAIT_MAX, "all events have a record", || async {
        let log = context.get_stream("SW_ATTEMPTS").await.ok()?;
        (log.cached_info().state.messages >= wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_of_the_ledger_names_deliveries_whose_records_are_lost() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let mut subscriptions = Vec::new();
    for (number, site) in [(1, "site-1"), (2, "site-1"), (3, "site-2")] {
        let (app, installation) = (format!("app-{number}"), format!("inst-{number}"));
        let app = router.provision(&app, &installation, site, &sink.url("/hook")).await;
        let filter = json!({ "expression": "event.issue.fields.project.key == 'XXX'" });
        let trigger = json!({ "endpoint": "hook", "events": [EVENT_TYPE], "filter": filter });
        subscriptions.push(format!("{installation}/{}", register(&app, trigger).await));
    }
    let (broker, context) = (nats.client().await, nats.context().await);
    // Events shortly after a change are not verifiable: clocks may differ by five seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for event in 0..EVENTS {
        // Every third event matches nothing.
        let project = if event % 3 == 2 { "YYY" } else { "XXX" };
        publish(&broker, "site-1", event, project).await;
        publish(&broker, "site-2", event, "XXX").await;
    }
    let records = EVENTS * 2 / 3 + EVENTS;
    until_records(&context, records).await;
    let (code, whole) = check(&router, &[]).await;
    let matched = EVENTS * 2 / 3 * 2 + EVENTS;
    assert_eq!((code, &whole["gap"], &whole["matched"]), (Some(0), &json!(0), &json!(matched)));
    assert_eq!((&whole["recorded"], &whole["sites"]), (&json!(matched), &json!(2)));
    assert_eq!((&whole["events"], &whole["notVerifiable"]), (&json!(2 * EVENTS), &json!(0)));

    let log = context.get_stream("SW_ATTEMPTS").await.expect("the log");
    let mut lost = BTreeSet::new();
    for sequence in [7, 20, 21] {
        let record = log.direct_get(sequence).await.expect("a record");
        let record: Value = serde_json::from_slice(&record.payload).expect("JSON");
        let text = |name: &str| record["event"][name].as_str().expect("text").to_owned();
        for delivery in record["deliveries"].as_array().expect("deliveries") {
            let installation = delivery["installation"].as_str().expect("an installation");
            let key = delivery["key"].as_str().expect("a key");
            lost.insert((text("site"), text("id"), format!("{installation}/{key}")));
        }
        log.delete_message(sequence).await.expect("a record is deleted");
    }
    let (code, found) = check(&router, &["--since", "1h"]).await;
    let gaps = found["gaps"].as_array().expect("gaps");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let named: BTreeSet<_> = gaps
        .iter()
        .map(|gap| {
            (text(&gap["event"]["site"]), text(&gap["event"]["id"]), text(&gap["subscription"]))
        })
        .collect();
    assert_eq!((code, &found["gap"]), (Some(1), &json!(lost.len())), "{found}");
    assert_eq!(named, lost);
    let of_one = lost.iter().filter(|(_, _, of)| *of == subscriptions[2]).count();
    let (_, one) = check(&router, &["--installation", "inst-3"]).await;
    assert_eq!((&one["gap"], &one["matched"]), (&json!(of_one), &json!(EVENTS)));

    for installation in ["inst-1", "inst-2", "inst-3"] {
        let body = json!({ "installation": installation, "mode": "missing", "from": "1h" });
        let created = router.api.send(Method::POST, "/admin/v1/replays", &[], &body).await;
        created.expect("the replay is accepted");
    }
    eventually(WAIT_MAX, "the log knows all deliveries again", || async {
        let (code, found) = check(&router, &[]).await;
        (code == Some(0) && found["recorded"] == json!(matched)).then_some(())
    })
    .await;
    let attempts = matched + lost.len() as u64;
    eventually(WAIT_MAX, "what is missing is delivered again", || async {
        (sink.count() as u64 >= attempts).then_some(())
    })
    .await;
    assert_eq!(sink.count() as u64, attempts, "nothing else is replayed");
    router.kill().await;
}
