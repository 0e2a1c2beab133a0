//! Registration over HTTP with a real broker: the recorded cases of each API, and durability.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use switchyard::api::{
    self, AccessUse, AdminTokens, ApiState, Listening, Operations, PingLimit, Recovery, router,
};
use switchyard::bus::{
    AuditStream, Connections, DeadLetterReader, DeadLetterStream, EventPublisher,
    FailedWebhookStream, FunctionClient, JetStreamClient, JobBucket, JobOutcomeCounter,
    ListenerBus, ParkingStream, PublishGates, ReplayStreamReader, ShadowTallies, StreamInspector,
    Subjects, UnmappedWebhookCounts, streams,
};
use switchyard::config::Config;
use switchyard::delivery::{
    ChannelPorts, Dispatcher, EgressGuard, HttpSender, NoDeliveryLog, Ports, Random, Shares,
    SubscriptionDirectory,
};
use switchyard::domain::{ModuleKey, Secret, SubscriptionId};
use switchyard::event::NoEventArchive;
use switchyard::listener::{AuthFailures, BodyIntake};
use switchyard::matcher::{Matcher, Subscription};
use switchyard::recovery::account::Accountant;
use switchyard::recovery::jobs::Jobs;
use switchyard::recovery::replay::{EventReader, NoPastSubscriptions, ReplayParts};
use switchyard::recovery::shadow::{NoShadows, ShadowFollower};
use switchyard::registry::{
    Listeners, ModuleRecord, ModuleSpec, RegisterError, RegistrationApi, Registry, Settings, Store,
    StoreError,
};
use switchyard::store::{KvOptions, KvStore};
use switchyard::telemetry::LiveFeed;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::WAIT_MAX;
use crate::support::nats::NatsServer;

const ADMIN_TOKEN: &str = "admin-token-of-the-tests";
const READY_TIMEOUT: Duration = WAIT_MAX;
const CASES_TIMEOUT: Duration = Duration::from_secs(120);

/// Registry and APIs of one replica on their own port; stopped on drop.
struct Replica {
    registry: Arc<Registry>,
    base: String,
    _tasks: JoinSet<()>,
}

impl Replica {
    async fn start(broker: &NatsServer) -> Self {
        let options = KvOptions { prefix: "sw".into(), replicas: 1 };
        let store = KvStore::open(broker.router_context().await, &options).await.expect("a bucket");
        let matcher = Arc::new(Matcher::default());
        let registry = Registry::new(Arc::new(store), Arc::clone(&matcher), settings());
        let registry = Arc::new(registry);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&registry).run());
        timeout(READY_TIMEOUT, registry.wait_until_ready()).await.expect("the registry gets ready");
        let mut config = Config::defaults().expect("valid defaults");
        config.delivery.allow_http = true;
        config.delivery.allow_ports = vec!["any".into()];
        config.delivery.allow_cidrs = vec!["127.0.0.0/8".parse().expect("a range")];
        let listening = listening(broker, (&registry, &matcher)).await;
        let routes = router(Arc::new(ApiState {
            registry: Arc::clone(&registry),
            matcher,
            broker: Arc::default(),
            listening,
            audit: audit_log(broker, &config).await,
            admin_tokens: AdminTokens::new(Secret::new(ADMIN_TOKEN), Vec::new()),
            access: AccessUse::default(),
            body_max: 1 << 20,
            bodies: Arc::new(BodyIntake::new(&config.server)),
            failures: Arc::new(AuthFailures::new(config.server.auth_failures_per_minute)),
            failed_webhooks: failed_webhooks(broker).await,
            refusals: Arc::default(),
            unmapped_webhooks: unmapped_webhooks(broker).await,
            delivery_log: Arc::new(NoDeliveryLog),
            events: Arc::new(NoEventArchive),
            guard: Arc::new(EgressGuard::new(&config.delivery).expect("valid rules")),
            recovery: recovery(broker, &config).await,
            operations: operations(&control(broker).await, &Subjects::new("sw"), &config),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tasks.spawn(async move {
            axum::serve(listener, routes).await.expect("the listener works");
        });
        Self { registry, base, _tasks: tasks }
    }
}

async fn audit_log(broker: &NatsServer, config: &Config) -> Arc<AuditStream> {
    let opened = AuditStream::open(control(broker).await, Subjects::new("sw"), config).await;
    Arc::new(opened.expect("the audit log"))
}

async fn unmapped_webhooks(broker: &NatsServer) -> Arc<UnmappedWebhookCounts> {
    let config = Config::defaults().expect("the defaults");
    let opened = Connections::open(&config.nats, &[broker.url()]).await;
    let jet = opened.expect("connections").control;
    Arc::new(UnmappedWebhookCounts::new(jet, Subjects::new(&config.nats.prefix)))
}

/// What operators inspect, over the broker.
fn operations(jet: &JetStreamClient, subjects: &Subjects, config: &Config) -> Operations {
    let (shares, gates) = (Arc::new(Shares::new(&config.delivery)), Arc::<PublishGates>::default());
    let (jet, subjects) = (|| jet.clone(), || subjects.clone());
    let letters = Arc::new(DeadLetterReader::new(jet(), subjects(), Arc::clone(&shares)));
    let ports = Ports {
        channels: ChannelPorts {
            functions: Arc::new(FunctionClient::new(jet().client)),
            keys: Arc::default(),
        },
        parking: Arc::new(ParkingStream::new(jet(), subjects(), shares.clone(), gates.clone())),
        dead_letters: Arc::new(DeadLetterStream::new(jet(), subjects(), shares.clone(), gates)),
        jobs: Arc::new(JobOutcomeCounter::new(jet(), subjects(), letters)),
        endpoint_reports: tokio::sync::mpsc::channel(1).0,
        log: None,
    };
    let guard = Arc::new(EgressGuard::new(&config.delivery).expect("valid rules"));
    let sender = HttpSender::new(&config.delivery, guard).expect("a sender");
    let (random, live) = (Random::from_system(), LiveFeed::default());
    let dispatcher = Dispatcher::new(&config.delivery, sender, ports, random, live.clone());
    Operations {
        replica: api::Replica { name: "test".into(), started_ms: 0 },
        health: Arc::default(),
        live,
        dispatcher: Arc::new(dispatcher),
        shares,
        publisher: Arc::new(EventPublisher::new(jet(), subjects(), Arc::default())),
        broker: Arc::new(StreamInspector::new(jet(), subjects(), false)),
        broker_address: "nats://127.0.0.1:4222".into(),
        configuration: Vec::new(),
        history: Arc::default(),
        pings: PingLimit::default(),
        stop: CancellationToken::new(),
    }
}

async fn control(broker: &NatsServer) -> JetStreamClient {
    let config = Config::defaults().expect("the defaults");
    let opened = Connections::open(&config.nats, &[broker.url()]).await;
    opened.expect("connections").control
}

/// Listening clients over the broker, of this replica alone.
async fn listening(
    broker: &NatsServer,
    (registry, matcher): (&Arc<Registry>, &Arc<Matcher>),
) -> Listening {
    let listeners = Arc::new(Listeners::new(Arc::clone(registry), Arc::clone(matcher)));
    let (_, others) = tokio::sync::watch::channel(None);
    let timeout = Duration::from_secs(15);
    let relay = ListenerBus::new(
        broker.client().await,
        Subjects::new("sw"),
        Arc::clone(&listeners),
        others,
        (timeout, CancellationToken::new()),
    );
    Listening { listeners, relay: Arc::new(relay), timeout }
}

/// Recovery over the broker; no subscription is known.
async fn recovery(broker: &NatsServer, config: &Config) -> Recovery {
    let opened = Connections::open(&config.nats, &[broker.url()]).await;
    let jet = opened.expect("connections").control;
    let subjects = Subjects::new(&config.nats.prefix);
    let shares = Arc::new(Shares::new(&config.delivery));
    let (jet, subjects) = (|| jet.clone(), || subjects.clone());
    let letters = Arc::new(DeadLetterReader::new(jet(), subjects(), Arc::clone(&shares)));
    let documents = Arc::new(JobBucket::new(jet(), subjects()));
    let replay = ReplayParts {
        streams: Arc::new(ReplayStreamReader::new(jet(), subjects(), false)),
        letters: letters.clone(),
        parking: Arc::new(ParkingStream::new(jet(), subjects(), shares, Arc::default())),
        log: None,
        directory: Arc::new(NoSubscriptions),
        past: Arc::new(NoPastSubscriptions),
        reader: EventReader::new(Arc::default(), config.limits.event, false),
        jobs: documents.clone(),
    };
    let shadows = ShadowFollower::new(
        Arc::clone(&replay.streams),
        replay.reader.clone(),
        Arc::new(ShadowTallies::new(jet(), subjects())),
        Arc::new(NoShadows),
    );
    Recovery {
        shadows: Arc::new(shadows),
        ledger_turn: tokio::sync::Semaphore::new(1),
        explain_turns: Default::default(),
        backtests: Arc::default(),
        accountant: Arc::new(Accountant::new(None, letters.clone())),
        log: None,
        letters,
        jobs: Arc::new(Jobs::new(documents)),
        directory: Arc::new(NoSubscriptions),
        replay,
    }
}

struct NoSubscriptions;

impl SubscriptionDirectory for NoSubscriptions {
    fn find(&self, _: &SubscriptionId) -> Option<Arc<Subscription>> {
        None
    }
}

async fn failed_webhooks(broker: &NatsServer) -> Arc<FailedWebhookStream> {
    let config = Config::defaults().expect("the defaults");
    let opened = Connections::open(&config.nats, &[broker.url()]).await;
    let jet = opened.expect("connections").control;
    let subjects = Subjects::new(&config.nats.prefix);
    streams::ensure(&jet, &subjects, &config.nats, &config.events, &config.delivery)
        .await
        .expect("streams");
    Arc::new(FailedWebhookStream::new(jet, subjects))
}

fn settings() -> Settings {
    Settings::new(&Config::defaults().expect("defaults"), "")
}

/// A Forge app installed as `inst-a`.
async fn provision(registry: &Registry) {
    let app = json!({"kind": "forge", "functions": ["main"]});
    let app = serde_json::from_value(app).expect("an app");
    registry.apps().put(&"app-1".into(), app, &|_| Ok(())).await.expect("the app is taken");
    let installation = json!({"app": "app-1", "cloudId": "cloud-1", "product": "jira"});
    let installation = serde_json::from_value(installation).expect("an installation");
    let put = registry.installations().put(&"inst-a".into(), installation).await;
    put.expect("the installation is taken");
}

fn trigger() -> ModuleSpec {
    let data = json!({"events": ["avi:jira:created:issue"], "function": "main"});
    let data = data.as_object().cloned().expect("an object");
    ModuleSpec { module_type: "trigger".into(), data, api: RegistrationApi::ForgeV2 }
}

fn modules(replica: &Replica) -> Vec<ModuleRecord> {
    let installation = replica.registry.installation("inst-a").expect("an installation");
    installation.record.modules.clone()
}

/// Runs the cases of a file; returns the number of requests that `check` judged, too.
async fn run_cases(replica: &Replica, file: &str) -> usize {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let child = Command::new("python3")
        .arg(tests.join("tools/registration_cases.py"))
        .args(["--base", &replica.base, "--admin-token", ADMIN_TOKEN])
        // Checking offline must find what the API finds.
        .args(["--check", env!("CARGO_BIN_EXE_switchyard")])
        .arg(tests.join("cases/registration").join(file))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(CASES_TIMEOUT, child).await.expect("the cases end").expect("python3");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}:\n{text}{errors}");
    let judged =
        text.lines().find_map(|line| line.strip_suffix(" requests judged alike by `check`"));
    judged.and_then(|count| count.parse().ok()).expect("the number of requests that were compared")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forge_api_passes_the_recorded_cases_of_both_versions() {
    let broker = NatsServer::start().await;
    let replica = Replica::start(&broker).await;
    assert!(run_cases(&replica, "forge-v2.json").await > 30);
    assert!(run_cases(&replica, "forge-v1.json").await > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_judged_as_records_descriptors_and_manifests_alike() {
    let broker = NatsServer::start().await;
    let replica = Replica::start(&broker).await;
    assert!(run_cases(&replica, "apps.json").await > 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_api_passes_the_recorded_cases_of_both_products() {
    let broker = NatsServer::start().await;
    let replica = Replica::start(&broker).await;
    let mut judged = 0;
    for file in ["connect-auth.json", "connect-jira.json", "connect-confluence.json"] {
        judged += run_cases(&replica, file).await;
    }
    assert!(judged > 20, "{judged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhook_api_passes_the_recorded_cases() {
    let broker = NatsServer::start().await;
    let replica = Replica::start(&broker).await;
    assert!(run_cases(&replica, "jira-webhooks.json").await > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_registrations_survive_a_killed_broker() {
    let mut broker = NatsServer::start().await;
    let first = Replica::start(&broker).await;
    provision(&first.registry).await;
    for _ in 0..20 {
        first
            .registry
            .forge_modules()
            .register(&"inst-a".into(), trigger(), None)
            .await
            .expect("confirmed");
    }
    let confirmed = modules(&first);
    broker.kill();
    let refused = first.registry.forge_modules().register(&"inst-a".into(), trigger(), None).await;
    assert!(refused.is_err_and(|error| error.is_in_doubt()));
    broker.kill_and_restart().await;

    let second = Replica::start(&broker).await;
    let kept: Vec<_> = modules(&second).into_iter().take(confirmed.len()).collect();
    assert_eq!(kept, confirmed);
    // The replica that was running registers another module, and both replicas list it.
    let later = register_when_back(&first.registry).await;
    let applied = async {
        while second.registry.forge_modules().module(&"inst-a".into(), &later.key).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(READY_TIMEOUT, applied).await.expect("the other replica applies it");
}

/// Registers as soon as the connection is restored, as a client that retries on 503.
async fn register_when_back(registry: &Registry) -> ModuleRecord {
    let attempts = async {
        loop {
            match registry.forge_modules().register(&"inst-a".into(), trigger(), None).await {
                Ok(registered) => return registered.module,
                Err(error) => assert!(error.is_in_doubt(), "{error}"),
            }
        }
    };
    timeout(READY_TIMEOUT, attempts).await.expect("the connection is restored")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_registrations_at_two_replicas_end_at_exactly_the_limit() {
    let broker = NatsServer::start().await;
    let replicas = [Replica::start(&broker).await, Replica::start(&broker).await];
    provision(&replicas[0].registry).await;
    let mut calls = JoinSet::new();
    for number in 0..130 {
        let registry = Arc::clone(&replicas[number % 2].registry);
        calls.spawn(async move {
            loop {
                match registry.forge_modules().register(&"inst-a".into(), trigger(), None).await {
                    Err(RegisterError::NotFound) => tokio::task::yield_now().await,
                    other => return other.is_ok(),
                }
            }
        });
    }
    let accepted = calls.join_all().await.into_iter().filter(|accepted| *accepted).count();
    assert_eq!(accepted, settings().limits.modules_per_installation);
    assert_eq!(modules(&replicas[0]).len(), settings().limits.modules_per_installation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_that_write_one_key_one_wins_and_the_other_gets_a_conflict() {
    let broker = NatsServer::start().await;
    let replicas = [Replica::start(&broker).await, Replica::start(&broker).await];
    provision(&replicas[0].registry).await;
    let until_applied = async |registry: &Registry, key: Option<&ModuleKey>| {
        let is_known = || match key {
            None => registry.installation("inst-a").is_some(),
            Some(key) => registry.forge_modules().module(&"inst-a".into(), key).is_ok(),
        };
        let known = async {
            while !is_known() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(READY_TIMEOUT, known).await.expect("the other replica applies it");
    };
    until_applied(&replicas[1].registry, None).await;
    let id = "inst-a".into();
    let [first, second] = replicas.each_ref().map(|replica| &replica.registry);
    for round in 0..10 {
        let key = || Some(format!("key-{round}").into());
        let (one, other) = tokio::join!(
            first.forge_modules().register(&id, trigger(), key()),
            second.forge_modules().register(&id, trigger(), key())
        );
        assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1, "round {round}");
        let registered = one.or(other).expect("one of them").module;
        let (key, seen) = (registered.key, Some(registered.revision));
        until_applied(first, Some(&key)).await;
        until_applied(second, Some(&key)).await;
        let (one, other) = tokio::join!(
            first.forge_modules().replace(&id, &key, trigger(), seen),
            second.forge_modules().replace(&id, &key, trigger(), seen)
        );
        assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1, "round {round}");
        let lost = one.err().or(other.err());
        assert!(matches!(lost, Some(RegisterError::StaleRevision)), "{lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_whose_ack_was_lost_is_not_a_conflict() {
    let broker = NatsServer::start().await;
    let options = KvOptions { prefix: "sw".into(), replicas: 1 };
    let store = KvStore::open(broker.router_context().await, &options).await.expect("a bucket");
    // A frozen broker receives the first request but answers too late: it is sent again.
    broker.freeze();
    let thaw = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        broker.thaw();
    };
    let (written, ()) = tokio::join!(store.put("app.a", "1".into(), None), thaw);
    let stored = store.get("app.a").await.expect("an answer").expect("a document");
    assert_eq!(written.expect("the repeated write is recognised"), stored.revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_create_one_bucket() {
    let broker = NatsServer::start().await;
    for round in 0..20 {
        let mut opening = JoinSet::new();
        for _ in 0..4 {
            let options = KvOptions { prefix: format!("r{round}"), replicas: 1 };
            let context = broker.router_context().await;
            opening.spawn(async move { KvStore::open(context, &options).await.map(drop) });
        }
        for opened in opening.join_all().await {
            opened.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn document_can_be_deleted_and_created_again() {
    let broker = NatsServer::start().await;
    let options = KvOptions { prefix: "sw".into(), replicas: 1 };
    let store = KvStore::open(broker.router_context().await, &options).await.expect("a bucket");
    let first = store.put("app.a", "1".into(), None).await.expect("made");
    assert!(matches!(store.put("app.a", "2".into(), None).await, Err(StoreError::Conflict)));
    assert!(matches!(store.delete("app.a", first + 1).await, Err(StoreError::Conflict)));
    let deleted = store.delete("app.a", first).await.expect("deleted");
    assert_eq!(store.get("app.a").await.expect("an answer"), None);
    let again = store.put("app.a", "3".into(), None).await.expect("made again");
    assert!(first < deleted && deleted < again);
    let large = vec![b'x'; 2 << 20].into();
    let refused = store.put("app.a", large, Some(again)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let stored = store.get("app.a").await.expect("an answer").expect("a document");
    assert_eq!((&*stored.value, stored.revision), (b"3" as &[u8], again));
}
