//! What pages show of the whole: what the router did lately, sites, and the activity of a subscription.

use serde_json::{Value, json};

use crate::support::{NatsServer, Setup, Sink, WAIT_MAX, eventually, publish, register};

const EVENT_TYPE: &str = "avi:jira:updated:issue";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_and_deliveries_are_counted_over_time_by_site_and_by_subscription() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "600");
    let router = setup.start().await;
    let app = router.provision("app-first", "first", "site-1", &sink.url("/first")).await;
    let key = register(&app, json!({"endpoint": "hook", "events": [EVENT_TYPE]})).await;
    let other = router.provision("app-second", "second", "site-2", &sink.url("/second")).await;
    register(&other, json!({"endpoint": "hook", "events": [EVENT_TYPE]})).await;
    sink.answer("/second", 500, None);
    let broker = nats.client().await;
    let sent = [("site-1", 0), ("site-1", 1), ("site-1", 2), ("site-1", 3), ("site-1", 4)];
    for (site, number) in sent.into_iter().chain([("site-2", 100), ("site-3", 101)]) {
        publish(&broker, site, number, "OPS").await;
    }

    let get = async |path: &str| router.get(&format!("/admin/v1/{path}")).await.expect("an answer");
    let history = eventually(WAIT_MAX, "all is counted", || async {
        let history = get("history").await;
        let of = |name: &str| history["totals"][name].as_u64().unwrap_or_default();
        (of("delivered") == 5 && of("parked") == 1 && of("events") == 7).then_some(history)
    })
    .await;
    let totals = &history["totals"];
    assert_eq!((&totals["matches"], &totals["failedAttempts"]), (&json!(6), &json!(1)));
    assert_eq!((&history["now"]["broker"], &history["now"]["ready"]), (&json!("ok"), &json!(true)));
    assert!(history["now"]["seconds"].as_f64().is_some_and(|over| over > 0.0), "{history}");
    let history = eventually(WAIT_MAX, "an interval has the events", || async {
        let history = get("history?since=10m").await;
        let samples = history["samples"].as_array()?;
        let events: u64 = samples.iter().filter_map(|one| one["counts"]["events"].as_u64()).sum();
        (events == 7).then_some(history)
    })
    .await;
    let last = history["samples"].as_array().and_then(|items| items.last()).expect("an interval");
    assert_eq!((&last["broker"], &last["parkedNow"]), (&json!("ok"), &json!(1)), "{last}");
    assert_eq!(get("history?since=2099-01-01T00:00:00Z").await["samples"], json!([]));

    let sites = get("sites").await;
    let site = |id: &str| -> Value {
        let items = sites["items"].as_array().expect("a list");
        items.iter().find(|one| one["id"] == id).cloned().unwrap_or_default()
    };
    let first = site("site-1");
    assert_eq!((&first["events"], &first["matched"]), (&json!(5), &json!(5)), "{first}");
    assert!(first["lastEvent"].is_string() && first["lastMatch"].is_string(), "{first}");
    let second = site("site-2");
    assert_eq!((&second["parked"], &second["failing"]), (&json!(1), &json!(1)), "{second}");
    assert_eq!(site("site-3"), Value::Null, "it has no installation");
    let shown = get("sites/site-2").await;
    assert_eq!(shown["installationList"][0]["id"], "second");
    assert_eq!(shown["unmapped"]["names"], 0);

    let activity = eventually(WAIT_MAX, "the log has the deliveries", || async {
        let activity = get(&format!("subscriptions/first%2F{key}/activity?since=1h")).await;
        (activity["delivered"] == 5).then_some(activity)
    })
    .await;
    assert_eq!((&activity["complete"], &activity["bucketSeconds"]), (&json!(true), &json!(300)));
    let items = activity["buckets"].as_array().expect("buckets");
    assert!((12..=14).contains(&items.len()), "{activity}");
    let delivered: u64 = items.iter().filter_map(|one| one["delivered"].as_u64()).sum();
    assert_eq!(delivered, 5, "{activity}");
    assert!(activity["p95Ms"].as_f64() >= activity["medianMs"].as_f64());
    let installations = get("installations?q=second").await;
    let counts = &installations["items"][0]["counts"];
    assert_eq!((&counts["parked"], &counts["failing"]), (&json!(1), &json!(1)), "{installations}");
    let failing = get("subscriptions?sort=failures&limit=1").await;
    let problem = &failing["items"][0]["lastProblem"];
    let text = problem["text"].as_str().expect("a sentence");
    assert!(text.starts_with("an attempt failed: 5xx"), "{failing}");
    let refused = router.get("/admin/v1/subscriptions/second%2Fx/activity").await;
    assert!(refused.is_err(), "there is no such subscription");
    router.kill().await;
}
