//! Operator endpoint that explains stored events: for each subscription what was decided, by which stage
//! and why, and what became of the delivery.
//!
//! `request` reads what is asked, `find` finds the events, `subscriptions` what subscriptions were at their
//! time, `decisions` decides and renders, `hints` says what may help if nothing was found.
//!
//! Design: `docs/design/explain.md`.

mod decisions;
mod deliveries;
mod find;
mod hints;
mod request;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::SemaphorePermit;

use super::progress_lines::{self, ProgressLines, accepts_lines};
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::json::{insert_some, rfc3339};
use crate::api::state::{Shared, route};
use crate::recovery::explain::{Deadline, SearchReport};
use decisions::Decisions;
use request::Asked;

/// How long a request waits for another one.
const TURN_MAX: Duration = Duration::from_secs(5);
/// How long decisions take, and what is read for them.
const DECIDE_MAX: Duration = Duration::from_secs(5);

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), "/explain", &post(explain))
}

/// Returns the explanation: at once, or after lines of progress if the client accepts these.
async fn explain(
    State(state): State<Shared>,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let asked = Asked::read(&state, body)?;
    if !accepts_lines(&headers) {
        return Ok(Json(answer(&state, &asked, &|_| {}).await?).into_response());
    }
    Ok(progress_lines::respond(async move |lines: ProgressLines| {
        let progress = |report: &SearchReport| {
            let (read, found) = (report.read, report.matched);
            lines.send(&json!({ "progress": { "events": read, "found": found } }));
        };
        Ok(json!({ "explanation": answer(&state, &asked, &progress).await? }))
    }))
}

async fn answer(
    state: &Shared,
    asked: &Asked,
    progress: &(dyn Fn(&SearchReport) + Send + Sync),
) -> Result<Value, ApiError> {
    let _turn = turn(state).await?;
    let found = find::find(state, asked, progress).await?;
    let mut hints = hints::of_events(state, asked, &found).await?;
    let mut decisions = Decisions::new(state, asked, Deadline::after(DECIDE_MAX), found.bounds);
    let mut events = Vec::new();
    for event in &found.events {
        events.push(decisions.on(event).await?);
    }
    hints.extend(decisions.hints());
    let mut view = json!({ "events": events, "hints": hints });
    let begins = json!({
        "firstSequence": found.bounds.first,
        "since": found.bounds.first_ms.and_then(rfc3339),
    });
    insert_some(&mut view, "retained", Some(begins));
    insert_some(&mut view, "searched", found.search.as_ref().map(searched_view));
    Ok(view)
}

fn searched_view(report: &SearchReport) -> Value {
    let mut view = json!({ "events": report.read, "found": report.matched });
    insert_some(&mut view, "until", report.cut_at_ms.and_then(rfc3339));
    view
}

/// Waits until this request is the only one of this router that explains.
async fn turn(state: &Shared) -> Result<SemaphorePermit<'_>, ApiError> {
    let turn = tokio::time::timeout(TURN_MAX, state.recovery.explain_turn.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or(ApiError::Explaining)
}
