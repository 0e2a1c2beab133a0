//! Health probes, answered from memory without waiting for the broker.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admit::{client_of, refused};
use super::auth::operator;
use super::error::ApiError;
use super::schema::{DeepHealth, ProbeAnswer};
use super::state::Shared;
use crate::clock;

/// Age of the heartbeat above which the scheduler counts as stuck.
const HEARTBEAT_MS_MAX: i64 = 5_000;
/// Age of the checks of the broker above which they say nothing.
const CHECKS_MS_MAX: i64 = 15_000;

/// The state that probes read; the stages write it.
#[derive(Debug, Default)]
pub struct Health {
    /// The registry is loaded, and streams and consumers exist.
    pub started: AtomicBool,
    /// The broker does not store parked deliveries or dead letters.
    pub writes_blocked: AtomicBool,
    /// Registry documents that cannot be read. No reason to be unready: they stop only their own
    /// installations.
    pub unreadable_documents: AtomicUsize,
    /// The router is stopping.
    pub draining: AtomicBool,
    /// When the heartbeat task last ran, milliseconds of monotonic time.
    pub heartbeat_ms: AtomicI64,
    broker: Mutex<Option<BrokerChecks>>,
}

/// The checks of the last round.
#[derive(Debug)]
struct BrokerChecks {
    /// Milliseconds of monotonic time.
    at_ms: i64,
    checks: Vec<CheckView>,
}

/// The state of one check of the broker.
#[derive(Clone, Debug)]
pub struct CheckView {
    /// Its name.
    pub check: &'static str,
    /// `passed`, `failing` or `not_checked`.
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// What fails, as `/healthz/ready` names it.
    pub failure: Option<String>,
}

impl CheckView {
    /// Returns what fails.
    #[must_use]
    pub fn failing(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

impl Health {
    /// Publishes the checks of a round.
    pub fn set_checks(&self, checks: Vec<CheckView>) {
        let round = BrokerChecks { at_ms: clock::uptime_ms(), checks };
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
    }

    fn failing(&self) -> Vec<String> {
        let own = [
            (self.started.load(Relaxed), "starting"),
            (!self.writes_blocked.load(Relaxed), "broker stores no deliveries"),
            (!self.draining.load(Relaxed), "draining"),
        ];
        let own = own.into_iter().filter(|(holds, _)| !holds).map(|(_, name)| name.to_owned());
        own.chain(self.failing_checks()).collect()
    }

    fn failing_checks(&self) -> Vec<String> {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(round) = broker.as_ref() else { return vec!["broker not checked yet".into()] };
        if clock::uptime_ms().saturating_sub(round.at_ms) > CHECKS_MS_MAX {
            return vec!["broker not checked lately".into()];
        }
        round.checks.iter().filter_map(|check| check.failure.clone()).collect()
    }

    /// What an operator should look at although the router is ready.
    fn degraded(&self) -> Vec<String> {
        let unreadable = self.unreadable_documents.load(Relaxed);
        let text = format!("registry documents that cannot be read: {unreadable}");
        (unreadable > 0).then_some(text).into_iter().collect()
    }

    fn report(&self) -> Value {
        let failing = self.failing();
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let checks = broker.iter().flat_map(|round| &round.checks).map(|check| {
            json!({ "check": check.check, "state": check.state,
                "since": check.since.to_string(), "failure": check.failure })
        });
        let skew_s = clock::skew().map(|skew| skew.as_secs_f64());
        json!({ "status": if failing.is_empty() { "ok" } else { "failing" }, "failing": failing,
            "degraded": self.degraded(), "checks": Vec::from_iter(checks), "clockSkewSeconds": skew_s })
    }
}

/// What the probes need.
#[derive(Clone)]
struct Probes {
    health: Arc<Health>,
    api: Shared,
}

/// Returns the routes `GET /healthz/startup`, `/healthz/live`, `/healthz/ready`, and `/healthz/deep` for operators.
pub fn probes(health: Arc<Health>, api: Shared) -> OpenApiRouter {
    let all = [routes!(startup), routes!(live), routes!(ready), routes!(deep)];
    let router = all.into_iter().fold(OpenApiRouter::default(), OpenApiRouter::routes);
    router.with_state(Probes { health, api })
}

/// Says whether the router has started.
#[utoipa::path(
    get, path = "/healthz/startup", operation_id = "probeStartup",
    responses((status = 200, description = "It is.", body = ProbeAnswer),
        (status = 503, description = "It is not.", body = ProbeAnswer))
)]
async fn startup(State(probes): State<Probes>) -> Response {
    let started = probes.health.started.load(Relaxed);
    probe_response(if started { Vec::new() } else { vec!["starting".into()] })
}

/// Says whether the router runs.
#[utoipa::path(
    get, path = "/healthz/live", operation_id = "probeLive",
    responses((status = 200, description = "It is.", body = ProbeAnswer),
        (status = 503, description = "It is not.", body = ProbeAnswer))
)]
async fn live(State(probes): State<Probes>) -> Response {
    let age_ms = clock::uptime_ms() - probes.health.heartbeat_ms.load(Relaxed);
    let is_alive = age_ms < HEARTBEAT_MS_MAX;
    probe_response(if is_alive { Vec::new() } else { vec!["scheduler stuck".into()] })
}

/// Says whether the router accepts and routes events.
#[utoipa::path(
    get, path = "/healthz/ready", operation_id = "probeReady",
    responses((status = 200, description = "It is.", body = ProbeAnswer),
        (status = 503, description = "It is not.", body = ProbeAnswer))
)]
async fn ready(State(probes): State<Probes>) -> Response {
    let failing = probes.health.failing();
    let degraded = probes.health.degraded();
    if failing.is_empty() && !degraded.is_empty() {
        return Json(json!({ "status": "ok", "degraded": degraded })).into_response();
    }
    probe_response(failing)
}

/// Lists every check with its state and since when, for operators.
#[utoipa::path(
    get, path = "/healthz/deep", operation_id = "getHealth", security(("adminToken" = [])),
    responses((status = 200, description = "The checks.", body = DeepHealth))
)]
async fn deep(State(probes): State<Probes>, request: Request) -> Result<Json<Value>, ApiError> {
    let Probes { health, api } = &probes;
    operator(request.headers(), api)
        .map_err(|failure| refused(api, "health", client_of(request.extensions()), failure))?;
    Ok(Json(health.report()))
}

fn probe_response(failing: Vec<String>) -> Response {
    if failing.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    let body = Json(json!({ "status": "failing", "failing": failing }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}
