//! Middleware for read-your-writes across replicas: an app may register at one replica and read at
//! another at once.
//!
//! A read waits until this replica has applied everything the store had confirmed. A write is a
//! compare-and-set on the store, so it is tried first; only if it is rejected does the replica
//! catch up, and the request is handled a second time.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;

use super::state::Shared;

/// The body of a request that may write, for extractors that run before the body is read.
#[derive(Clone)]
pub(super) struct BufferedBody(pub(super) Bytes);

/// Serves a request with read-your-writes, see the module. A request whose body is not buffered is a
/// read.
pub(super) async fn serve(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let registry = &state.registry;
    let Some(BufferedBody(body)) = request.extensions().get().cloned() else {
        registry.catch_up().await;
        return next.run(request).await;
    };
    let (parts, _) = request.into_parts();
    let known_changes = registry.changes();
    let retry = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let response = next.clone().run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_client_error() {
        return response;
    }
    registry.catch_up().await;
    if registry.changes() == known_changes { response } else { next.run(retry).await }
}
