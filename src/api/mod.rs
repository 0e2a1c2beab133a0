//! HTTP edge: the registration APIs of Forge, Connect and dynamic webhooks, the operator API,
//! event ingestion, probes and metrics.
//!
//! A handler parses a request, calls the registry and renders the response. The registry decides
//! what may be registered; `error` alone maps errors to HTTP status codes. Every path works with
//! and without a trailing slash.

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

/// State shared by all request handlers.
pub struct ApiState {
    /// The registered apps, installations and modules.
    pub registry: Arc<Registry>,
    /// The matcher, read for per-subscription counts.
    pub matcher: Arc<Matcher>,
    /// Bearer token of the operator API; an empty token rejects every request.
    pub admin_token: Secret,
    /// Largest request body, in bytes.
    pub body_max: usize,
    /// Reads webhooks that were dead-lettered.
    pub failed_webhooks: Arc<dyn FailedWebhooks>,
    /// Checks whether deliveries may be sent to an address.
    pub check_url: Box<CheckUrl>,
}

/// [`ApiState`] as handlers receive it.
pub type Shared = Arc<ApiState>;

/// Returns the routes of the registration APIs and the operator API, with JSON errors for unknown
/// paths and methods.
///
/// It sets the fallbacks of the whole listener, so routers merged with it must not set their own.
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

/// Returns the routes that accept events: webhook ingestion, and the operator's publish endpoint
/// behind the admin token.
pub fn event_routes(state: &Shared, events: EventsState, ingest: IngestState) -> Router {
    events::routes(events)
        .route_layer(from_fn_with_state(Arc::clone(state), auth::require_admin))
        .merge(ingest::routes(ingest))
}

/// Adds a route at `path`, with and without a trailing slash.
fn route(router: Router<Shared>, path: &str, methods: &MethodRouter<Shared>) -> Router<Shared> {
    router.route(path, methods.clone()).route(&format!("{path}/"), methods.clone())
}
