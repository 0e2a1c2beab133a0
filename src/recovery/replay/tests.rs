//! Replays over streams in memory: which deliveries are handed over, once, whatever happens between the
//! steps. Here are the streams, the subscriptions and the jobs that the tests share.

mod as_of;
mod coverage;
mod letters;
mod modes;
mod repeats;
mod shared;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use switchyard_expr::{CheckProfile, compile};

use super::testing::{MemoryStreams, event};
use super::{
    Coverage, LedgerQuery, LedgerReport, ReplayMode, ReplayParts, ReplayRequest, ReplayWork,
    Window, check_as_of, check_ledger, do_overlap, plan,
};
use crate::delivery::{ParkReason, SubscriptionDirectory};
use crate::domain::{
    DeliveryId, DynamicWebhookId, Handler, InstallationId, Secret, SubscriptionId, WebhookHandler,
    WebhookSigner,
};
use crate::matcher::{DeliverySettings, EventConditions, EventSubscription, Owner, Subscription};
use crate::recovery::jobs::{
    Job, JobCounts, JobFailure, JobId, JobKind, JobRate, JobState, JobStep, JobWork,
};
use crate::recovery::redrive::testing::{MemoryLetters, letter};
use crate::recovery::redrive::{LetterKind, StoredLetter};
use crate::telemetry::SubscriptionStats;

const SITE: &str = "site-1";
const TYPE: &str = "avi:jira:updated:issue";
const OTHER_TYPE: &str = "avi:jira:created:issue";

/// Subscriptions that exist, and when they were changed.
struct Directory(Vec<Arc<Subscription>>, i64);

/// A directory that knows its subscriptions, but for the first ones, only once it has caught up.
struct LateDirectory {
    known: Arc<Directory>,
    early: usize,
    is_current: AtomicBool,
}

impl SubscriptionDirectory for LateDirectory {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.known.find(id)
    }

    fn subscriptions_of(&self, installation: &InstallationId) -> Vec<Arc<Subscription>> {
        let mut found = self.known.subscriptions_of(installation);
        if !self.is_current.load(Relaxed) {
            found.truncate(self.early);
        }
        found
    }

    fn catch_up(&self) -> BoxFuture<'_, ()> {
        self.is_current.store(true, Relaxed);
        Box::pin(std::future::ready(()))
    }
}

impl SubscriptionDirectory for Directory {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.iter().find(|one| one.id() == *id).cloned()
    }

    fn subscriptions_of(&self, installation: &InstallationId) -> Vec<Arc<Subscription>> {
        self.0.iter().filter(|one| one.owner.id == *installation).cloned().collect()
    }

    fn changed_ms(&self, _id: &SubscriptionId) -> Option<i64> {
        Some(self.1)
    }
}

fn subscription(installation: &str, site: &str, key: &str, filter: &str) -> Arc<Subscription> {
    subscription_to(Handler::function("sw.fn.i.f"), (installation, site, key), filter)
}

fn subscription_to(
    handler: Handler,
    (installation, site, key): (&str, &str, &str),
    filter: &str,
) -> Arc<Subscription> {
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
            settings: DeliverySettings::new(Arc::new(handler)),
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

/// A dynamic webhook of `inst-1`. All of them share deliveries.
fn webhook(number: u64, filter: &str) -> Arc<Subscription> {
    let handler = Handler::Webhook(WebhookHandler {
        base: "https://app.example/".parse().unwrap(),
        address: "/hook".into(),
        names: ["jira:issue_updated".into()].into(),
        signer: WebhookSigner::Tenant {
            client_key: "tenant-1".into(),
            secret: Secret::new("It is a secret to everybody"),
        },
        excludes_body: false,
        property_keys: Box::default(),
        dynamic: Some(DynamicWebhookId { number, delivery_key: "d1".into() }),
    });
    subscription_to(handler, ("inst-1", SITE, &format!("w{number}")), filter)
}

fn directory() -> Arc<Directory> {
    Arc::new(Directory(
        vec![
            subscription("inst-1", SITE, "k1", "event.n >= 0"),
            subscription("inst-1", SITE, "k2", "event.n == 3"),
            subscription("inst-2", SITE, "k1", "event.n >= 0"),
            subscription("inst-3", "site-2", "k1", "event.n >= 0"),
        ],
        -1_000_000,
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
        delivery_key: None,
        mode,
        as_of_ms: None,
        filter: None,
        target: None,
        window: Window { first_sequence: 1, last_sequence: 1_000 },
        coverage: Coverage { log_from_ms: Some(0), ..Coverage::default() },
        plan_complete: None,
    }
}

fn job(request: &ReplayRequest) -> Job {
    job_with_id(1, request)
}

fn job_with_id(number: u32, request: &ReplayRequest) -> Job {
    Job {
        version: 1,
        id: JobId::new(1, number),
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

/// Executes a job from where it is until it is done.
async fn finish(work: &ReplayWork, job: &mut Job, max: u32) {
    loop {
        let step = work.step(job, max).await.unwrap();
        save(job, &step);
        if step.is_done {
            return;
        }
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
