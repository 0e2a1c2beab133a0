//! Explains to an app why events reached one of its modules, or not.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::ForgeCaller;
use crate::api::error::ApiError;
use crate::api::explain::{Asked, Question, answer};
use crate::api::extract::PathId;
use crate::api::openapi::{Unavailable, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::Explanation;
use crate::api::state::Shared;
use crate::registry::{Problem, code};

/// The parameters of a question.
const PARAMETERS: [&str; 5] = ["entity", "event", "sequence", "since", "limit"];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(explain))
}

/// Explains why events of the site reached a module of the app, or not.
///
/// Also for a module that was removed.
#[utoipa::path(
    get, path = "/forge/installation/v2/dynamic/module/{key}/explain", operation_id = "explainModule",
    params(("entity" = Option<String>, Query, description = "Events about an entity; or"),
        ("event" = Option<String>, Query, description = "one event, its id or `<site>/<id>`; or"),
        ("sequence" = Option<u64>, Query, description = "the one with a sequence."),
        ("since" = Option<String>, Query, description = "Stored from then on: RFC 3339, or an age such as `15m`."),
        ("limit" = Option<u32>, Query, minimum = 1, description = "Most events, the newest ones.")),
    responses((status = 200, description = "The explanation.", body = Explanation), Unavailable)
)]
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
