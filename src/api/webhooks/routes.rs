//! The routes of the webhook API.

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, put};

use super::auth::WEBHOOK_APPS;
use super::failed::list_failed;
use super::paths::patterns;
use super::registration::{change, list, refresh, register, remove};
use crate::api::admit::admitted;
use crate::api::metrics;
use crate::api::state::{Shared, route};

/// Returns the routes of all versions.
pub(in crate::api) fn routes(state: &Shared) -> Router<Shared> {
    let mut router = Router::new();
    for path in patterns() {
        router = route(router, &path, &get(list).post(register).delete(remove));
        router = route(router, &format!("{path}/refresh"), &put(refresh));
        router = route(router, &format!("{path}/failed"), &get(list_failed));
        router = route(router, &format!("{path}/{{id}}"), &put(change));
    }
    admitted(router, state, WEBHOOK_APPS)
        .route_layer(from_fn(|request, next| metrics::count("webhook", request, next)))
}
