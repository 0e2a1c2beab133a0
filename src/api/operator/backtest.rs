//! Operator endpoint that says what a filter would have done on stored events.
//!
//! `request` reads what is asked, `samples` decides again on some of the events and says why, `view`
//! renders the answer.
//!
//! Design: `docs/design/backtest.md`.

mod request;
mod samples;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::progress_lines::{self, ProgressLines, accepts_lines};
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::json::insert_some;
use crate::api::openapi::{NotFound, route};
use crate::api::schema::Backtest;
use crate::api::state::Shared;
use crate::recovery::backtest::{BacktestProgress, backtest};
use crate::recovery::explain::Deadline;
use request::{Asked, BacktestBody, Request};
use samples::Samples;

/// How long a request waits for others.
const TURN_MAX: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(try_filter))
}

/// Returns what a filter would have done on stored events.
///
/// At once, or after lines of progress if the client accepts these. An invalid filter is answered as by `filters:check`.
#[utoipa::path(
    post, path = "/filters:backtest", operation_id = "backtestFilter", request_body = BacktestBody,
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "What the filter would have done.", content(
        (Backtest = "application/json"),
        (String = "application/x-ndjson",
            example = "{\"progress\":{\"events\":100}}\n{\"backtest\":{\"valid\":true}}\n"))),
        NotFound)
)]
async fn try_filter(
    State(state): State<Shared>,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let request = Request::read(&state, body)?;
    if !accepts_lines(&headers) {
        return Ok(Json(answer(&state, request, &|_| {}).await?).into_response());
    }
    Ok(progress_lines::respond(Arc::clone(&state.broker), async move |lines: ProgressLines| {
        let progress =
            |at: &BacktestProgress| lines.send(&json!({ "progress": progress_view(at) }));
        Ok(json!({ "backtest": answer(&state, request, &progress).await? }))
    }))
}

async fn answer(
    state: &Shared,
    request: Request,
    progress: &(dyn Fn(&BacktestProgress) + Send + Sync),
) -> Result<Value, ApiError> {
    let asked: Asked = match request {
        Request::Backtest(asked) => *asked,
        Request::Invalid(diagnostics) => {
            return Ok(json!({ "valid": false, "diagnostics": diagnostics }));
        }
    };
    let site = asked.query.site.as_ref();
    let turn = state.recovery.backtests.take(site, TURN_MAX).await;
    let turn = turn.ok_or(ApiError::Backtesting)?;
    let parts = &state.recovery.replay;
    let (source, deadline) = ((&*parts.streams, &parts.reader), Deadline::after(asked.max));
    let report = backtest(source, asked.query.clone(), (deadline, turn), progress).await?;
    let samples = Samples::of(state, &asked.query, &report.counts.samples).await;
    Ok(view::view(&asked, &report, &samples))
}

fn progress_view(at: &BacktestProgress) -> Value {
    let mut view = json!({
        "events": at.status.events,
        "delivered": at.status.delivered,
        "failed": at.status.failed,
        "seconds": at.elapsed.as_secs_f64(),
    });
    insert_some(&mut view, "of", at.of);
    insert_some(&mut view, "remainingSeconds", at.remaining().map(|time| time.as_secs_f64()));
    view
}
