//! Health probes, answered from memory without waiting for the broker.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::admit::{client_of, refused};
use super::auth::operator;
use super::error::ApiError;
pub use super::health_state::{CheckView, Health};
use super::state::Shared;
use crate::clock;

/// Age of the heartbeat above which the scheduler counts as stuck.
const HEARTBEAT_MS_MAX: i64 = 5_000;

/// What the probes need.
#[derive(Clone)]
struct Probes {
    health: Arc<Health>,
    api: Shared,
}

/// Returns the routes `GET /healthz/startup`, `/healthz/live`, `/healthz/ready`, and `/healthz/deep` for operators.
pub fn probes(health: Arc<Health>, api: Shared) -> Router {
    Router::new()
        .route("/healthz/startup", get(startup))
        .route("/healthz/live", get(live))
        .route("/healthz/ready", get(ready))
        .route("/healthz/deep", get(deep))
        .with_state(Probes { health, api })
}

async fn startup(State(probes): State<Probes>) -> Response {
    let started = probes.health.started.load(Relaxed);
    probe_response(if started { Vec::new() } else { vec!["starting".into()] })
}

async fn live(State(probes): State<Probes>) -> Response {
    let age_ms = clock::uptime_ms() - probes.health.heartbeat_ms.load(Relaxed);
    let is_alive = age_ms < HEARTBEAT_MS_MAX;
    probe_response(if is_alive { Vec::new() } else { vec!["scheduler stuck".into()] })
}

async fn ready(State(probes): State<Probes>) -> Response {
    let failing = probes.health.failing();
    let degraded = probes.health.degraded();
    if failing.is_empty() && !degraded.is_empty() {
        return Json(json!({ "status": "ok", "degraded": degraded })).into_response();
    }
    probe_response(failing)
}

/// Lists every check with its state and since when, for operators.
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
