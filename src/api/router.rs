//! The routes of all APIs, with their middleware.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use super::access::{guarded, still_admitted};
use super::admit::{authenticated, with_bodies};
use super::auth::{OPERATORS, require_operator};
use super::error::ApiError;
use super::health::{self, Health};
use super::ingest::{self, EventsState, IngestState};
use super::scrape::{self, Scrape};
use super::state::Shared;
use super::{audit, connect, forge, openapi, operator, read_your_writes, webhooks, well_known};

/// What the routes need.
pub struct ApiParts {
    /// For the registration APIs and the operator API.
    pub state: Shared,
    /// For events over HTTP.
    pub events: EventsState,
    /// For webhooks.
    pub ingest: IngestState,
    /// For the probes.
    pub health: Arc<Health>,
    /// For the metrics.
    pub scrape: Scrape,
}

/// Returns the routes of all APIs, of the probes, the metrics and the OpenAPI document, with JSON errors for unknown
/// paths and methods; and the document.
///
/// It sets the fallbacks of the whole listener, so routers merged with it must not set their own.
pub fn routes(parts: ApiParts) -> (Router, Arc<Value>) {
    let ApiParts { state, events, ingest, health, scrape } = parts;
    let described = registration_and_operator(Arc::clone(&state))
        .merge(event_routes(&state, events, ingest))
        .merge(health::probes(health, state))
        .merge(scrape::metrics(scrape));
    openapi::documented(described)
}

/// Returns the routes of the registration APIs and the operator API alone.
pub fn router(state: Shared) -> Router {
    registration_and_operator(state).into()
}

/// Returns the routes of the registration APIs and the operator API, with JSON errors for unknown paths and methods.
fn registration_and_operator(state: Shared) -> OpenApiRouter {
    let read = from_fn_with_state(Arc::clone(&state), read_your_writes::serve);
    let described = OpenApiRouter::default()
        .merge(forge::routes(&state))
        .merge(connect::routes(&state))
        .merge(webhooks::routes(&state))
        .merge(well_known::routes().route_layer(read))
        .merge(operator_routes(&state));
    let (router, document) = described.split_for_parts();
    let router = router
        .fallback(|| async { ApiError::NoSuchPath })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(DefaultBodyLimit::max(state.body_max))
        .with_state(state);
    let mut described = OpenApiRouter::from(router);
    *described.get_openapi_mut() = document;
    described
}

/// Returns the routes of the operator API: who calls is known first, then whether the caller may, then the body. A change
/// is recorded once, also if it is tried again after catching up.
fn operator_routes(state: &Shared) -> OpenApiRouter<Shared> {
    let reads = operator::routes(state).split_for_parts().0.with_state(Arc::clone(state));
    let still = from_fn_with_state(Arc::clone(state), still_admitted);
    let read_your_writes = from_fn_with_state(Arc::clone(state), read_your_writes::serve);
    let routes = operator::routes(state).route_layer(still).route_layer(read_your_writes);
    let routes = with_bodies(audit::recorded(routes, reads, state), state, OPERATORS);
    authenticated(guarded(routes, state), state, OPERATORS)
}

/// Returns the routes that accept events: webhook ingestion, and the operator's publish endpoint
/// behind the token of a caller.
fn event_routes(state: &Shared, events: EventsState, ingest: IngestState) -> OpenApiRouter {
    let require = from_fn_with_state((Arc::clone(state), OPERATORS), require_operator);
    let events = ingest::event_routes(events).route_layer(from_fn(operator::parameters::check));
    guarded(events, state).route_layer(require).merge(ingest::webhook_routes(ingest))
}
