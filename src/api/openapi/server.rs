//! Serves the document.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::finish::finished;
use super::route;

/// How long clients may keep the document, which changes with the release only.
const CACHE: &str = "public, max-age=300";

/// Returns routes together with `GET /openapi.json`, which describes them, and the document. It has no secret, so
/// that everybody may read it.
pub(in crate::api) fn documented(routes: OpenApiRouter) -> (Router, Arc<Value>) {
    let (own, own_operations) = route(OpenApiRouter::default(), routes!(show)).split_for_parts();
    let (routes, mut document) = routes.split_for_parts();
    document.merge(own_operations);
    let document = finished(document);
    let text = Bytes::from(document.to_string());
    (routes.merge(own.with_state(text)), Arc::new(document))
}

/// Returns this document, OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getDocument",
    responses((status = 200, description = "The document.", body = serde_json::Map<String, Value>))
)]
async fn show(State(text): State<Bytes>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, CACHE)], text)
}
