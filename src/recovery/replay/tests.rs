//! Replays over streams in memory: which deliveries are handed over, once, whatever happens between the
//! steps.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use switchyard_expr::{CheckProfile, compile};

use super::testing::{MemoryStreams, event};
use super::{
    Coverage, LedgerQuery, ReplayMode, ReplayParts, ReplayRequest, ReplayWork, Window, gaps, plan,
};
use crate::delivery::{ParkReason, SubscriptionDirectory};
use crate::domain::{CloudId, DeliveryId, Handler, InstallationId, SubscriptionId};
use crate::matcher::{DeliverySettings, EventConditions, EventSubscription, Owner, Subscription};
use crate::recovery::jobs::{
    Job, JobCounts, JobFailure, JobId, JobKind, JobRate, JobState, JobStep, JobWork,
};
use crate::telemetry::SubscriptionStats;

const SITE: &str = "site-1";
const TYPE: &str = "avi:jira:updated:issue";
const OTHER_TYPE: &str = "avi:jira:created:issue";

/// Subscriptions that exist, and when they were changed.
struct Directory(Vec<Arc<Subscription>>, i64);

impl SubscriptionDirectory for Directory {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.iter().find(|one| one.id() == *id).cloned()
    }

    fn subscriptions_of(&self, installation: &InstallationId) -> Vec<Arc<Subscription>> {
        self.0.iter().filter(|one| one.owner.id == *installation).cloned().collect()
    }

    fn subscriptions_at(&self, site: &CloudId) -> Vec<Arc<Subscription>> {
        self.0.iter().filter(|one| one.owner.cloud_id == *site).cloned().collect()
    }

    fn changed_ms(&self, _id: &SubscriptionId) -> Option<i64> {
        Some(self.1)
    }
}

fn subscription(installation: &str, site: &str, key: &str, filter: &str) -> Arc<Subscription> {
    let program = compile(filter, CheckProfile::Filter).unwrap().program;
    let conditions = Arc::new(EventConditions::unconditional(TYPE.into()));
    Arc::new(Subscription {
        owner: Arc::new(Owner {
            id: installation.into(),
            app: "app-1".into(),
            app_account_id: None,
            cloud_id: site.into(),
            licensed: true,
            permissions: None,
            settings: DeliverySettings::new(Arc::new(Handler::function("sw.fn.i.f"))),
        }),
        key: key.into(),
        event_subscriptions: vec![EventSubscription {
            conditions,
            program: Some(Arc::new(program)),
        }]
        .into(),
        revision: 1,
        stats: SubscriptionStats::default(),
    })
}

fn directory() -> Arc<Directory> {
    Arc::new(Directory(
        vec![
            subscription("inst-1", SITE, "k1", "event.n >= 0"),
            subscription("inst-1", SITE, "k2", "event.n == 3"),
            subscription("inst-2", SITE, "k1", "event.n >= 0"),
            subscription("inst-3", "site-2", "k1", "event.n >= 0"),
        ],
        0,
    ))
}

/// Records of the log for the delivery of one event to `inst-1/k1`: outcomes with their replays.
type History = &'static [(&'static str, Option<&'static str>)];

/// Histories with the modes that hand the delivery over.
const HISTORIES: [(History, &[ReplayMode]); 9] = [
    (&[], &[ReplayMode::Missing, ReplayMode::All]),
    (&[("delivered", None)], &[ReplayMode::All]),
    (&[("parked", None)], &[]),
    (&[("parked", None), ("delivered", None)], &[ReplayMode::All]),
    (&[("dead", None)], &[ReplayMode::Failed, ReplayMode::Missing, ReplayMode::All]),
    (
        &[("parked", None), ("dead", None)],
        &[ReplayMode::Failed, ReplayMode::Missing, ReplayMode::All],
    ),
    (&[("dropped", None)], &[ReplayMode::Failed, ReplayMode::Missing, ReplayMode::All]),
    (&[("dead", None), ("delivered", Some("job_0"))], &[ReplayMode::All]),
    (&[("dead", None), ("parked", Some("job_0"))], &[]),
];

fn record(
    sequence: u64,
    installation: &str,
    key: &str,
    (outcome, replay): (&str, Option<&str>),
) -> Value {
    let mut delivery = json!({"installation": installation, "key": key, "from": "new",
        "outcome": outcome, "attempt": 1});
    if let Some(job) = replay {
        delivery["replay"] = json!(job);
    }
    let id = format!("e{sequence}");
    json!({"v": 1, "event": {"id": id, "site": SITE, "type": TYPE, "sequence": sequence},
        "router": "r", "started_ms": 1, "source": "event", "deliveries": [delivery]})
}

/// A stream with an event of each history, and of others between them.
fn world() -> Arc<MemoryStreams> {
    let streams = MemoryStreams::default();
    let mut sequence = 0;
    let mut add = |site, event_type, body: &str| {
        sequence += 1;
        streams.add(event(sequence, site, event_type, body));
        sequence
    };
    let mut log = Vec::new();
    for (history, _) in HISTORIES {
        let of_history = add(SITE, TYPE, r#"{"n": 1}"#);
        log.extend(history.iter().map(|entry| record(of_history, "inst-1", "k1", *entry)));
        // The other installation has all of its deliveries.
        log.push(record(of_history, "inst-2", "k1", ("delivered", None)));
        add("site-2", TYPE, r#"{"n": 1}"#);
        add(SITE, OTHER_TYPE, r#"{"n": 1}"#);
        add(SITE, TYPE, r#"{"n": -1}"#);
    }
    add(SITE, TYPE, "no json");
    let log = log.into_iter().map(|record| record.to_string().into());
    streams.log.lock().unwrap().extend(log);
    Arc::new(streams)
}

fn request(mode: ReplayMode) -> ReplayRequest {
    ReplayRequest {
        installation: "inst-1".into(),
        site: SITE.into(),
        key: None,
        mode,
        filter: None,
        target: None,
        window: Window { first_sequence: 1, last_sequence: 1_000 },
        coverage: Coverage { log_from_ms: Some(0), ..Coverage::default() },
        plan_complete: None,
    }
}

fn job(request: &ReplayRequest) -> Job {
    Job {
        version: 1,
        id: JobId::new(1, 1),
        kind: JobKind::Replay,
        state: JobState::Running,
        rate: JobRate::default(),
        request: json!(request),
        cursor: Value::Null,
        counts: JobCounts::new(),
        progress: 0.0,
        created_ms: 0,
        started_ms: Some(0),
        updated_ms: 0,
        progressed_ms: None,
        reason: None,
        lease: None,
        private: Value::Null,
        other: serde_json::Map::new(),
    }
}

fn save(job: &mut Job, step: &JobStep) {
    job.cursor = step.cursor.clone();
    job.count(&step.counts);
    job.progress = step.progress;
}

/// Executes a job to its end; each second step is done and not saved, and another replica goes on.
async fn run(parts: &ReplayParts, request: &ReplayRequest, max: u32, kills: bool) -> JobCounts {
    let (mut job, mut work) = (job(request), ReplayWork::new(parts.clone()));
    for number in 0..1_000 {
        let step = work.step(&job, max).await.unwrap();
        if kills && number % 2 == 0 {
            work = ReplayWork::new(parts.clone());
            continue;
        }
        assert!(step.progress >= job.progress);
        save(&mut job, &step);
        if step.is_done {
            return job.counts;
        }
    }
    panic!("the job does not end");
}

fn id(sequence: u64, key: &str) -> DeliveryId {
    let subscription = SubscriptionId { installation: "inst-1".into(), key: key.into() };
    DeliveryId::derive(&SITE.into(), &format!("e{sequence}").into(), &subscription)
}

fn handed_over(streams: &MemoryStreams) -> Vec<String> {
    streams.handed_over.lock().unwrap().iter().map(|record| record.id.to_string()).collect()
}

/// The ids of `inst-1/k1` that a mode hands over.
fn expected(mode: ReplayMode) -> Vec<String> {
    let all = HISTORIES.iter().zip(0_u64..);
    let wanted = all.filter(|((_, modes), _)| modes.contains(&mode));
    wanted.map(|(_, number)| id(number * 4 + 1, "k1").to_string()).collect()
}

#[tokio::test]
async fn each_mode_hands_over_its_deliveries_once_over_kills() {
    for mode in [ReplayMode::Failed, ReplayMode::Missing, ReplayMode::All] {
        for (max, kills) in [(1, false), (100, false), (1, true), (3, true), (100, true)] {
            let streams = world();
            let parts = MemoryStreams::shared(&streams, directory());
            let dry = plan(&parts, &request(mode)).await.unwrap();
            assert!(dry.is_complete && handed_over(&streams).is_empty());
            let counts = run(&parts, &request(mode), max, kills).await;
            assert_eq!(handed_over(&streams), expected(mode), "{mode:?} {max} {kills}");
            assert_eq!(counts, dry.counts, "{mode:?} {max} {kills}");
            assert_eq!(counts["matched"], HISTORIES.len() as u64);
            assert_eq!(counts["skipped_unreadable"], 1);
            assert_eq!(counts["events"], HISTORIES.len() as u64 * 3 + 1);
            let reason = ParkReason::Replay.label();
            {
                let records = streams.handed_over.lock().unwrap();
                let is_replay = |one: &&crate::delivery::ParkedRecord| {
                    one.headers.iter().any(|(_, value)| value == reason)
                };
                assert_eq!(records.iter().filter(is_replay).count(), records.len());
            }
            // What was handed over waits now.
            let again = run(&parts, &request(mode), max, kills).await;
            assert_eq!(again.get("parked").copied().unwrap_or(0), counts["parked"]);
            assert_eq!(handed_over(&streams), expected(mode), "by this job already");
        }
    }
}

#[tokio::test]
async fn records_of_handed_over_deliveries_name_the_replay() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    let before = streams.log.lock().unwrap().len();
    let counts = run(&parts, &request(ReplayMode::Failed), 100, false).await;
    let log = streams.log.lock().unwrap();
    let added: Vec<Value> =
        log.iter().skip(before).map(|record| serde_json::from_slice(record).unwrap()).collect();
    assert_eq!(added.len() as u64, counts["parked"]);
    for record in added {
        let delivery = &record["deliveries"][0];
        let job = JobId::new(1, 1);
        assert_eq!(delivery["replay"], job.as_str());
        assert_eq!((&delivery["from"], &delivery["outcome"]), (&json!("new"), &json!("parked")));
        assert_eq!(delivery["why"], "replay");
        assert!(record["event"]["stored_ms"].is_i64());
    }
}

#[tokio::test]
async fn subscription_filter_and_target_limit_what_is_replayed() {
    let streams = MemoryStreams::default();
    for sequence in 1..=5 {
        streams.add(event(sequence, SITE, TYPE, &format!(r#"{{"n": {sequence}}}"#)));
    }
    let streams = Arc::new(streams);
    let parts = MemoryStreams::shared(&streams, directory());
    let all = || request(ReplayMode::All);
    let only = ReplayRequest { key: Some("k2".into()), ..all() };
    let counts = plan(&parts, &only).await.unwrap().counts;
    assert_eq!(counts["matched"], 1);
    let filtered = ReplayRequest { filter: Some("event.n > 3".into()), ..all() };
    assert_eq!(plan(&parts, &filtered).await.unwrap().counts["matched"], 2);
    let failing = ReplayRequest { filter: Some("event.a.b == 1".into()), ..all() };
    let counts = plan(&parts, &failing).await.unwrap().counts;
    assert_eq!(counts.get("matched"), None);
    assert_eq!(counts["skipped_filter_error"], 6);
    let window = Window { first_sequence: 2, last_sequence: 4 };
    let part = plan(&parts, &ReplayRequest { window, ..all() }).await.unwrap();
    assert_eq!((part.counts["events"], part.counts["matched"]), (3, 4));

    let target = Some("https://elsewhere.example/".to_owned());
    run(&parts, &ReplayRequest { target, ..only }, 10, false).await;
    let sent = handed_over(&streams);
    assert!(sent.len() == 1 && sent[0] != id(3, "k2").as_str(), "it is another delivery");

    let other = ReplayRequest { installation: "inst-9".into(), ..all() };
    assert!(matches!(plan(&parts, &other).await, Err(JobFailure::Never(_))));
    // The installation of another site has none of these events.
    let foreign = ReplayRequest { installation: "inst-3".into(), ..all() };
    assert_eq!(plan(&parts, &foreign).await.unwrap().counts.get("matched"), None);
}

#[tokio::test]
async fn delivery_that_waits_is_not_replaced_whatever_the_log_says() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    run(&parts, &request(ReplayMode::Failed), 10, false).await;
    let first = handed_over(&streams);
    // Its log is lost: the schedules say that they wait.
    streams.log.lock().unwrap().clear();
    for record in streams.parked.lock().unwrap().values_mut() {
        record.headers.retain(|(name, _)| *name != "switchyard-job");
    }
    let counts = run(&parts, &request(ReplayMode::Missing), 10, false).await;
    assert_eq!(counts["skipped_pending"], first.len() as u64);
    let ids: BTreeSet<_> = handed_over(&streams).into_iter().collect();
    assert_eq!(ids.len(), handed_over(&streams).len(), "none twice");
}

#[tokio::test]
async fn replay_waits_for_events_that_are_not_acknowledged() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    *streams.settled.lock().unwrap() = Some(16);
    let request = request(ReplayMode::Missing);
    let dry = plan(&parts, &request).await.unwrap();
    assert!(!dry.is_complete);
    let (mut job, work) = (job(&request), ReplayWork::new(parts.clone()));
    let failure = loop {
        match work.step(&job, 10).await {
            Ok(step) => save(&mut job, &step),
            Err(failure) => break failure,
        }
    };
    let JobFailure::Later(reason) = failure else { panic!("it waits") };
    assert!(reason.contains("event 17 is not acknowledged"), "{reason}");
    assert_eq!(job.counts, dry.counts);
    *streams.settled.lock().unwrap() = None;
    loop {
        let step = work.step(&job, 10).await.unwrap();
        save(&mut job, &step);
        if step.is_done {
            break;
        }
    }
    assert_eq!(handed_over(&streams), expected(ReplayMode::Missing));
}

#[tokio::test]
async fn replay_waits_for_room_and_hands_nothing_over_twice() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    *streams.room.lock().unwrap() = Some(1);
    let request = request(ReplayMode::All);
    let (mut job, work) = (job(&request), ReplayWork::new(parts.clone()));
    let mut waits = 0;
    loop {
        match work.step(&job, 100).await {
            Ok(step) => {
                save(&mut job, &step);
                if step.is_done {
                    break;
                }
            }
            Err(JobFailure::Later(_)) => {
                waits += 1;
                *streams.room.lock().unwrap() = Some(2);
            }
            Err(JobFailure::Never(reason)) => panic!("{reason}"),
        }
    }
    assert!(waits > 1, "{waits}");
    let sorted: BTreeSet<_> = handed_over(&streams).into_iter().collect();
    assert_eq!(sorted, expected(ReplayMode::All).into_iter().collect());
    assert_eq!(handed_over(&streams).len(), sorted.len());
    assert_eq!(job.counts["parked"], sorted.len() as u64);
}

#[tokio::test]
async fn missing_leaves_out_events_that_are_older_than_the_log() {
    let streams = world();
    let parts = MemoryStreams::shared(&streams, directory());
    let coverage = Coverage { log_from_ms: Some(2_000), ..Coverage::default() };
    let late = ReplayRequest { coverage, ..request(ReplayMode::Missing) };
    let counts = plan(&parts, &late).await.unwrap().counts;
    assert_eq!(counts["skipped_before_log"], 1, "the one without a record");
    assert_eq!(counts["parked"], expected(ReplayMode::Missing).len() as u64 - 1);
}

#[tokio::test]
async fn check_of_the_ledger_lists_each_delivery_that_the_log_does_not_know() {
    let streams = world();
    let query = |installation: Option<&str>| LedgerQuery {
        site: SITE.into(),
        installation: installation.map(Into::into),
        window: Window { first_sequence: 1, last_sequence: 1_000 },
        log_from_ms: 0,
    };
    let parts = MemoryStreams::shared(&streams, directory());
    let page = gaps(&parts, &query(None)).await.unwrap();
    let all = HISTORIES.len() as u64 * 2;
    assert_eq!((page.matched, page.recorded, page.not_verifiable), (all, all - 1, 0));
    assert_eq!((page.gaps.len(), page.next, page.unreadable), (1, None, 1));
    let gap = &page.gaps[0];
    assert_eq!((gap.sequence, gap.event.as_str()), (1, "e1"));
    assert_eq!(gap.subscription.to_string(), "inst-1/k1");
    assert_eq!(gap.delivery, id(1, "k1"));
    assert!(gaps(&parts, &query(Some("inst-2"))).await.unwrap().gaps.is_empty());

    // A module that was changed later says nothing about the past; nor does a log that began later.
    let changed = Arc::new(Directory(directory().0.clone(), 1_000_000));
    let later = MemoryStreams::shared(&streams, changed);
    let page = gaps(&later, &query(None)).await.unwrap();
    assert_eq!((page.gaps.len(), page.not_verifiable), (0, 1));
    let began_later = LedgerQuery { log_from_ms: 1_500, ..query(None) };
    assert_eq!(gaps(&parts, &began_later).await.unwrap().not_verifiable, 1);
}
