//! Edge: HTTP in. One file a door, the operator API, who may call, and how errors look.
//!
//! A door reads a request, asks the registry and writes an answer; what may be registered is decided
//! below, what status an error has in `error` alone. Every path works with a trailing slash.

pub mod auth;
mod connect;
mod dry_run;
mod error;
pub mod events;
mod extract;
mod filters;
mod forge;
mod forge_extensions;
pub mod health;
pub mod ingest;
mod jwt;
mod metrics;
mod modules;
mod operator;
mod query_params;
mod read_your_writes;
mod signing_keys;
mod subscriptions;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;

use crate::delivery::FailedWebhooks;
use crate::domain::Secret;
use crate::matcher::Matcher;
use crate::registry::{CheckUrl, Registry};

pub use error::ApiError;

use events::EventsState;
use ingest::IngestState;

/// What the doors work with.
pub struct ApiState {
    /// Who asked for what.
    pub registry: Arc<Registry>,
    /// Who wants what, for figures.
    pub matcher: Arc<Matcher>,
    /// Bearer token of the operator API; empty refuses everyone.
    pub admin_token: Secret,
    /// Largest request body, in bytes.
    pub body_max: usize,
    /// What webhooks were given up.
    pub failed_webhooks: Arc<dyn FailedWebhooks>,
    /// Says whether deliveries may go to an address.
    pub check_url: Box<CheckUrl>,
}

/// The state as handlers see it.
pub type Shared = Arc<ApiState>;

/// The registration doors and the operator API, with JSON answers for unknown paths and methods.
///
/// It has the fallbacks of the whole listener: what is merged with it must have none.
pub fn router(state: Shared) -> Router {
    let operator = operator::routes()
        .merge(subscriptions::routes())
        .merge(modules::routes())
        .merge(filters::routes())
        .merge(dry_run::routes())
        .merge(signing_keys::routes())
        .route_layer(from_fn_with_state(Arc::clone(&state), auth::require_admin));
    Router::new()
        .merge(forge::routes())
        .merge(connect::routes())
        .merge(webhooks::routes())
        .merge(signing_keys::public_routes())
        .nest("/admin/v1", operator)
        .fallback(|| async { ApiError::NoSuchPath })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(from_fn_with_state(Arc::clone(&state), read_your_writes::serve))
        .layer(DefaultBodyLimit::max(state.body_max))
        .with_state(state)
}

/// The doors that events come in by; publishing as operator asks for the operator's token.
pub fn event_routes(state: &Shared, events: EventsState, ingest: IngestState) -> Router {
    events::routes(events)
        .route_layer(from_fn_with_state(Arc::clone(state), auth::require_admin))
        .merge(ingest::routes(ingest))
}

/// Adds a route under its path with and without a trailing slash.
fn route(router: Router<Shared>, path: &str, methods: &MethodRouter<Shared>) -> Router<Shared> {
    router.route(path, methods.clone()).route(&format!("{path}/"), methods.clone())
}
