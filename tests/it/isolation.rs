//! What one app, one site, one event, costly filters, or a shortage of descriptors may do to the
//! deliveries of others. The tests count what is delivered while the culprit still holds what it has.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const LONG: Duration = WAIT_MAX;
const EVENT_TYPE: &str = "avi:jira:updated:issue";
/// Concurrent attempts of the router under test.
const PERMITS: usize = 64;

/// Provisions installations of one app each with a trigger on every event of `site`.
async fn subscribe(router: &RouterProcess, site: &str, names: &[(String, String)], url: &str) {
    for (app, installation) in names {
        let client = router.provision(app, installation, site, url).await;
        let data = json!({ "endpoint": "hook", "events": [EVENT_TYPE],
            "filter": { "expression": "true" } });
        register(&client, data).await;
    }
}

/// A router whose attempts may hang for longer than a test runs.
fn setup(nats: &NatsServer, folder: &tempfile::TempDir) -> Setup {
    Setup::new(&nats.url(), folder.path().into())
        .with("SWITCHYARD_DELIVERY__CONCURRENCY", PERMITS)
        .with("SWITCHYARD_DELIVERY__TIMEOUT_MS", 60_000)
}

async fn until_received(sink: &Sink, path: &str, count: usize) {
    eventually(LONG, &format!("{count} deliveries at {path}"), || async {
        (sink.received_at(path).len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_app_holds_its_share_while_all_others_are_delivered() {
    let (nats, folder) = (NatsServer::start().await, tempfile::tempdir().unwrap());
    let (hanging, healthy) = (Sink::start().await, Sink::start().await);
    let router = setup(&nats, &folder).start().await;
    hanging.hold("/hang");
    let names: Vec<_> = (0..12).map(|n| ("hanging".to_owned(), format!("hang-{n}"))).collect();
    subscribe(&router, "hang", &names, &hanging.url("/hang")).await;
    let names: Vec<_> = (0..2).map(|n| (format!("app-{n}"), format!("inst-{n}"))).collect();
    subscribe(&router, "others", &names, &healthy.url("/quick")).await;

    let broker = nats.client().await;
    for number in 0..12 {
        publish(&broker, "hang", number, "XXX").await;
    }
    until_received(&hanging, "/hang", 4).await;
    for number in 100..140 {
        publish(&broker, "others", number, "XXX").await;
    }
    until_received(&healthy, "/quick", 80).await;
    let held = hanging.count();
    assert!(held <= PERMITS / 4, "the hanging app holds {held} of {PERMITS} permits");
    hanging.release("/hang");
    until_received(&hanging, "/hang", 144).await;
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_fan_out_holds_its_share_while_all_others_are_delivered() {
    const WIDTH: usize = 80;
    let (nats, folder) = (NatsServer::start().await, tempfile::tempdir().unwrap());
    let (slow, healthy) = (Sink::start().await, Sink::start().await);
    let router = setup(&nats, &folder).start().await;
    slow.hold("/slow");
    let names: Vec<_> = (0..WIDTH).map(|n| (format!("wide-{n}"), format!("wide-{n}"))).collect();
    subscribe(&router, "wide", &names, &slow.url("/slow")).await;
    let names = [("app".to_owned(), "inst".to_owned())];
    subscribe(&router, "others", &names, &healthy.url("/quick")).await;

    let broker = nats.client().await;
    publish(&broker, "wide", 1, "XXX").await;
    until_received(&slow, "/slow", 4).await;
    for number in 100..140 {
        publish(&broker, "others", number, "XXX").await;
    }
    until_received(&healthy, "/quick", 40).await;
    let held = slow.count();
    assert!(held <= PERMITS / 4, "the event and its parked deliveries hold {held} permits");
    slow.release("/slow");
    until_received(&slow, "/slow", WIDTH).await;
    router.kill().await;
}

/// A filter of some 40,000 steps that holds for no event; different for each number.
fn costly_filter(number: usize) -> String {
    let list: Vec<String> = (0..30).map(|at| at.to_string()).collect();
    let list = list.join(",");
    format!(
        "[{list}].some(a => [{list}].some(b => a + b + event.issue.fields.summary.length < -{number}))"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costly_filters_delay_their_installation_and_lose_nothing() {
    const FILTERS: usize = 20;
    const COSTLY: usize = 60;
    const OTHERS: usize = 20;
    let (nats, folder) = (NatsServer::start().await, tempfile::tempdir().unwrap());
    let sink = Sink::start().await;
    let router = Setup::new(&nats.url(), folder.path().into())
        .with("SWITCHYARD_LIMITS__EVALUATION_SHARE", 0.01)
        .start()
        .await;
    let client = router.provision("costly", "inst-costly", "costly", &sink.url("/costly")).await;
    for number in 0..=FILTERS {
        let expression = match number {
            0 => "event.issue.fields.summary.length > 0".to_owned(),
            number => costly_filter(number),
        };
        let data = json!({ "endpoint": "hook", "events": [EVENT_TYPE],
            "filter": { "expression": expression } });
        register(&client, data).await;
    }
    let names = [("app".to_owned(), "inst".to_owned())];
    subscribe(&router, "others", &names, &sink.url("/quick")).await;

    let broker = nats.client().await;
    for number in 0..COSTLY {
        publish(&broker, "costly", number as u64, "XXX").await;
    }
    for number in 0..OTHERS {
        publish(&broker, "others", number as u64, "XXX").await;
    }
    until_received(&sink, "/quick", OTHERS).await;
    let before = sink.received_at("/costly").len();
    assert!(before < COSTLY * 2 / 3, "{before} of {COSTLY} costly events were evaluated before");

    let problem = eventually(LONG, "the installation is named", || async {
        let list = router.get("/admin/v1/problems").await.expect("problems");
        list["items"].as_array()?.iter().find(|one| one["id"] == "inst-costly").cloned()
    })
    .await;
    assert_eq!(problem["kind"], "evaluation_share_exceeded");
    until_received(&sink, "/costly", COSTLY).await;
    let mut numbers: Vec<_> =
        sink.received_at("/costly").iter().map(|one| one.header("webhook-id").to_owned()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), COSTLY, "each event has a delivery");
    assert!(router.metric("switchyard_evaluations_postponed_total").await > 0.0);
    assert!(router.metric("switchyard_parkings_total{reason=\"evaluation\"}").await > 0.0);
    eventually(LONG, "it is within its share again", || async {
        (router.metric("switchyard_evaluation_share_exceeded").await == 0.0).then_some(())
    })
    .await;
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_pulled_together_are_taken_in_turns_of_their_sites() {
    const FLOOD: u32 = 600;
    const OTHERS: usize = 5;
    let (nats, folder) = (NatsServer::start().await, tempfile::tempdir().unwrap());
    let sink = Sink::start().await;
    // Each event of the flood keeps its worker for a while, and none is postponed.
    let mut setup = Setup::new(&nats.url(), folder.path().into())
        .with("SWITCHYARD_LIMITS__EVALUATION_SHARE", 1.0);
    let router = setup.start().await;
    let client = router.provision("flood", "inst-flood", "flood", &sink.url("/flood")).await;
    let data = json!({ "endpoint": "hook", "events": [EVENT_TYPE],
        "filter": { "expression": costly_filter(1) } });
    register(&client, data).await;
    subscribe(&router, "others", &[("b".into(), "inst-b".into())], &sink.url("/quick")).await;
    router.kill().await;
    let broker = nats.client().await;
    for number in 0..FLOOD {
        publish(&broker, "flood", number.into(), "XXX").await;
    }
    for number in 0..OTHERS {
        publish(&broker, "others", number as u64, "XXX").await;
    }
    let router = setup.start().await;
    until_received(&sink, "/quick", OTHERS).await;
    // In the order of the stream, all of the flood was before them.
    let before = router.metric("switchyard_filter_evaluations_total{result=\"false\"}").await;
    assert!(before < f64::from(FLOOD / 2), "others waited for {before} events of the flood");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shortage_of_descriptors_delays_deliveries_and_blames_no_handler() {
    const INSTALLATIONS: usize = 60;
    const EVENTS: usize = 10;
    let (nats, folder) = (NatsServer::start().await, tempfile::tempdir().unwrap());
    let sink = Sink::start().await;
    sink.slow("/hook", Duration::from_millis(20));
    let mut setup = Setup::new(&nats.url(), folder.path().into());
    setup.descriptors_max = Some(64);
    let router = setup.start().await;
    let name = |n| (format!("app-{}", n / 4), format!("inst-{n}"));
    let names: Vec<_> = (0..INSTALLATIONS).map(name).collect();
    subscribe(&router, "site", &names, &sink.url("/hook")).await;
    let broker = nats.client().await;
    for number in 0..EVENTS {
        publish(&broker, "site", number as u64, "XXX").await;
    }
    until_received(&sink, "/hook", INSTALLATIONS * EVENTS).await;
    let attempts = "switchyard_delivery_attempts_total{target=\"http\",";
    for class in ["connect", "dns", "tls", "timeout"] {
        let blame = if class == "timeout" { "handler" } else { "network" };
        let series = format!("{attempts}class=\"{class}\",blame=\"{blame}\"}}");
        assert_eq!(router.metric(&series).await, 0.0, "{series}");
    }
    assert_eq!(router.metric("switchyard_parkings_total{reason=\"breaker\"}").await, 0.0);
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_deliveries_return_soon_after_their_handler_recovers() {
    const EVENTS: usize = 200;
    let (nats, folder) = (NatsServer::start().await, tempfile::tempdir().unwrap());
    let sink = Sink::start().await;
    // Two seconds an attempt, one at a time: the pace of the lane plans the last record 400 s ahead.
    sink.slow("/hook", Duration::from_secs(2));
    let router = Setup::new(&nats.url(), folder.path().into())
        .with("SWITCHYARD_DELIVERY__ENDPOINT_CONCURRENCY", 1)
        .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 200)
        .start()
        .await;
    subscribe(&router, "site", &[("app".into(), "inst".into())], &sink.url("/hook")).await;
    let broker = nats.client().await;
    publish(&broker, "site", 0, "XXX").await;
    eventually(LONG, "an attempt is measured", || async {
        let series = "switchyard_delivery_attempt_seconds_count{target=\"http\"}";
        (router.metric(series).await >= 1.0).then_some(())
    })
    .await;
    for number in 1..EVENTS {
        publish(&broker, "site", number as u64, "XXX").await;
    }
    eventually(LONG, "most deliveries are parked", || async {
        let parked = router.metric("switchyard_parkings_total{reason=\"full\"}").await
            + router.metric("switchyard_parkings_total{reason=\"late\"}").await;
        (parked >= 150.0).then_some(())
    })
    .await;
    sink.slow("/hook", Duration::ZERO);
    // Long before the last record is due, however busy this machine is.
    eventually(2 * LONG, "all deliveries arrive", || async {
        (sink.received_at("/hook").len() >= EVENTS).then_some(())
    })
    .await;
    router.kill().await;
}
