//! Operator endpoint that explains stored events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;

use super::progress_lines::{self, ProgressLines, accepts_lines};
use crate::api::error::ApiError;
use crate::api::explain::{Asked, Question, answer, progress_view};
use crate::api::extract::JsonObject;
use crate::api::state::{Shared, route};
use crate::recovery::explain::SearchReport;

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/explain", &post(explain))
}

/// Returns the explanation: at once, or after lines of progress if the client accepts these.
async fn explain(
    State(state): State<Shared>,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let asked = Asked::by_operator(&state, &body.read::<Question>()?)?;
    if !accepts_lines(&headers) {
        return Ok(Json(answer(&state, &asked, &|_| {}).await?).into_response());
    }
    Ok(progress_lines::respond(Arc::clone(&state.broker), async move |lines: ProgressLines| {
        let progress = |report: &SearchReport| lines.send(&progress_view(report));
        Ok(json!({ "explanation": answer(&state, &asked, &progress).await? }))
    }))
}
