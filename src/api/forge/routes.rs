//! The routes of the Forge API, counted by version.

use axum::Router;
use axum::middleware::from_fn;

use super::{dry_run, extensions, modules};
use crate::api::metrics;
use crate::api::state::Shared;

/// Returns the routes of all versions.
pub(in crate::api) fn routes() -> Router<Shared> {
    let v2 = modules::v2_routes().merge(extensions::routes()).merge(dry_run::routes());
    let count = |api| from_fn(move |request, next| metrics::count(api, request, next));
    v2.route_layer(count("forge_v2")).merge(modules::v1_routes().route_layer(count("forge_v1")))
}
