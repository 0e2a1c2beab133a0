//! Middleware for read-your-writes across replicas: an app may register at one replica and read at
//! another at once.
//!
//! A read waits until this replica has applied everything the store had confirmed. A write is a
//! compare-and-set on the store, so it is tried first; only if it is rejected does the replica
//! catch up, and the request is handled a second time.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::BodyExt;

use super::state::Shared;

/// The body of a request that may write, for extractors that run before the body is read.
#[derive(Clone)]
pub(super) struct BufferedBody(pub(super) Bytes);

/// Serves a request with read-your-writes, see the module.
pub(super) async fn serve(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let registry = &state.registry;
    if request.method() == Method::GET {
        registry.catch_up().await;
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let body = match buffer_body(body, state.body_max).await {
        Ok(body) => body,
        // The handler fails on the same error and renders it in the format of its API.
        Err(error) => {
            let broken = Body::from_stream(stream::iter([Err::<Bytes, _>(error)]));
            return next.run(Request::from_parts(parts, broken)).await;
        }
    };
    parts.extensions.insert(BufferedBody(body.clone()));
    let known_changes = registry.changes();
    let retry = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let response = next.clone().run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_client_error() {
        return response;
    }
    registry.catch_up().await;
    if registry.changes() == known_changes { response } else { next.run(retry).await }
}

/// Reads a body into memory, and stops as soon as it is longer than `max`.
async fn buffer_body(mut body: Body, max: usize) -> Result<Bytes, axum::Error> {
    let mut buffered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            buffered.extend_from_slice(&data);
        }
        if buffered.len() > max {
            break;
        }
    }
    Ok(buffered.freeze())
}
