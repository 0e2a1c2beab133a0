//! Explains to an app why events reached one of its modules, or not.

use axum::extract::{RawQuery, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::auth::ForgeCaller;
use super::paths::V2;
use crate::api::error::ApiError;
use crate::api::explain::{Asked, Question, answer};
use crate::api::extract::PathId;
use crate::api::query_params::QueryParams;
use crate::api::state::{Shared, route};
use crate::registry::{Problem, code};

/// The parameters of a question.
const PARAMETERS: [&str; 5] = ["entity", "event", "sequence", "since", "limit"];

pub(super) fn routes() -> Router<Shared> {
    route(Router::new(), &format!("{V2}/{{key}}/explain"), &get(explain))
}

/// Explains events of the site of the installation for one of its modules, also for one that it had.
async fn explain(
    State(state): State<Shared>,
    caller: ForgeCaller,
    PathId(key): PathId,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let query = QueryParams::parse(query.as_deref());
    if let Some(unknown) = query.names().find(|name| !PARAMETERS.contains(name)) {
        let message = format!("there is no such parameter; there are {}", PARAMETERS.join(", "));
        return Err(Problem::new(code::FORM, unknown, message).into());
    }
    let text = |name: &str| query.get(name).map(str::to_owned);
    let number = |name: &str| query.number(name).map(|n| n.and_then(|n| u64::try_from(n).ok()));
    let question = Question {
        entity: text("entity"),
        event: text("event"),
        sequence: number("sequence")?,
        since: text("since"),
        limit: query.number("limit")?,
        ..Question::default()
    };
    let asked = Asked::by_app(&caller.installation.record, key.into(), &question)?;
    answer(&state, &asked, &|_| {}).await.map(Json)
}
