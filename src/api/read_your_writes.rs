//! Answers that know what every replica confirmed: an app may register at one replica and go on at
//! another at once.
//!
//! What is read is read after catching up with the store. What is written is compared with the store
//! anyway, so it catches up only when it is refused, and is then decided once more.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::BodyExt;

use super::Shared;

/// The body of a request that may change something, for those who ask before it is read.
#[derive(Clone)]
pub(super) struct BufferedBody(pub(super) Bytes);

/// Answers a request of a door or of the operator API. See the file header.
pub(super) async fn serve(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let registry = &state.registry;
    if request.method() == Method::GET {
        registry.catch_up().await;
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let body = match buffer_body(body, state.body_max).await {
        Ok(body) => body,
        // Unreadable for the door as well, which says so in its own words.
        Err(error) => {
            let broken = Body::from_stream(stream::iter([Err::<Bytes, _>(error)]));
            return next.run(Request::from_parts(parts, broken)).await;
        }
    };
    parts.extensions.insert(BufferedBody(body.clone()));
    let known_revision = registry.revision();
    let retry = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let response = next.clone().run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_client_error() {
        return response;
    }
    registry.catch_up().await;
    if registry.revision() == known_revision { response } else { next.run(retry).await }
}

/// A body in memory; of one longer than `max` as much as shows that it is too long.
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
