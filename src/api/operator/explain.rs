//! Operator endpoint that explains stored events.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::progress_lines::{self, ProgressLines, accepts_lines};
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::explain::{Asked, Question, answer, progress_view};
use crate::api::extract::JsonObject;
use crate::api::openapi::{NotFound, route};
use crate::api::schema::Explanation;
use crate::api::state::Shared;
use crate::recovery::explain::SearchReport;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(explain))
}

/// Explains why events reached subscriptions, or not.
///
/// At once, or after lines of progress if the client accepts these.
#[utoipa::path(
    post, path = "/explain", operation_id = "explainEvents", request_body = Question,
    security(("operatorToken" = ["read", "installation"])),
    responses((status = 200, description = "The explanation.", content(
        (Explanation = "application/json"),
        (String = "application/x-ndjson",
            example = "{\"progress\":{\"events\":100,\"found\":1}}\n{\"explanation\":{}}\n"))),
        NotFound)
)]
async fn explain(
    State(state): State<Shared>,
    viewer: Viewer,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let question: Question = body.read()?;
    let asked = match viewer.own() {
        None => Asked::by_operator(&state, &question)?,
        Some(own) => {
            let installation = state.registry.installation(own.as_str());
            let installation = installation.ok_or(ApiError::NotFound)?;
            Asked::by_installation(&installation.record, &question)?
        }
    };
    if !accepts_lines(&headers) {
        return Ok(Json(answer(&state, &asked, &|_| {}).await?).into_response());
    }
    Ok(progress_lines::respond(Arc::clone(&state.broker), async move |lines: ProgressLines| {
        let progress = |report: &SearchReport| {
            // It counts the events of others.
            if viewer.is_operator() {
                lines.send(&progress_view(report));
            }
        };
        Ok(json!({ "explanation": answer(&state, &asked, &progress).await? }))
    }))
}
