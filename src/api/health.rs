//! Health probes and the metrics endpoint, answered from memory without waiting for the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::clock;
use crate::domain::SubscriptionId;
use crate::matcher::Matcher;
use crate::registry::Registry;
use crate::telemetry::subscriptions::{SubscriptionSample, TopSubscriptions};

/// Age of the heartbeat above which the scheduler counts as stuck.
const HEARTBEAT_MS_MAX: i64 = 5_000;

/// The state that probes read; the stages write it.
#[derive(Debug, Default)]
pub struct Health {
    /// The registry is loaded, and streams and consumers exist.
    pub started: AtomicBool,
    /// The broker is connected.
    pub broker: AtomicBool,
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
            (!self.draining.load(Relaxed), "draining"),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, name)| name).collect()
    }
}

/// The sources of the metrics endpoint.
#[derive(Clone)]
pub struct Scrape {
    /// Metric families of the process.
    pub process: PrometheusHandle,
    /// Selects the subscriptions that have series of their own.
    pub top: Arc<TopSubscriptions>,
    /// The subscriptions.
    pub registry: Arc<Registry>,
    /// Counts of events that did not match.
    pub matcher: Arc<Matcher>,
}

/// Returns the routes `GET /healthz/startup`, `/healthz/live`, `/healthz/ready`.
pub fn probes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz/startup", get(startup))
        .route("/healthz/live", get(live))
        .route("/healthz/ready", get(ready))
        .with_state(health)
}

/// Returns the route `GET /metrics`, in the Prometheus text format.
pub fn metrics(scrape: Scrape) -> Router {
    Router::new().route("/metrics", get(render)).with_state(scrape)
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

async fn render(State(scrape): State<Scrape>) -> Response {
    let mut text = scrape.process.render();
    text.push_str(&scrape.subscriptions());
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

impl Scrape {
    fn subscriptions(&self) -> String {
        let ids = self.registry.installation_ids(None, usize::MAX);
        let installations: Vec<_> =
            ids.iter().filter_map(|id| self.registry.installation(id.as_str())).collect();
        let samples = installations.iter().flat_map(|installation| {
            let active = installation.modules.iter().filter(|m| m.subscription.is_some());
            active.map(|module| SubscriptionSample {
                id: &module.id,
                app: installation.record.app.as_str(),
                stats: module.stats().peek(),
            })
        });
        let not_matched = |id: &SubscriptionId| self.matcher.not_matched(id).unwrap_or_default();
        self.top.render(samples.collect(), not_matched)
    }
}
