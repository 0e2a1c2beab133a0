//! Readiness on a bad day: the broker answers late, not at all, or without what the router stored there. Every router
//! becomes ready again by itself.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchyard::clock;

use crate::support::{
    NatsCluster, NatsServer, Proxy, RouterProcess, Setup, Sink, SmallDisk, WAIT_MAX, eventually,
    publish, register,
};

/// Longest time until a fault shows, and until the router recovers.
const FAULT_MAX: Duration = WAIT_MAX;
const RECOVERY_MAX: Duration = WAIT_MAX;

/// Starts a router whose installation `i` of site `s` posts each event of project `P` to `path` of the sink.
async fn start(setup: &mut Setup, sink: &Sink, path: &str) -> RouterProcess {
    let router = setup.start().await;
    let app = router.provision("app", "i", "s", &sink.url(path)).await;
    let filter = json!({"expression": "event.issue.fields.project.key == 'P'"});
    let events = ["avi:jira:updated:issue"];
    register(&app, json!({"events": events, "filter": filter, "endpoint": "hook"})).await;
    router
}

/// Waits until the router is not ready and names `failing`.
async fn until_failing(router: &RouterProcess, failing: &[&str]) {
    let started = clock::tick();
    let seen = std::sync::Mutex::new(Vec::new());
    let result = tokio::time::timeout(FAULT_MAX, async {
        loop {
            let found = router.failing().await;
            if failing.iter().all(|name| found.iter().any(|one| one == name)) && !found.is_empty() {
                return found;
            }
            *seen.lock().unwrap() = found;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let found = result.unwrap_or_else(|_| panic!("not {failing:?} but {:?}", seen.lock().unwrap()));
    eventually(FAULT_MAX, "broker_up is 0", || async {
        (router.metric("switchyard_broker_up").await < 0.5).then_some(())
    })
    .await;
    eprintln!("not ready after {:?}: {found:?}", clock::since(started));
}

/// How often an object is deleted until the router is seen to name it.
const DELETIONS_MAX: usize = 10;

/// Deletes a stream until the router is seen to name what is `missing`: it is not ready for a second only,
/// which this test may sleep through on a busy machine.
async fn delete_until_named(
    router: &RouterProcess,
    context: &async_nats::jetstream::Context,
    (stream, label): (&str, &str),
    missing: &[&str],
) {
    let series = format!("switchyard_streams_recreated_total{{stream=\"{label}\"}}");
    for _ in 0..DELETIONS_MAX {
        let before = router.metric(&series).await;
        context.delete_stream(stream).await.expect("deleted");
        let is_named = eventually(FAULT_MAX, "the stream is created again", || async {
            let found = router.failing().await;
            let is_named = missing.iter().all(|name| found.iter().any(|one| one == name));
            let is_created = router.metric(&series).await > before;
            (is_named || is_created).then_some(is_named)
        })
        .await;
        until_ready(router).await;
        if is_named {
            assert!(router.metric(&series).await > before, "{series}");
            return;
        }
    }
    panic!("never not ready because of {missing:?}");
}

async fn until_ready(router: &RouterProcess) {
    let started = clock::tick();
    eventually(RECOVERY_MAX, "the router is ready again", || async {
        router.failing().await.is_empty().then_some(())
    })
    .await;
    eprintln!("ready again after {:?}", clock::since(started));
}

async fn until_received(sink: &Sink, path: &str, count: usize) {
    eventually(RECOVERY_MAX, "the events are delivered", || async {
        (sink.received_at(path).len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn black_hole_makes_the_router_unready_until_it_ends() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let proxy = Proxy::to(&nats.url()).await;
    let mut setup = Setup::new(&proxy.url(), nats.folder().join("router"));
    let router = start(&mut setup, &sink, "/hook").await;
    proxy.swallow();
    until_failing(&router, &["broker unreachable"]).await;
    assert!(router.get("/healthz/live").await.is_ok(), "no orchestrator restarts it");
    proxy.restore();
    until_ready(&router).await;
    publish(&nats.client().await, "s", 1, "P").await;
    until_received(&sink, "/hook", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_broker_makes_the_router_unready_until_it_continues() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = start(&mut setup, &sink, "/hook").await;
    nats.freeze();
    until_failing(&router, &["broker unreachable"]).await;
    nats.thaw();
    until_ready(&router).await;
    publish(&nats.client().await, "s", 1, "P").await;
    until_received(&sink, "/hook", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_streams_and_consumers_are_created_again_and_counted() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = start(&mut setup, &sink, "/hook").await;
    let (broker, context) = (nats.client().await, nats.context().await);
    publish(&broker, "s", 1, "P").await;
    until_received(&sink, "/hook", 1).await;
    let declared = context.get_stream("SW_EVENTS").await.unwrap().cached_info().config.clone();

    let names = [
        ("SW_EVENTS", "stream_events", "consumer router missing"),
        ("SW_PARKED", "stream_parked", "consumer due missing"),
        ("SW_DLQ", "stream_dlq", ""),
        ("SW_REPEATS", "stream_repeats", ""),
        ("SW_ATTEMPTS", "stream_log", ""),
        ("KV_SW_STATE", "bucket_state", ""),
    ];
    for (stream, label, consumer) in names {
        let missing = format!("stream {stream} missing");
        let names = [missing.as_str(), consumer];
        let names = &names[..if consumer.is_empty() { 1 } else { 2 }];
        delete_until_named(&router, &context, (stream, label), names).await;
    }
    let created = context.get_stream("SW_EVENTS").await.unwrap().cached_info().config.clone();
    assert_eq!(created.subject_transform, declared.subject_transform);
    assert_eq!(created.max_bytes, declared.max_bytes);
    publish(&broker, "s", 2, "P").await;
    until_received(&sink, "/hook", 2).await;

    for (stream, consumer) in [("SW_EVENTS", "router"), ("SW_PARKED", "due")] {
        let stream = context.get_stream(stream).await.unwrap();
        stream.delete_consumer(consumer).await.expect("deleted");
        eventually(RECOVERY_MAX, "the consumer exists again", || async {
            stream
                .get_consumer::<async_nats::jetstream::consumer::pull::Config>(consumer)
                .await
                .ok()
        })
        .await;
    }
    until_ready(&router).await;
    publish(&broker, "s", 3, "P").await;
    eventually(RECOVERY_MAX, "the third event arrives", || async {
        let is_third = |body: &[u8]| {
            serde_json::from_slice::<Value>(body).ok()?["issue"]["key"]
                .as_str()
                .map(|key| key == "P-3")
        };
        sink.received().iter().any(|one| is_third(&one.body) == Some(true)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_is_kept_in_memory_when_its_bucket_is_deleted() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = start(&mut setup, &sink, "/hook").await;
    nats.context().await.delete_stream("KV_SW_REG").await.expect("deleted");
    until_failing(&router, &["stream KV_SW_REG missing"]).await;
    publish(&nats.client().await, "s", 1, "P").await;
    until_received(&sink, "/hook", 1).await;
    assert!(!router.failing().await.is_empty(), "an empty bucket would remove all subscriptions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_without_a_quorum_makes_the_router_unready_until_it_has_one() {
    let (mut cluster, sink) = (NatsCluster::start().await, Sink::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&cluster.urls(), folder.path().into());
    setup = setup.with("SWITCHYARD_NATS__REPLICAS", 3);
    let router = start(&mut setup, &sink, "/hook").await;
    cluster.kill(&[0, 1]);
    until_failing(&router, &[]).await;
    cluster.restart(&[0, 1]);
    until_ready(&router).await;
    let broker = async_nats::connect(cluster.urls().split(',').next().unwrap()).await.unwrap();
    publish(&broker, "s", 1, "P").await;
    until_received(&sink, "/hook", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_makes_the_router_unready_until_the_broker_can_write() {
    let Some(disk) = SmallDisk::mount("24m") else { return };
    let folder = tempfile::tempdir_in(disk.path()).expect("a folder");
    let (mut nats, sink) = (NatsServer::start_in(folder).await, Sink::start().await);
    let data = tempfile::tempdir().unwrap();
    let router = start(&mut Setup::new(&nats.url(), data.path().into()), &sink, "/hook").await;
    disk.fill(&nats).await;
    until_failing(&router, &[]).await;
    disk.resize("200m");
    nats.kill_and_restart().await;
    until_ready(&router).await;
    publish(&nats.client().await, "s", 1, "P").await;
    until_received(&sink, "/hook", 1).await;
    drop(nats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managed_broker_that_dies_is_restarted_with_its_data() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start().await);
    let mut setup = Setup::new("", folder.path().into());
    let router = start(&mut setup, &sink, "/hook").await;
    let pid_file = folder.path().join("nats/nats-server.pid");
    for number in 1..=2 {
        let pid = std::fs::read_to_string(&pid_file).expect("a pid file");
        let killed = Command::new("kill").args(["-KILL", pid.trim()]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        eventually(RECOVERY_MAX, "another server runs", || async {
            (std::fs::read_to_string(&pid_file).ok()? != pid).then_some(())
        })
        .await;
        until_ready(&router).await;
        let path = "/admin/v1/events?cloudId=s&type=avi:jira:updated:issue";
        let event = json!({"issue": {"id": number.to_string(), "key": "P-1",
            "fields": {"project": {"key": "P"}}}});
        let sent = router.api.send(hyper::Method::POST, path, &[], &event).await;
        sent.expect("accepted");
        until_received(&sink, "/hook", number).await;
    }
    assert!(router.metric("switchyard_managed_broker_restarts_total").await > 1.5);
    let pid = std::fs::read_to_string(&pid_file).expect("a pid file").trim().to_owned();
    assert!(Path::new("/proc").join(&pid).exists(), "the last server runs");
    assert!(router.terminate().await, "it stops in order");
    assert!(!Path::new("/proc").join(&pid).exists(), "its server runs on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn due_times_follow_the_clock_of_the_broker() {
    for hours in [2, -2] {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let shift = SignedDuration::from_hours(hours);
        let proxy = Proxy::shifting(&nats.url(), shift).await;
        let mut setup = Setup::new(&proxy.url(), nats.folder().join("router"));
        let router = start(&mut setup, &sink, "/down").await;
        sink.answer("/down", 503, None);
        publish(&nats.client().await, "s", 1, "P").await;
        let parked = nats.context().await.get_stream("SW_PARKED").await.unwrap();
        let record = eventually(RECOVERY_MAX, "the delivery is parked", || async {
            let found = parked.get_last_raw_message_by_subject("sw.retry.*").await.ok()?;
            Some((found.headers.get("Nats-Schedule")?.as_str().to_owned(), found.time))
        })
        .await;
        let due: Timestamp = record.0.strip_prefix("@at ").unwrap().parse().unwrap();
        let stored_ms = record.1.unix_timestamp_nanos() / 1_000_000;
        let delay_s =
            i128::from(due.as_millisecond()) / 1000 - stored_ms / 1000 - i128::from(hours) * 3600;
        assert!((0..=120).contains(&delay_s), "{hours} h: due {delay_s} s after it was parked");
        let skew_s = router.metric("switchyard_clock_skew_seconds").await;
        assert!((skew_s + shift.as_secs_f64()).abs() < 60.0, "{skew_s}");
        let deep = router.get("/healthz/deep").await.expect("an operator's report");
        assert!(deep["clockSkewSeconds"].as_f64().unwrap().abs() > 7_000.0, "{deep}");
        assert_eq!(deep["checks"].as_array().map(Vec::len), Some(15), "{deep}");
    }
}
