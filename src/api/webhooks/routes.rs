//! The routes of the webhook API.

use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::WEBHOOK_APPS;
use super::paths::patterns;
use super::{failed, registration};
use crate::api::admit::admitted;
use crate::api::metrics;
use crate::api::openapi::{moved, route};
use crate::api::state::Shared;

/// Returns the routes of all versions.
pub(in crate::api) fn routes(state: &Shared) -> OpenApiRouter<Shared> {
    let mut router = OpenApiRouter::default();
    for (path, suffix) in patterns() {
        let all = routes!(registration::list, registration::register, registration::remove);
        router = route(router, moved(all, &path, &suffix));
        for (part, routes) in [
            ("refresh", routes!(registration::refresh)),
            ("failed", routes!(failed::list_failed)),
            ("{id}", routes!(registration::change)),
        ] {
            router = route(router, moved(routes, &format!("{path}/{part}"), &suffix));
        }
    }
    admitted(router, state, WEBHOOK_APPS)
        .route_layer(from_fn(|request, next| metrics::count("webhook", request, next)))
}
