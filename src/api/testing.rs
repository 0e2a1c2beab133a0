//! Test doubles of the HTTP tests: the API of one replica, a stream in memory, and responses read
//! whole.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::access::AccessUse;
use super::health::Health;
use super::ingest::{EventsState, IngestState, SiteRules};
use super::scrape::{MetricsAccess, Scrape};
use super::{
    AdminTokens, ApiParts, ApiState, Listening, Operations, OwnHosts, PingLimit, Recovery, Replica,
    Shared, routes,
};
use crate::audit::testing::MemoryAuditLog;
use crate::config::Config;
use crate::delivery::testing::memory_dispatcher;
use crate::delivery::{
    EgressGuard, FailedWebhook, FailedWebhooks, NoDeliveryLog, Shares, SubscriptionDirectory,
};
use crate::domain::Secret;
use crate::domain::{AppId, CloudId, InstallationId, SubscriptionId};
use crate::event::{
    Envelope, NoEventArchive, PublishError, Published, Publisher, UnmappedNames, UnmappedWebhooks,
};
use crate::listener::{AuthFailures, BodyIntake};
use crate::matcher::{Matcher, Subscription};
use crate::recovery::account::Accountant;
use crate::recovery::doctor::{BrokerFacts, BrokerInspector};
use crate::recovery::explain::ExplainTurns;
use crate::recovery::jobs::Jobs;
use crate::recovery::jobs::testing::MemoryJobs;
use crate::recovery::redrive::testing::MemoryLetters;
use crate::recovery::replay::testing::MemoryStreams;
use crate::recovery::shadow::testing::follower;
use crate::registry::testing::MemoryStore;
use crate::registry::{
    ListenError, ListenerRecord, ListenerRelay, Listeners, OpenListener, Registry, Settings,
};
use crate::telemetry::LiveFeed;
use crate::telemetry::subscriptions::TopSubscriptions;

mod answers;

use answers::Answers;

pub(super) const ADMIN: &str = "admin-token";
pub(super) const APP: &str = "/admin/v1/apps/ari%3Acloud%3Aecosystem%3A%3Aapp%2F1";
pub(super) const MODULES: &str = "/forge/installation/v2/dynamic/module";
pub(super) const BODY_MAX: usize = 16 * 1024;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// No listener can begin.
struct NoRelay;

impl ListenerRelay for NoRelay {
    fn open(&self, _: ListenerRecord) -> BoxFuture<'_, Result<OpenListener, ListenError>> {
        Box::pin(async { Err(ListenError::TooMany(0)) })
    }

    fn answer<'a>(
        &'a self,
        _: &'a InstallationId,
        _: &'a str,
        _: Bytes,
    ) -> BoxFuture<'a, Result<bool, ListenError>> {
        Box::pin(async { Ok(false) })
    }
}

/// The API of one replica, with the installation `inst-a` of a Forge app.
pub(super) struct TestApi {
    pub(super) state: Shared,
    pub(super) router: Router,
    pub(super) document: Arc<Value>,
    answers: Answers,
    pub(super) token: String,
    pub(super) audit: Arc<MemoryAuditLog>,
    _run: JoinSet<()>,
}

impl TestApi {
    pub(super) async fn start() -> Self {
        Self::start_with(0, 0, Matcher::default()).await
    }

    pub(super) async fn start_with(
        registration_rate: u32,
        registration_burst: u32,
        matcher: Matcher,
    ) -> Self {
        let mut config = Config::defaults().unwrap();
        config.limits.registration_rate = registration_rate;
        config.limits.registration_burst = registration_burst;
        let settings = Settings::new(&config, "");
        let matcher = Arc::new(matcher);
        let registry = Registry::new(MemoryStore::new(), Arc::clone(&matcher), settings);
        let registry = Arc::new(registry);
        let mut run = JoinSet::new();
        run.spawn(Arc::clone(&registry).run());
        timeout(Duration::from_secs(5), registry.wait_until_ready()).await.unwrap();
        let admin_tokens = AdminTokens::new(Secret::new(ADMIN), Vec::new());
        let config = Config::defaults().unwrap();
        let guard = Arc::new(EgressGuard::new(&config.delivery).unwrap());
        let listeners = Listeners::new(Arc::clone(&registry), Arc::clone(&matcher));
        let listening = Listening {
            listeners: Arc::new(listeners),
            relay: Arc::new(NoRelay),
            timeout: Duration::from_secs(1),
        };
        let audit = Arc::<MemoryAuditLog>::default();
        let state = ApiState {
            registry,
            matcher,
            broker: Arc::default(),
            listening,
            admin_tokens,
            access: AccessUse::default(),
            audit: Arc::clone(&audit) as _,
            body_max: BODY_MAX,
            bodies: Arc::new(BodyIntake::new(&config.server)),
            failures: Arc::new(AuthFailures::new(config.server.auth_failures_per_minute)),
            failed_webhooks: Arc::new(NoFailedWebhooks),
            unmapped_webhooks: Arc::new(NoUnmappedWebhooks),
            refusals: Arc::default(),
            delivery_log: Arc::new(NoDeliveryLog),
            events: Arc::new(NoEventArchive),
            guard,
            recovery: no_recovery(),
            operations: operations(),
        };
        let state = Arc::new(state);
        let (router, document) = routes(parts(Arc::clone(&state), &config));
        let answers = Answers::of(&document);
        let mut api =
            Self { state, router, document, answers, audit, token: String::new(), _run: run };
        api.admin("PUT", APP, app(json!({}))).await;
        let installation =
            json!({"app": "ari:cloud:ecosystem::app/1", "cloudId": "c", "product": "jira"});
        let answer = api.admin("PUT", "/admin/v1/installations/inst-a", installation).await;
        api.token = answer.body["token"].as_str().unwrap().to_owned();
        api
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        self.answers.check(&method, &path, parts.status.as_u16(), &body).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(request(method, path, ADMIN).body(Body::from(body.to_string())).unwrap()).await
    }

    pub(super) async fn forge(&self, method: &str, path: &str, body: Value) -> Answer {
        let request = request(method, path, &self.token);
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(super) async fn register(&self) -> String {
        let answer = self.forge("POST", MODULES, trigger()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.body["key"].as_str().unwrap().to_owned()
    }
}

/// The other APIs of the replica, on a stream in memory.
fn parts(state: Shared, config: &Config) -> ApiParts {
    let publisher = Arc::new(MemoryStream::default());
    let events = EventsState {
        publisher: Arc::clone(&publisher) as _,
        body_bytes_max: BODY_MAX,
        event_bytes_max: BODY_MAX,
        bodies: intake(),
        refusals: Arc::default(),
        broker: Arc::clone(&state.broker),
        directory: Arc::clone(&state.registry) as _,
        allows_unknown_types: false,
    };
    let ingest = IngestState {
        publisher,
        directory: Arc::clone(&state.registry) as _,
        rules: Arc::new(SiteRules { sites: HashMap::new(), is_open: false }),
        bodies: intake(),
        failures: Arc::clone(&state.failures),
        refusals: Arc::default(),
        body_bytes_max: BODY_MAX,
        event_bytes_max: BODY_MAX,
    };
    let scrape = Scrape {
        process: PrometheusBuilder::new().build_recorder().handle(),
        top: Arc::new(TopSubscriptions::new(1, HashSet::new())),
        registry: Arc::clone(&state.registry),
        matcher: Arc::clone(&state.matcher),
        shares: Arc::new(Shares::new(&config.delivery)),
        dispatcher: Arc::clone(&state.operations.dispatcher),
        refusals: Arc::default(),
        access: MetricsAccess {
            token: None,
            hosts: OwnHosts::default(),
            is_open: true,
            api: Arc::clone(&state),
        },
    };
    ApiParts { state, events, ingest, health: Arc::new(Health::default()), scrape }
}

pub(super) fn request(method: &str, path: &str, token: &str) -> axum::http::request::Builder {
    let bearer = format!("Bearer {token}");
    Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer)
}

pub(super) fn app(changes: Value) -> Value {
    let mut app = json!({"kind": "forge", "functions": ["main"],
        "endpoints": [{"key": "hook", "url": "https://app.example.com/"}]});
    let (Value::Object(app_members), Value::Object(changes)) = (&mut app, changes) else {
        panic!("objects")
    };
    app_members.extend(changes);
    app
}

pub(super) fn trigger() -> Value {
    json!({"type": "trigger", "data": {"events": ["avi:jira:updated:issue"], "endpoint": "hook"}})
}

pub(super) fn message(answer: &Answer) -> &str {
    answer.body["message"].as_str().unwrap()
}

/// What operators inspect of a replica without a broker.
pub(super) fn operations() -> Operations {
    let config = Config::defaults().unwrap();
    Operations {
        replica: Replica { name: "test/1".into(), started_ms: 1_000 },
        health: Arc::default(),
        live: LiveFeed::default(),
        dispatcher: memory_dispatcher(),
        shares: Arc::new(Shares::new(&config.delivery)),
        publisher: Arc::new(MemoryStream::default()),
        broker: Arc::new(NoBroker),
        broker_address: "nats://127.0.0.1:4222".into(),
        configuration: Vec::new(),
        history: Arc::default(),
        pings: PingLimit::default(),
        stop: CancellationToken::new(),
    }
}

/// A broker that does not answer.
struct NoBroker;

impl BrokerInspector for NoBroker {
    fn facts(&self) -> BoxFuture<'_, Result<BrokerFacts, String>> {
        Box::pin(async { Err("timed out".to_owned()) })
    }
}

/// Recovery without dead letters and subscriptions.
pub(super) fn no_recovery() -> Recovery {
    let letters = MemoryLetters::of([]);
    Recovery {
        ledger_turn: Semaphore::new(1),
        explain_turns: ExplainTurns::default(),
        backtests: Arc::default(),
        accountant: Arc::new(Accountant::new(None, Arc::clone(&letters) as _)),
        letters,
        jobs: Arc::new(Jobs::new(MemoryJobs::new())),
        directory: Arc::new(NoSubscriptions),
        replay: MemoryStreams::default().parts(Arc::new(NoSubscriptions)),
        shadows: Arc::new(follower(&Arc::default(), &Arc::default(), &Arc::default())),
        log: None,
    }
}

/// A directory without subscriptions.
struct NoSubscriptions;

impl SubscriptionDirectory for NoSubscriptions {
    fn find(&self, _: &SubscriptionId) -> Option<Arc<Subscription>> {
        None
    }
}

/// A stream with one webhook that maps to no event.
pub(super) struct NoUnmappedWebhooks;

impl UnmappedWebhooks for NoUnmappedWebhooks {
    fn list<'a>(
        &'a self,
        site: &'a CloudId,
        _: usize,
    ) -> BoxFuture<'a, Result<UnmappedNames, String>> {
        let names = if site.as_str() == "c" { vec![("lantern_lit".to_owned(), 2)] } else { vec![] };
        Box::pin(async { Ok(UnmappedNames { names, other: 7, is_cut: false }) })
    }
}

/// A store of failed webhooks that is empty.
pub(super) struct NoFailedWebhooks;

impl FailedWebhooks for NoFailedWebhooks {
    fn list<'a>(
        &'a self,
        _: &'a AppId,
        _: &'a InstallationId,
        _: i64,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<FailedWebhook>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Stores events in memory and deduplicates by identity, as the broker does.
#[derive(Default)]
pub(super) struct MemoryStream {
    events: Mutex<Vec<(Envelope, Bytes)>>,
    /// While set, no publish is confirmed.
    pub(super) is_down: AtomicBool,
    /// Events from which on it does not answer; 0 = it always does.
    pub(super) silent_from: AtomicUsize,
    /// Events that it has space for; 0 = any number.
    pub(super) events_max: AtomicUsize,
    /// Seconds for which publishing is refused; 0 = accepted.
    pub(super) refuse_for_s: AtomicU64,
    /// Largest message; 0 = any size.
    pub(super) message_bytes_max: AtomicUsize,
    running: AtomicUsize,
    /// Highest number of concurrent publishes.
    pub(super) running_max: AtomicUsize,
}

impl MemoryStream {
    pub(super) fn events(&self) -> Vec<(Envelope, Bytes)> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn identities(&self) -> Vec<String> {
        self.events().iter().map(|(envelope, _)| envelope.identity()).collect()
    }

    fn store(&self, envelope: Envelope, body: Bytes) -> Result<Published, PublishError> {
        if self.is_down.load(SeqCst) {
            return Err(PublishError::Unconfirmed { waited_ms: 2000 });
        }
        let mut events = self.events.lock().unwrap();
        let known = events.iter().position(|(held, _)| held.identity() == envelope.identity());
        let at = known.unwrap_or(events.len());
        let events_max = self.events_max.load(SeqCst);
        if known.is_none() && events_max > 0 && events.len() >= events_max {
            return Err(PublishError::Full { reason: "maximum bytes exceeded".into() });
        }
        if known.is_none() {
            events.push((envelope, body));
        }
        Ok(Published { sequence: at as u64 + 1, duplicate: known.is_some() })
    }
}

impl Publisher for MemoryStream {
    fn publish(
        &self,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Published, PublishError>> {
        Box::pin(async move {
            let running = self.running.fetch_add(1, SeqCst) + 1;
            self.running_max.fetch_max(running, SeqCst);
            tokio::task::yield_now().await;
            self.running.fetch_sub(1, SeqCst);
            let silent_from = self.silent_from.load(SeqCst);
            if silent_from > 0 && self.events.lock().unwrap().len() >= silent_from {
                std::future::pending::<()>().await;
            }
            self.store(envelope, body)
        })
    }

    fn message_bytes_max(&self) -> usize {
        match self.message_bytes_max.load(SeqCst) {
            0 => usize::MAX,
            max => max,
        }
    }

    fn refuse_for_s(&self) -> Option<u64> {
        Some(self.refuse_for_s.load(SeqCst)).filter(|seconds| *seconds > 0)
    }
}

/// An intake with the default bounds.
pub(super) fn intake() -> Arc<BodyIntake> {
    Arc::new(BodyIntake::new(&Config::defaults().unwrap().server))
}

/// Posts `body` to `path` and returns status, headers and JSON of the response.
pub(super) async fn post(
    routes: impl Into<Router>,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = routes.into().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, parts.headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
