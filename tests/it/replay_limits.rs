//! What replays do not do: run at the same time as another one of the same deliveries, or take for missing
//! what the log cannot know.

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use switchyard::bus::{Connections, ParkingStream, Subjects, streams};
use switchyard::clock;
use switchyard::config::Config;
use switchyard::delivery::{HandOver, ParkedRecord, ParkingLot, ShareOwner, Shares};
use switchyard::domain::DeliveryId;

use crate::replays::{
    id, ids, job, post, provision, replay, setup, unique, until_done, until_settled,
};
use crate::support::{NatsServer, Sink, WAIT_MAX, eventually, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_that_overlaps_with_a_running_one_is_refused_and_names_it() {
    const EVENTS: u64 = 50;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    for number in 0..EVENTS {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_settled(&context).await;
    let subscription = provision(&router, &sink, 1, "XXX").await;
    let all = json!({ "installation": "inst-1", "from": "1h", "mode": "missing", "rate": 1 });
    let of_one = |dry_run: bool| json!({ "subscription": subscription, "from": "1h", "mode": "all", "dryRun": dry_run });
    let running = replay(&router, all).await;
    let planned = replay(&router, of_one(true)).await;
    let resume = format!("/replays/{}/resume", id(&planned));
    for refused in
        [post(&router, "/replays", of_one(false)).await, post(&router, &resume, json!({})).await]
    {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("409") && refused.contains(id(&running)), "{refused}");
        assert!(refused.contains("cancel it"), "{refused}");
    }
    let jobs = router.get("/admin/v1/replays").await.unwrap();
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(2), "the refused one is not stored");
    let cancel = format!("/replays/{}/cancel", id(&running));
    post(&router, &cancel, json!({})).await.expect("it is cancelled");
    eventually(WAIT_MAX, "what was handed over is delivered", || async {
        (job(&router, id(&running)).await["pending"] == 0).then_some(())
    })
    .await;
    post(&router, &resume, json!({})).await.expect("nothing overlaps any more");
    let done = until_done(&router, id(&planned)).await;
    // A cancelled job ends after its present step: what that hands over waits, and is not replaced.
    let count = |name: &str| done["counts"][name].as_u64().unwrap_or(0);
    let (parked, pending) = (count("parked"), count("skipped_pending"));
    assert_eq!(parked + pending, EVENTS, "{done}");
    eventually(WAIT_MAX, "each event is delivered", || async {
        (unique(&ids(&sink, "/1")).len() as u64 == EVENTS).then_some(())
    })
    .await;
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_delivered_while_the_log_was_off_is_not_missing() {
    const EVENTS: u64 = 10;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    provision(&router, &sink, 1, "XXX").await;
    publish(&broker, "site-1", 1_000, "XXX").await;
    until_settled(&context).await;
    router.kill().await;

    let off = setup(&nats).with("SWITCHYARD_DELIVERY__LOG", "false").start().await;
    for number in 0..EVENTS {
        publish(&broker, "site-1", number, "XXX").await;
    }
    eventually(WAIT_MAX, "all are delivered", || async {
        (ids(&sink, "/1").len() as u64 == EVENTS + 1).then_some(())
    })
    .await;
    until_settled(&context).await;
    off.kill().await;

    let router = setup(&nats).start().await;
    let wanted = |dry_run: bool| json!({ "installation": "inst-1", "from": "1h", "mode": "missing", "dryRun": dry_run });
    let planned = replay(&router, wanted(true)).await;
    let started = replay(&router, wanted(false)).await;
    let done = until_done(&router, id(&started)).await;
    let counts: &Value = &done["counts"];
    assert_eq!(counts, &planned["counts"], "a dry run says so, too");
    assert_eq!(
        (&counts["skipped_before_log"], &counts["skipped_delivered"]),
        (&json!(EVENTS), &json!(1))
    );
    assert_eq!(counts.get("parked"), None);
    assert!(planned["notes"].to_string().contains("skipped_before_log"), "{planned}");
    assert_eq!(ids(&sink, "/1").len() as u64, EVENTS + 1, "nothing is delivered again");
    router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emptied_log_makes_nothing_missing() {
    const EVENTS: u64 = 10;
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let router = setup(&nats).start().await;
    let (broker, context) = (nats.client().await, nats.context().await);
    provision(&router, &sink, 1, "XXX").await;
    for number in 0..EVENTS {
        publish(&broker, "site-1", number, "XXX").await;
    }
    until_settled(&context).await;
    let log = context.get_stream("SW_ATTEMPTS").await.expect("the log");
    log.purge().await.expect("it is emptied");
    let started =
        replay(&router, json!({ "installation": "inst-1", "from": "1h", "mode": "missing" })).await;
    let done = until_done(&router, id(&started)).await;
    assert_eq!(done["counts"]["skipped_before_log"], EVENTS);
    assert_eq!(ids(&sink, "/1").len() as u64, EVENTS);
    router.kill().await;
}

/// Returns the record by which a job hands the delivery `dlv_1` over, due in so many seconds.
fn record(job: &str, seconds: i64) -> ParkedRecord {
    ParkedRecord {
        id: DeliveryId::from_record("dlv_1"),
        message_id: format!("replay/{job}/dlv_1"),
        is_repark: false,
        app: "app-1".into(),
        owner: ShareOwner::installation(&"app-1".into(), &"inst-1".into()),
        due: clock::now().checked_add(SignedDuration::from_secs(seconds)).unwrap(),
        is_due: false,
        headers: vec![("switchyard-job", job.to_owned())],
        body: "{}".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_stores_one_record_of_a_delivery_however_many_hand_it_over() {
    let (config, nats) = (Config::defaults().unwrap(), NatsServer::start().await);
    let connections = Connections::open(&config.nats, &[nats.url()]).await.unwrap();
    let subjects = Subjects::new(&config.nats.prefix);
    let (events, delivery) = (&config.events, &config.delivery);
    streams::ensure(&connections.control, &subjects, &config.nats, events, delivery).await.unwrap();
    let shares = Arc::new(Shares::new(delivery));
    let outbound = connections.outbound.clone();
    let parking = ParkingStream::new(outbound, subjects, shares, Arc::default());

    let jobs: Vec<String> = (0..8).map(|number| format!("job_{number}")).collect();
    let results = join_all(jobs.iter().map(|job| parking.hand_over(record(job, 3_600)))).await;
    let is_stored = |result: &&Result<HandOver, _>| **result == Ok(HandOver::Stored);
    assert_eq!(results.iter().filter(is_stored).count(), 1, "{results:?}");
    let first = results.iter().position(|result| *result == Ok(HandOver::Stored)).unwrap();
    let context = nats.context().await;
    let parked = context.get_stream("SW_PARKED").await.unwrap();
    assert_eq!(parked.cached_info().state.messages, 1);
    let stored = parked.get_raw_message(parked.cached_info().state.last_sequence).await.unwrap();
    assert_eq!(stored.headers.get("switchyard-job").unwrap().as_str(), jobs[first]);
    // Its own repetition finds it, too: the caller sees whose it is.
    let repeated = parking.hand_over(record(&jobs[first], 3_600)).await;
    let Ok(HandOver::Occupied(Some(by))) = repeated else { panic!("{repeated:?}") };
    assert_eq!(*by.job, *jobs[first]);

    // A record that needs no schedule is stored only if the delivery has none.
    let due = |job: &str| ParkedRecord { is_due: true, ..record(job, 0) };
    let Ok(HandOver::Occupied(Some(by))) = parking.hand_over(due("job_9")).await else {
        panic!("it replaced the schedule, or is next to it")
    };
    assert_eq!(*by.job, *jobs[first]);
    parked.purge().await.unwrap();
    for _ in 0..2 {
        assert_eq!(parking.hand_over(due("job_9")).await, Ok(HandOver::Stored));
    }
    let mut parked = context.get_stream("SW_PARKED").await.unwrap();
    let state = parked.info().await.unwrap().state.clone();
    assert_eq!(state.messages, 1, "a repeated step stores it once");
    let stored = parked.get_raw_message(state.last_sequence).await.unwrap();
    assert!(stored.subject.starts_with("sw.due."), "{}", stored.subject);

    // Once it is due, the delivery has no schedule, and another record is stored.
    parked.purge().await.unwrap();
    assert_eq!(parking.hand_over(record("job_8", 0)).await, Ok(HandOver::Stored));
    eventually(WAIT_MAX, "another record is stored", || async {
        (parking.hand_over(record("job_9", 3_600)).await == Ok(HandOver::Stored)).then_some(())
    })
    .await;
}
