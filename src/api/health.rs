//! Health probes, answered from memory without waiting for the broker.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::guarded;
use super::auth::{HEALTH, require_operator};
pub use super::health_state::{CheckView, Health};
use super::schema::{DeepHealth, ProbeAnswer};
use super::state::Shared;
use crate::clock;

/// Age of the heartbeat above which the scheduler counts as stuck.
const HEARTBEAT_MS_MAX: i64 = 5_000;

/// Returns the routes `GET /healthz/startup`, `/healthz/live`, `/healthz/ready`, and `/healthz/deep` for operators.
pub fn probes(health: Arc<Health>, api: Shared) -> OpenApiRouter {
    let all = [routes!(startup), routes!(live), routes!(ready)];
    let open = all.into_iter().fold(OpenApiRouter::default(), OpenApiRouter::routes);
    let require = from_fn_with_state((Arc::clone(&api), HEALTH), require_operator);
    let deep = guarded(OpenApiRouter::default().routes(routes!(deep)), &api).route_layer(require);
    open.merge(deep).with_state(health)
}

/// Says whether the router has started.
#[utoipa::path(
    get, path = "/healthz/startup", operation_id = "probeStartup",
    responses((status = 200, description = "It is.", body = ProbeAnswer),
        (status = 503, description = "It is not.", body = ProbeAnswer))
)]
async fn startup(State(health): State<Arc<Health>>) -> Response {
    let started = health.started.load(Relaxed);
    probe_response(if started { Vec::new() } else { vec!["starting".into()] })
}

/// Says whether the router runs.
#[utoipa::path(
    get, path = "/healthz/live", operation_id = "probeLive",
    responses((status = 200, description = "It is.", body = ProbeAnswer),
        (status = 503, description = "It is not.", body = ProbeAnswer))
)]
async fn live(State(health): State<Arc<Health>>) -> Response {
    let age_ms = clock::uptime_ms() - health.heartbeat_ms.load(Relaxed);
    let is_alive = age_ms < HEARTBEAT_MS_MAX;
    probe_response(if is_alive { Vec::new() } else { vec!["scheduler stuck".into()] })
}

/// Says whether the router accepts and routes events.
#[utoipa::path(
    get, path = "/healthz/ready", operation_id = "probeReady",
    responses((status = 200, description = "It is.", body = ProbeAnswer),
        (status = 503, description = "It is not.", body = ProbeAnswer))
)]
async fn ready(State(health): State<Arc<Health>>) -> Response {
    let failing = health.failing();
    let degraded = health.degraded();
    if failing.is_empty() && !degraded.is_empty() {
        return Json(json!({ "status": "ok", "degraded": degraded })).into_response();
    }
    probe_response(failing)
}

/// Lists every check with its state and since when, for operators.
#[utoipa::path(
    get, path = "/healthz/deep", operation_id = "getHealth", security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The checks.", body = DeepHealth))
)]
async fn deep(State(health): State<Arc<Health>>) -> Json<Value> {
    Json(health.report())
}

fn probe_response(failing: Vec<String>) -> Response {
    if failing.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    let body = Json(json!({ "status": "failing", "failing": failing }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}
