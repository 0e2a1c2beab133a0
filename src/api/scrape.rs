//! The metrics endpoint, rendered from memory.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::delivery::Shares;
use crate::domain::SubscriptionId;
use crate::matcher::Matcher;
use crate::registry::Registry;
use crate::telemetry::subscriptions::{SubscriptionSample, TopSubscriptions};

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
    /// Drops by owner.
    pub shares: Arc<Shares>,
}

/// Returns the route `GET /metrics`, in the Prometheus text format.
pub fn metrics(scrape: Scrape) -> Router {
    Router::new().route("/metrics", get(render)).with_state(scrape)
}

async fn render(State(scrape): State<Scrape>) -> Response {
    let mut text = scrape.process.render();
    text.push_str(&scrape.subscriptions());
    text.push_str(&scrape.shares.drops().render());
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
        let not_matched = |id: &SubscriptionId| self.matcher.not_matched(id);
        self.top.render(samples.collect(), not_matched)
    }
}
