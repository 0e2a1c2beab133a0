//! The operator API, for callers with an admin token or an access token. An endpoint is one file with its own routes and their operations,
//! listed in [`ENDPOINTS`].

use std::sync::Arc;

use axum::middleware::{from_fn, from_fn_with_state};
use utoipa_axum::router::OpenApiRouter;

use super::state::Shared;

mod access_tokens;
mod account;
mod activity;
mod apps;
mod attention;
mod audit_log;
mod backtest;
mod dead_letters;
mod deliveries;
mod delivery_view;
mod discovery;
mod doctor;
mod dry_run;
mod encryption;
mod endpoint_view;
mod endpoints;
mod erasures;
mod event_list;
mod event_ref;
mod events;
mod explain;
mod filters;
mod history;
mod installation_list;
mod installations;
mod jobs;
mod known_endpoints;
mod ledger;
mod list;
mod listeners;
mod live;
mod modules;
mod oauth_clients;
pub(super) mod parameters;
mod problems;
mod progress_lines;
mod redeliveries;
mod redrives;
mod replays;
mod replica_view;
mod revisions;
mod secrets;
mod shadows;
mod signing_keys;
mod site_list;
mod sites;
mod status;
mod subscription_list;
mod subscriptions;
#[cfg(test)]
mod tests;
mod top;
mod unknown_names;
mod whoami;

pub(crate) use apps::app_spec;
pub(crate) use history::sample as history_sample;

/// Returns the routes of every endpoint. They refuse unknown query parameters, and say which name of a path does not
/// exist.
pub(super) fn routes(state: &Shared) -> OpenApiRouter<Shared> {
    let all = ENDPOINTS.iter();
    let all = all.fold(OpenApiRouter::default(), |router, endpoint| router.merge(endpoint()));
    let all = all
        .route_layer(from_fn_with_state(Arc::clone(state), unknown_names::explain))
        .route_layer(from_fn(parameters::check));
    OpenApiRouter::default().nest("/admin/v1", all)
}

/// The routes of each endpoint, below `/admin/v1`.
const ENDPOINTS: &[fn() -> OpenApiRouter<Shared>] = &[
    access_tokens::routes,
    account::routes,
    activity::routes,
    apps::routes,
    audit_log::routes,
    backtest::routes,
    dead_letters::routes,
    deliveries::routes,
    discovery::routes,
    doctor::routes,
    dry_run::routes,
    encryption::routes,
    endpoints::routes,
    erasures::routes,
    event_list::routes,
    events::routes,
    explain::routes,
    filters::routes,
    history::routes,
    installation_list::routes,
    installations::routes,
    ledger::routes,
    listeners::routes,
    live::routes,
    modules::routes,
    oauth_clients::routes,
    problems::routes,
    redeliveries::routes,
    redrives::routes,
    replays::routes,
    revisions::routes,
    secrets::routes,
    shadows::routes,
    signing_keys::routes,
    site_list::routes,
    sites::routes,
    subscription_list::routes,
    subscriptions::routes,
    top::routes,
    whoami::routes,
];
