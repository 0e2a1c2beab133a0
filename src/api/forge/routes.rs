//! The routes of the Forge API, counted by version.

use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;

use super::auth::FORGE_APPS;
use super::{dry_run, explain, extensions, modules};
use crate::api::admit::admitted;
use crate::api::metrics;
use crate::api::state::Shared;

/// Returns the routes of all versions.
pub(in crate::api) fn routes(state: &Shared) -> OpenApiRouter<Shared> {
    let v2 = modules::v2_routes().merge(extensions::routes()).merge(dry_run::routes());
    let v2 = v2.merge(explain::routes());
    let counted = |routes: OpenApiRouter<Shared>, api| {
        let count = from_fn(move |request, next| metrics::count(api, request, next));
        admitted(routes, state, FORGE_APPS).route_layer(count)
    };
    counted(v2, "forge_v2").merge(counted(modules::v1_routes(), "forge_v1"))
}
