//! The operator API, behind the admin token. An endpoint is one file with its own routes, listed in
//! [`ENDPOINTS`].

use axum::Router;

use super::state::Shared;

mod account;
mod apps;
mod backtest;
mod dead_letters;
mod deliveries;
mod delivery_view;
mod discovery;
mod dry_run;
mod encryption;
mod erasures;
mod event_ref;
mod events;
mod explain;
mod filters;
mod installations;
mod jobs;
mod ledger;
mod list;
mod listeners;
mod modules;
mod oauth_clients;
mod problems;
mod progress_lines;
mod redrives;
mod replays;
mod revisions;
mod secrets;
mod shadows;
mod signing_keys;
mod sites;
mod status;
mod subscriptions;
#[cfg(test)]
mod tests;

pub(crate) use apps::app_spec;

/// The routes of every endpoint, below `/admin/v1`.
pub(super) const ENDPOINTS: &[fn() -> Router<Shared>] = &[
    account::routes,
    apps::routes,
    backtest::routes,
    dead_letters::routes,
    deliveries::routes,
    discovery::routes,
    dry_run::routes,
    encryption::routes,
    erasures::routes,
    events::routes,
    explain::routes,
    filters::routes,
    installations::routes,
    ledger::routes,
    listeners::routes,
    modules::routes,
    oauth_clients::routes,
    problems::routes,
    redrives::routes,
    replays::routes,
    revisions::routes,
    secrets::routes,
    shadows::routes,
    signing_keys::routes,
    sites::routes,
    subscriptions::routes,
];
