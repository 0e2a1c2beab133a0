//! Health probes, answered from memory without waiting for the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::clock;

/// Age of the heartbeat above which the scheduler counts as stuck.
const HEARTBEAT_MS_MAX: i64 = 5_000;

/// The state that probes read; the stages write it.
#[derive(Debug, Default)]
pub struct Health {
    /// The registry is loaded, and streams and consumers exist.
    pub started: AtomicBool,
    /// The broker is connected.
    pub broker: AtomicBool,
    /// The broker does not store parked deliveries or dead letters.
    pub writes_blocked: AtomicBool,
    /// The router is stopping.
    pub draining: AtomicBool,
    /// When the heartbeat task last ran, milliseconds since the epoch.
    pub heartbeat_ms: AtomicI64,
}

impl Health {
    fn failing(&self) -> Vec<&'static str> {
        let checks = [
            (self.started.load(Relaxed), "starting"),
            (self.broker.load(Relaxed), "broker unreachable"),
            (!self.writes_blocked.load(Relaxed), "broker stores no deliveries"),
            (!self.draining.load(Relaxed), "draining"),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, name)| name).collect()
    }
}

/// Returns the routes `GET /healthz/startup`, `/healthz/live`, `/healthz/ready`.
pub fn probes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz/startup", get(startup))
        .route("/healthz/live", get(live))
        .route("/healthz/ready", get(ready))
        .with_state(health)
}

async fn startup(State(health): State<Arc<Health>>) -> Response {
    let started = health.started.load(Relaxed);
    probe_response(if started { Vec::new() } else { vec!["starting"] })
}

async fn live(State(health): State<Arc<Health>>) -> Response {
    let age_ms = clock::now_ms() - health.heartbeat_ms.load(Relaxed);
    probe_response(if age_ms < HEARTBEAT_MS_MAX { Vec::new() } else { vec!["scheduler stuck"] })
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    probe_response(health.failing())
}

fn probe_response(failing: Vec<&'static str>) -> Response {
    if failing.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    let body = Json(json!({ "status": "failing", "failing": failing }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}
