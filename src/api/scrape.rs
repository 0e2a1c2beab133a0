//! The metrics endpoint, rendered from memory.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admit::{AuthFailure, client_of, refused};
use super::auth::{bearer, is_token};
use super::error::{ApiError, ClientRefusal};
use super::hosts::OwnHosts;
use super::ingest::IngestRefusals;
use super::openapi::{Forbidden, Misdirected};
use super::state::Shared;
use crate::delivery::{Dispatcher, Shares};
use crate::domain::{Secret, SubscriptionId};
use crate::matcher::{Matcher, render_sites};
use crate::registry::Registry;
use crate::telemetry::names;
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
    /// Endpoints whose breaker is open.
    pub dispatcher: Arc<Dispatcher>,
    /// Refused webhooks by site.
    pub refusals: Arc<IngestRefusals>,
    /// Who may read them.
    pub access: MetricsAccess,
}

/// Who may read the metrics. They have the keys of apps, installations and modules.
#[derive(Clone)]
pub struct MetricsAccess {
    /// Needed by everybody, if there is one.
    pub token: Option<Secret>,
    /// Without a token: names of this router, under which this machine may read them.
    pub hosts: OwnHosts,
    /// Without a token, everybody who reaches the listener may read them.
    pub is_open: bool,
    /// Counts failures.
    pub api: Shared,
}

impl MetricsAccess {
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let client = client_of(request.extensions());
        let headers = request.headers();
        let reason = match (&self.token, bearer(headers)) {
            (Some(token), Some(presented)) if is_token(token, presented) => return Ok(()),
            (Some(_), Some(_)) => "unknown_token",
            (Some(_), None) => "no_token",
            (None, _) if self.is_open => return Ok(()),
            (None, _) if client.is_local() => {
                return self.hosts.check(request.uri(), headers).map_err(ApiError::from);
            }
            (None, _) => "not_local",
        };
        let failure = AuthFailure { reason, detail: None, error: ClientRefusal::NoMetrics.into() };
        Err(refused(&self.api, "metrics", client, failure))
    }
}

/// Returns the route `GET /metrics`, in the Prometheus text format.
pub fn metrics(scrape: Scrape) -> OpenApiRouter {
    OpenApiRouter::default().routes(routes!(render)).with_state(scrape)
}

/// Returns the metrics in the Prometheus text format.
///
/// They are shown to this machine, or with the token of `metrics.token`.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", security((), ("metricsToken" = [])),
    responses((status = 200, description = "The metrics.", body = String,
        content_type = "text/plain; version=0.0.4; charset=utf-8"), Forbidden, Misdirected)
)]
async fn render(State(scrape): State<Scrape>, request: Request) -> Result<Response, ApiError> {
    scrape.access.check(&request)?;
    let mut text = scrape.process.render();
    text.push_str(&scrape.subscriptions());
    text.push_str(&scrape.dispatcher.render_open_endpoints());
    text.push_str(&render_sites(scrape.matcher.busiest_sites(names::SITES_MAX)));
    text.push_str(&scrape.shares.drops().render());
    text.push_str(&scrape.refusals.render());
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

impl Scrape {
    fn subscriptions(&self) -> String {
        let ids = self.registry.installation_ids(None, usize::MAX);
        let installations: Vec<_> =
            ids.iter().filter_map(|id| self.registry.installation(id.as_str())).collect();
        let samples = installations.iter().flat_map(|installation| {
            // What an inactive one left behind is to be seen as long as it is counted.
            let shown = installation.modules.iter().filter(|module| {
                module.subscription.is_some() || module.stats().peek().has_parked_or_dead()
            });
            shown.map(|module| SubscriptionSample {
                id: &module.id,
                app: installation.record.app.as_str(),
                stats: module.stats().peek(),
            })
        });
        let not_matched = |id: &SubscriptionId| self.matcher.not_matched(id);
        self.top.render(samples.collect(), not_matched)
    }
}
