//! The routes of all APIs, with their middleware.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};

use super::admit::admitted;
use super::auth::{OPERATORS, require_admin};
use super::error::ApiError;
use super::ingest::{self, EventsState, IngestState};
use super::state::Shared;
use super::{connect, forge, operator, read_your_writes, webhooks, well_known};

/// Returns the routes of the registration APIs and the operator API, with JSON errors for unknown
/// paths and methods.
///
/// It sets the fallbacks of the whole listener, so routers merged with it must not set their own.
pub fn router(state: Shared) -> Router {
    let read = from_fn_with_state(Arc::clone(&state), read_your_writes::serve);
    Router::new()
        .merge(forge::routes(&state))
        .merge(connect::routes(&state))
        .merge(webhooks::routes(&state))
        .merge(well_known::routes().route_layer(read))
        .nest("/admin/v1", admitted(operator::routes(&state), &state, OPERATORS))
        .fallback(|| async { ApiError::NoSuchPath })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(DefaultBodyLimit::max(state.body_max))
        .with_state(state)
}

/// Returns the routes that accept events: webhook ingestion, and the operator's publish endpoint
/// behind the admin token.
pub fn event_routes(state: &Shared, events: EventsState, ingest: IngestState) -> Router {
    ingest::event_routes(events)
        .route_layer(from_fn(operator::parameters::check))
        .route_layer(from_fn_with_state(Arc::clone(state), require_admin))
        .merge(ingest::webhook_routes(ingest))
}
