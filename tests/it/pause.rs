//! A process that was stopped and continues delivers nothing to what was removed in that time.

use std::collections::HashSet;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::repeats::{consumer, repeats, until_all_acknowledged};
use crate::support::{
    NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish, register,
};

const SITE: &str = "site-1";
const EVENTS: u64 = 400;
/// Events of one replica in flight; as many again are pulled and wait.
const IN_FLIGHT: u64 = 16;
const LONG: Duration = WAIT_MAX;

/// What arrived after a process that was stopped had continued. While it was stopped, another
/// replica deleted one of two modules that both have deliveries left.
struct Continued {
    nats: NatsServer,
    sink: Sink,
    stopped: RouterProcess,
    other: RouterProcess,
    /// Deliveries to the deleted module after the process continued.
    late: usize,
}

impl Continued {
    /// Runs the scenario with more settings. Deliveries to the deleted module have ended when none
    /// arrives for `quiet`.
    async fn run(settings: &[(&str, u64)], quiet: Duration) -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let setup = |name: &str| {
            let setup = Setup::new(&nats.url(), nats.folder().join(name))
                .with("SWITCHYARD_DELIVERY__ENDPOINT_CONCURRENCY", 2)
                .with("SWITCHYARD_DELIVERY__ENDPOINT_QUEUE_MAX", 100_000)
                .with("SWITCHYARD_DELIVERY__PARK_AFTER_MS", 600_000);
            settings.iter().fold(setup, |setup, (key, value)| setup.with(key, value))
        };
        let broker = nats.client().await;
        let stopped = setup("stopped").start().await;
        let kept = stopped.provision("app-1", "inst-1", SITE, &sink.url("/kept")).await;
        let deleted = stopped.provision("app-2", "inst-2", SITE, &sink.url("/deleted")).await;
        let on = json!({ "endpoint": "hook", "events": ["avi:jira:updated:issue"] });
        register(&kept, on.clone()).await;
        register(&deleted, on).await;
        for path in ["/kept", "/deleted"] {
            sink.slow(path, Duration::from_millis(100));
        }
        for number in 0..EVENTS {
            publish(&broker, SITE, number, "XXX").await;
        }
        eventually(LONG, "deliveries flow", || async { (sink.count() > 40).then_some(()) }).await;
        stopped.signal("STOP").await;

        let other = setup("other").start().await;
        let path = "/admin/v1/installations/inst-2";
        other.api.send(Method::DELETE, path, &[], &Value::Null).await.expect("it is deleted");
        // The other replica finishes what it attempts, and requests that were sent before the stop
        // arrive; then nothing may arrive any more.
        eventually(LONG, "deliveries to the deleted module end", || async {
            let before = sink.received_at("/deleted").len();
            tokio::time::sleep(quiet).await;
            (sink.received_at("/deleted").len() == before).then_some(())
        })
        .await;
        let before = sink.received_at("/deleted").len();
        stopped.signal("CONT").await;
        until_all_acknowledged(&broker).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let late = sink.received_at("/deleted").len() - before;
        Self { nats, sink, stopped, other, late }
    }

    /// Checks that every event reached the module that is kept and none the deleted one.
    fn check(&self) {
        assert_eq!(self.late, 0, "deliveries to the deleted module after the process continued");
        let kept = self.sink.received_at("/kept");
        let events: HashSet<_> =
            kept.iter().map(|one| one.header("switchyard-sequence").to_owned()).collect();
        assert_eq!(events.len() as u64, EVENTS, "every event reached the module that is kept");
    }

    async fn kill(self) {
        self.stopped.kill().await;
        self.other.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_was_stopped_delivers_nothing_to_a_deleted_module() {
    let settings =
        [("SWITCHYARD_EVENTS__ACK_WAIT_S", 4), ("SWITCHYARD_EVENTS__IN_FLIGHT_MAX", IN_FLIGHT)];
    // Longer than the ack deadline.
    let world = Continued::run(&settings, Duration::from_secs(6)).await;
    world.check();
    let Continued { nats, sink, stopped, other, late } = &world;
    let info = consumer(&nats.client().await).await;
    let again = repeats(&sink.received()) as u64;
    eprintln!("{late} deliveries to the deleted module, {again} repeats, {info:?}");
    assert!(again <= 2 * IN_FLIGHT, "{again} repeats, of at most {IN_FLIGHT} events in flight");
    let series = r#"switchyard_events_received_total{event_type="avi:jira:updated:issue"}"#;
    let counted = stopped.metric(series).await + other.metric(series).await;
    assert!(counted <= EVENTS as f64, "{counted} events received: redelivered ones count again");
    let series = r#"switchyard_matches_total{event_type="avi:jira:updated:issue"}"#;
    let counted = stopped.metric(series).await + other.metric(series).await;
    let most = 2 * EVENTS;
    assert!(counted <= most as f64, "{counted} of {most} matches: redelivered events count again");
    world.kill().await;
}

/// A stop that the broker does not notice: the process keeps its work, and waits for its registry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_was_stopped_for_less_than_the_ack_deadline_waits_for_its_registry() {
    let settings =
        [("SWITCHYARD_EVENTS__ACK_WAIT_S", 300), ("SWITCHYARD_EVENTS__DEDUP_WINDOW_S", 400)];
    let world = Continued::run(&settings, Duration::from_secs(3)).await;
    world.check();
    world.kill().await;
}
