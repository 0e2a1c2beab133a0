//! Lists of stored events: newest first, selected, page by page, with the beginning of what is retained.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, WAIT_MAX, eventually, publish, publish_raw,
};

const CREATED: &str = "avi:jira:created:issue";

async fn list(router: &RouterProcess, query: &str) -> Value {
    router.get(&format!("/admin/v1/events{query}")).await.expect("a list")
}

fn of<'v>(page: &'v Value, name: &str) -> Vec<&'v Value> {
    page["items"].as_array().expect("a list").iter().map(|item| &item[name]).collect()
}

/// Reads all pages; returns the sequences.
async fn pages(router: &RouterProcess, query: &str) -> Vec<u64> {
    let (mut sequences, mut cursor) = (Vec::new(), String::new());
    for _ in 0..1_000 {
        let page = list(router, &format!("{query}{cursor}")).await;
        sequences.extend(of(&page, "sequence").iter().filter_map(|one| one.as_u64()));
        let Some(next) = page["nextCursor"].as_str() else {
            assert_eq!(page["complete"], true, "{page}");
            return sequences;
        };
        assert_eq!(page["complete"], false, "{page}");
        cursor = format!("&cursor={next}");
    }
    panic!("a list without an end: {sequences:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_events_are_listed_selected_and_paged_newest_first() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let empty = list(&router, "").await;
    assert_eq!((&empty["items"], &empty["complete"]), (&json!([]), &json!(true)), "{empty}");
    assert!(empty["retained"].get("since").is_none(), "{empty}");

    let broker = nats.client().await;
    for number in 0..30 {
        let site = if number % 10 == 3 { "rare" } else { "site-1" };
        publish(&broker, site, number, "OPS").await;
    }
    let body =
        json!({"eventType": CREATED, "atlassianId": "acc-1", "issue": {"id": "9", "key": "NEW-1"}});
    publish_raw(&broker, "site-1", CREATED, "created", body.to_string().into_bytes()).await;
    publish_raw(&broker, "site-1", CREATED, "broken", b"not JSON".to_vec()).await;

    let all = eventually(WAIT_MAX, "all events are listed", || async {
        let all = list(&router, "").await;
        (of(&all, "sequence").len() == 32).then_some(all)
    })
    .await;
    let sequences: Vec<u64> = (1..=32).rev().collect();
    assert_eq!(
        of(&all, "sequence"),
        sequences.iter().map(|one| json!(one)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert_eq!(all["retained"]["firstSequence"], 1);
    assert_eq!(all["retained"]["lastSequence"], 32);
    assert!(all["retained"]["since"].is_string(), "{all}");
    let created = &all["items"][1];
    assert_eq!((&created["ref"], &created["id"]), (&json!("site-1/created"), &json!("created")));
    assert_eq!((&created["type"], &created["entity"]), (&json!(CREATED), &json!("NEW-1")));
    assert_eq!(
        (&created["actor"], &created["bytes"]),
        (&json!("acc-1"), &json!(body.to_string().len()))
    );
    let shown = router.get("/admin/v1/events/site-1%2Fcreated").await.expect("the event of a ref");
    assert_eq!(shown["sequence"], created["sequence"]);

    assert_eq!(pages(&router, "?limit=7").await, sequences);
    assert_eq!(pages(&router, "?limit=1&site=rare").await, [24, 14, 4]);
    assert_eq!(pages(&router, &format!("?type={CREATED}&limit=5")).await.len(), 2);
    let entity = list(&router, "?entity=NEW-1").await;
    assert_eq!(of(&entity, "id"), [&json!("created")], "{entity}");
    assert_eq!(of(&list(&router, "?entity=OPS-7&site=site-1").await, "id"), [&json!("event-7")]);
    let since = all["items"][4]["storedAt"].as_str().expect("a time");
    let recent = pages(&router, &format!("?since={since}&limit=500")).await;
    let before = pages(&router, &format!("?until={since}&limit=500")).await;
    assert!(recent.contains(&28) && !before.contains(&28), "{recent:?} {before:?}");
    assert_eq!(recent.len() + before.len(), 32, "no event is in both");
    assert_eq!(pages(&router, "?since=1h&limit=500").await.len(), 32);
    assert_eq!(list(&router, "?since=2099-01-01T00:00:00Z").await["items"], json!([]));
    let hinted = list(&router, "?site=nowhere").await;
    assert!(hinted["hints"][0].as_str().is_some_and(|hint| hint.contains("nowhere")), "{hinted}");

    let printed = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["events", "recent", "--type", CREATED, "--limit", "2"])
        .env("SWITCHYARD_SERVER", router.api.base())
        .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
        .stderr(Stdio::inherit())
        .output()
        .await
        .expect("the command runs");
    let printed = String::from_utf8(printed.stdout).expect("a text");
    assert!(printed.contains("site-1/created") && printed.contains("NEW-1"), "{printed}");
    router.kill().await;
}
