//! A broker, two replicas of the registry connected to it, and the APIs of one of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use switchyard::api::{
    self, AccessUse, AdminTokens, ApiState, Listening, Operations, PingLimit, Recovery, router,
};
use switchyard::bus::{
    AuditStream, Connections, DeadLetterReader, DeadLetterStream, EventPublisher,
    FailedWebhookStream, FunctionClient, JetStreamClient, JobBucket, JobOutcomeCounter,
    ListenerBus, ManagedServer, ParkingStream, PublishGates, ReplayStreamReader, ShadowTallies,
    StreamInspector, Subjects, UnmappedWebhookCounts,
};
use switchyard::clock;
use switchyard::config::Config;
use switchyard::delivery::{
    ChannelPorts, Dispatcher, EgressGuard, HttpSender, NoDeliveryLog, Ports, Random, Shares,
    SubscriptionDirectory,
};
use switchyard::domain::{AppId, InstallationId, ModuleKey, SubscriptionId};
use switchyard::event::NoEventArchive;
use switchyard::listener::{AuthFailures, BodyIntake};
use switchyard::matcher::{Matcher, Subscription};
use switchyard::recovery::account::Accountant;
use switchyard::recovery::jobs::Jobs;
use switchyard::recovery::replay::{EventReader, NoPastSubscriptions, ReplayParts};
use switchyard::recovery::shadow::{NoShadows, ShadowFollower};
use switchyard::registry::{Listeners, ModuleStatus, Registry, Settings, Store};
use switchyard::store::{KvOptions, KvStore};
use switchyard::telemetry::LiveFeed;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::CLIENTS;
use crate::forge_client::{ForgeClient, module};

/// Longest wait under an attack.
const EQUAL_MAX: Duration = Duration::from_secs(120);
/// Size limit of the registry on disk.
const FILE_BYTES_MAX: u64 = 8 << 30;
/// Limit of modules per installation: more than the bench registers.
const MODULES_MAX: usize = 10_000;

pub(crate) struct World {
    server: ManagedServer,
    _folder: TempDir,
    _tasks: JoinSet<()>,
    ours: Arc<Registry>,
    other: Arc<Registry>,
    matcher: Arc<Matcher>,
    bare: KvStore,
    client: ForgeClient,
    tokens: Vec<String>,
}

/// Listening clients, which this bench does not use.
fn listening(
    control: &JetStreamClient,
    subjects: &Subjects,
    (registry, matcher): (&Arc<Registry>, &Arc<Matcher>),
) -> Listening {
    let listeners = Arc::new(Listeners::new(Arc::clone(registry), Arc::clone(matcher)));
    let (_, others) = watch::channel(None);
    let timeout = Duration::from_secs(15);
    let (client, served) = (control.client.clone(), Arc::clone(&listeners));
    let ends = (timeout, CancellationToken::new());
    let relay = ListenerBus::new(client, subjects.clone(), served, others, ends);
    Listening { listeners, relay: Arc::new(relay), timeout }
}

/// Dead letters and jobs, which this bench does not use.
fn recovery(control: &JetStreamClient, subjects: &Subjects, config: &Config) -> Recovery {
    let shares = Arc::new(Shares::new(&config.delivery));
    let (control, subjects) = (|| control.clone(), || subjects.clone());
    let letters = Arc::new(DeadLetterReader::new(control(), subjects(), Arc::clone(&shares)));
    let documents = Arc::new(JobBucket::new(control(), subjects()));
    let replay = ReplayParts {
        streams: Arc::new(ReplayStreamReader::new(control(), subjects(), false)),
        letters: letters.clone(),
        parking: Arc::new(ParkingStream::new(control(), subjects(), shares, Arc::default())),
        log: None,
        directory: Arc::new(NoSubscriptions),
        past: Arc::new(NoPastSubscriptions),
        reader: EventReader::new(Arc::default(), config.limits.event, false),
        jobs: documents.clone(),
    };
    let shadows = ShadowFollower::new(
        Arc::clone(&replay.streams),
        replay.reader.clone(),
        Arc::new(ShadowTallies::new(control(), subjects())),
        Arc::new(NoShadows),
    );
    Recovery {
        shadows: Arc::new(shadows),
        explain_turns: Default::default(),
        backtests: Arc::default(),
        ledger_turn: tokio::sync::Semaphore::new(1),
        accountant: Arc::new(Accountant::new(None, letters.clone())),
        log: None,
        letters,
        jobs: Arc::new(Jobs::new(documents)),
        directory: Arc::new(NoSubscriptions),
        replay,
    }
}

/// What operators inspect, which this bench does not use.
fn operations(
    jet: &JetStreamClient,
    subjects: &Subjects,
    config: &Config,
) -> anyhow::Result<Operations> {
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
    let guard = Arc::new(EgressGuard::new(&config.delivery)?);
    let sender = HttpSender::new(&config.delivery, guard)?;
    let (random, live) = (Random::from_system(), LiveFeed::default());
    let dispatcher = Dispatcher::new(&config.delivery, sender, ports, random, live.clone());
    Ok(Operations {
        replica: api::Replica { name: "bench".into(), started_ms: 0 },
        health: Arc::default(),
        live,
        dispatcher: Arc::new(dispatcher),
        shares,
        publisher: Arc::new(EventPublisher::new(jet(), subjects(), Arc::default())),
        broker: Arc::new(StreamInspector::new(jet(), subjects(), false)),
        broker_address: String::new(),
        configuration: Vec::new(),
        history: Arc::default(),
        pings: PingLimit::default(),
        stop: CancellationToken::new(),
    })
}

struct NoSubscriptions;

impl SubscriptionDirectory for NoSubscriptions {
    fn find(&self, _: &SubscriptionId) -> Option<Arc<Subscription>> {
        None
    }
}

impl World {
    /// Provisions `installations` installations of one app.
    pub(crate) async fn start(installations: usize) -> anyhow::Result<Self> {
        let mut config = Config::defaults()?;
        let folder = tempfile::tempdir()?;
        let server = ManagedServer::start(folder.path(), &binaries(), FILE_BYTES_MAX).await?;
        config.nats = server.client_config(&config.nats);
        let mut tasks = JoinSet::new();
        let matcher = Arc::new(Matcher::default());
        let (connections, ours) = replica(&config, &matcher, &mut tasks).await?;
        let (_, other) = replica(&config, &Arc::default(), &mut tasks).await?;
        let bare = KvOptions { prefix: "bare".into(), replicas: 1 };
        let bare = KvStore::open(connections.control.context.clone(), &bare).await?;
        let subjects = Subjects::new(&config.nats.prefix);
        let routes = router(Arc::new(ApiState {
            registry: Arc::clone(&ours),
            matcher: Arc::clone(&matcher),
            broker: Arc::default(),
            audit: Arc::new(
                AuditStream::open(connections.control.clone(), subjects.clone(), &config).await?,
            ),
            admin_tokens: AdminTokens::default(),
            access: AccessUse::default(),
            body_max: config.limits.body,
            bodies: Arc::new(BodyIntake::new(&config.server)),
            failures: Arc::new(AuthFailures::new(config.server.auth_failures_per_minute)),
            failed_webhooks: Arc::new(FailedWebhookStream::new(
                connections.control.clone(),
                subjects.clone(),
            )),
            refusals: Arc::default(),
            recovery: recovery(&connections.control, &subjects, &config),
            operations: operations(&connections.control, &subjects, &config)?,
            listening: listening(&connections.control, &subjects, (&ours, &matcher)),
            unmapped_webhooks: Arc::new(UnmappedWebhookCounts::new(connections.control, subjects)),
            delivery_log: Arc::new(NoDeliveryLog),
            events: Arc::new(NoEventArchive),
            guard: Arc::new(EgressGuard::new(&config.delivery)?),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = ForgeClient::at(format!("http://{}", listener.local_addr()?));
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the listener ended: {error}");
            }
        });
        let tokens = provision(&ours, installations).await?;
        let _folder = folder;
        Ok(Self { server, _folder, _tasks: tasks, ours, other, matcher, bare, client, tokens })
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// Each installation registers its modules one after the other; returns the time for all.
    pub(crate) async fn register(
        &self,
        installations: Range<usize>,
        modules: usize,
    ) -> anyhow::Result<Duration> {
        let bodies: Vec<_> = (0..modules).map(module).collect();
        let start = clock::tick();
        stream::iter(self.tokens.get(installations).unwrap_or_default())
            .map(Ok)
            .try_for_each_concurrent(CLIENTS, async |token: &String| {
                for body in &bodies {
                    self.client.register(token, body).await?;
                }
                anyhow::Ok(())
            })
            .await?;
        Ok(clock::since(start))
    }

    /// Each installation registers its modules in one request.
    pub(crate) async fn register_batches(
        &self,
        installations: Range<usize>,
        modules: usize,
    ) -> anyhow::Result<Duration> {
        let items: Vec<_> = (0..modules).map(module).collect();
        let start = clock::tick();
        stream::iter(self.tokens.get(installations).unwrap_or_default())
            .map(Ok)
            .try_for_each_concurrent(CLIENTS, async |token: &String| {
                self.client.register_batch(token, &items).await
            })
            .await?;
        Ok(clock::since(start))
    }

    /// Reads and writes a document of `modules` modules for each installation, one after the other:
    /// the minimum work of the broker. Every compare-and-set reads first.
    pub(crate) async fn write_bare(
        &self,
        installations: usize,
        modules: &[usize],
    ) -> anyhow::Result<Duration> {
        let one = module(0).to_string().len() + 200;
        let body = Bytes::from(vec![b' '; one * modules.iter().max().unwrap_or(&0)]);
        let start = clock::tick();
        stream::iter(0..installations)
            .map(Ok)
            .try_for_each_concurrent(CLIENTS, async |installation: usize| {
                let key = format!("bare.{}-{installation}", modules.len());
                for count in modules {
                    let expected = self.bare.get(&key).await?.map(|stored| stored.revision);
                    self.bare.put(&key, body.slice(..one * count), expected).await?;
                }
                anyhow::Ok(())
            })
            .await?;
        Ok(clock::since(start))
    }

    /// Measures the time of registrations until the response and until the other replica has them,
    /// alternately with plain compare-and-set writes of documents of `modules` modules, which are
    /// slowed by the same load of the machine.
    pub(crate) async fn visibility(
        &self,
        samples: usize,
        installations: usize,
        modules: usize,
    ) -> anyhow::Result<[(&'static str, Vec<Duration>); 3]> {
        let (mut written, mut answered, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for sample in 0..samples {
            let start = clock::tick();
            self.write_bare(1, &[modules]).await?;
            written.push(clock::since(start));
            let installation = sample % installations;
            let token = self.tokens.get(installation).context("an installation")?;
            let start = clock::tick();
            let key = self.client.register(token, &module(sample)).await?;
            answered.push(clock::since(start));
            let id = SubscriptionId { installation: name(installation).into(), key: key.into() };
            ensure!(self.ours.subscription(&id).is_some(), "answered before it is visible");
            while self.other.subscription(&id).is_none() {
                tokio::task::yield_now().await;
            }
            seen.push(clock::since(start));
        }
        Ok([
            ("plain compare-and-set is confirmed", written),
            ("registration is confirmed, and matched here", answered),
            ("registration is matched by another replica", seen),
        ])
    }
}

/// What an attack needs of the world.
impl World {
    /// Provisions an installation on a site of its own; returns its token.
    pub(crate) async fn provision_one(&self, name: &str) -> anyhow::Result<String> {
        let spec = json!({"app": "app", "cloudId": name, "product": "jira"});
        let spec = serde_json::from_value(spec)?;
        let put = self.ours.installations().put(&name.into(), spec).await?;
        put.token.map(|token| token.reveal().to_owned()).context("a token")
    }

    pub(crate) async fn register_items(&self, token: &str, items: &[Value]) -> anyhow::Result<()> {
        self.client.register_batch(token, items).await
    }

    pub(crate) async fn set_status(
        &self,
        installation: &InstallationId,
        key: &ModuleKey,
        status: ModuleStatus,
    ) -> anyhow::Result<()> {
        self.ours.module_status().set(installation, key, status).await?;
        Ok(())
    }

    /// Waits until the other replica has applied what this one has.
    pub(crate) async fn wait_until_equal(&self) -> anyhow::Result<()> {
        let revision = self.ours.revision();
        let applied = async {
            while self.other.revision() < revision {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        Ok(tokio::time::timeout(EQUAL_MAX, applied).await?)
    }

    pub(crate) fn index_bytes(&self) -> usize {
        self.matcher.index_bytes()
    }

    /// Registers `samples` modules of different sites one after the other; returns the times until
    /// the response and until the other replica matches them. One that is refused is tried again.
    pub(crate) async fn registrations(&self, samples: usize) -> anyhow::Result<[Vec<Duration>; 2]> {
        let (mut answered, mut seen) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            let installation = sample % self.tokens.len();
            let token = self.tokens.get(installation).context("an installation")?;
            let start = clock::tick();
            let key = loop {
                if let Ok(key) = self.client.register(token, &module(sample)).await {
                    break key;
                }
                ensure!(clock::since(start) < EQUAL_MAX, "no registration within {EQUAL_MAX:?}");
            };
            answered.push(clock::since(start));
            let id = SubscriptionId { installation: name(installation).into(), key: key.into() };
            while self.other.subscription(&id).is_none() {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            seen.push(clock::since(start));
        }
        Ok([answered, seen])
    }
}

async fn replica(
    config: &Config,
    matcher: &Arc<Matcher>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(Connections, Arc<Registry>)> {
    let connections = Connections::open(&config.nats, &config.nats.url).await?;
    let options = KvOptions { prefix: config.nats.prefix.clone(), replicas: 1 };
    let store = KvStore::open(connections.control.context.clone(), &options).await?;
    let mut settings = Settings::new(config, "");
    settings.limits.modules_per_installation = MODULES_MAX;
    settings.limits.registration_rate = 0;
    let registry = Arc::new(Registry::new(Arc::new(store), Arc::clone(matcher), settings));
    tasks.spawn(Arc::clone(&registry).run());
    registry.wait_until_ready().await;
    Ok((connections, registry))
}

fn name(installation: usize) -> String {
    format!("inst-{installation}")
}

/// Provisions the installations; returns their tokens in order.
async fn provision(registry: &Registry, installations: usize) -> anyhow::Result<Vec<String>> {
    let app = json!({"kind": "forge",
        "endpoints": [{"key": "hook", "url": "https://app.example.com/hook"}]});
    let app = serde_json::from_value(app)?;
    registry.apps().put(&AppId::from("app"), app, &|_| Ok(())).await?;
    stream::iter(0..installations)
        .map(async |installation| {
            let site = format!("site-{}", installation % 100);
            let spec = json!({"app": "app", "cloudId": site, "product": "jira"});
            let spec = serde_json::from_value(spec)?;
            let put = registry.installations().put(&name(installation).into(), spec).await?;
            put.token.map(|token| token.reveal().to_owned()).context("a token")
        })
        .buffered(CLIENTS)
        .try_collect()
        .await
}

/// Paths where a `nats-server` may be. The bench runs in the folder of the package.
fn binaries() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/nats/bin/nats-server");
    switchyard::config::nats_server_candidates().into_iter().chain([own]).collect()
}
