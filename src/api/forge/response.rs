//! Responses of the Forge API.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;

use crate::api::module_json::registered_view;
use crate::registry::RegisteredModule;

/// Renders a module as [`registered_view`], with its revision as `ETag`.
pub(super) fn module_response(registered: &RegisteredModule) -> impl IntoResponse + use<> {
    let tag = HeaderValue::from_str(&format!("\"{}\"", registered.module.revision));
    let headers: HeaderMap = tag.into_iter().map(|tag| (header::ETAG, tag)).collect();
    (headers, Json(registered_view(registered)))
}
