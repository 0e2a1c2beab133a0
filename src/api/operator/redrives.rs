//! Operator endpoints for redrives of dead letters, which are jobs.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dead_letters::bad_query;
use super::jobs::{self, action_routes, job_view, read_rate, status_view};
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::schema::{Items, Job as JobSchema};
use crate::api::state::Shared;
use crate::clock;
use crate::recovery::jobs::{JobKind, NewJob};
use crate::recovery::redrive::{IDS_MAX, LetterId, LetterQuery, RedriveRequest, Selection, plan};
use crate::registry::{Problem, code};

const KIND: JobKind = JobKind::Redrive;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(create));
    let router = route(router, routes!(list));
    let router = route(router, routes!(show));
    action_routes::<JobSchema>(router, ("/dlq/redrives", "Redrive"), KIND, status_view)
}

/// Which dead letters are redriven: either ids or a query.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"query": {"installation": "inst-a", "since": "2h"}, "dryRun": true}))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RedriveBody {
    /// Ids of dead letters, at most 1,000.
    ids: Option<Vec<String>>,
    /// An empty query selects every dead letter.
    query: Option<LetterQuery>,
    /// Whether it only counts.
    #[serde(default)]
    dry_run: bool,
    /// Deliveries per second.
    #[schema(minimum = 1, maximum = 1000)]
    rate: Option<u64>,
}

impl RedriveBody {
    fn selection(self) -> Result<Selection, ApiError> {
        let problem = |path: String, message: String| Problem::new(code::FORM, path, message);
        match (self.ids, self.query) {
            (Some(ids), None) => {
                if ids.is_empty() || ids.len() > IDS_MAX {
                    let message = format!("the ids of 1 to {IDS_MAX} dead letters");
                    return Err(problem("ids".into(), message).into());
                }
                let mut seen = HashSet::new();
                let mut selected = Vec::with_capacity(ids.len());
                for (index, text) in ids.iter().enumerate() {
                    let id = LetterId::parse(text).ok_or_else(|| {
                        let message = "this is not the id of a dead letter".to_owned();
                        problem(format!("ids[{index}]"), message)
                    })?;
                    if seen.insert(id) {
                        selected.push(id);
                    }
                }
                Ok(Selection::Ids(selected))
            }
            (None, Some(query)) => {
                let query = query.fix(clock::broker_now());
                Ok(Selection::Query(query.map_err(|error| bad_query("query", &error))?))
            }
            _ => {
                let message = "either `ids` or `query`; an empty query selects every dead letter";
                Err(problem(String::new(), message.to_owned()).into())
            }
        }
    }
}

/// Starts a redrive of dead letters, or only counts what it would do.
#[utoipa::path(
    post, path = "/dlq/redrive", operation_id = "createRedrive", request_body = RedriveBody,
    security(("operatorToken" = ["operate"])),
    responses((status = 200, description = "A dry run: what the job would do.", body = JobSchema),
        (status = 202, description = "The job.", body = JobSchema), Conflict)
)]
async fn create(
    State(state): State<Shared>,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body: RedriveBody = body.read()?;
    let rate = read_rate(body.rate)?;
    let (dry_run, recovery) = (body.dry_run, &state.recovery);
    let selection = body.selection()?;
    let bounds = recovery.letters.bounds().await?;
    let mut request =
        RedriveRequest { selection, first: bounds.first, last: bounds.last, plan_complete: None };
    let counted = match dry_run {
        true => Some(plan(&*recovery.letters, &*recovery.directory, &request).await?),
        false => None,
    };
    request.plan_complete = counted.as_ref().map(|plan| plan.is_complete);
    let job =
        NewJob { kind: KIND, rate, request: json!(request), plan: counted.map(|plan| plan.counts) };
    let job = recovery.jobs.create(job).await?;
    tracing::info!(job = %job.id, dry_run, "redrive of dead letters requested");
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(job_view(&job, None))))
}

/// Lists the redrives, newest first.
#[utoipa::path(
    get, path = "/dlq/redrives", operation_id = "listRedrives",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The jobs.", body = Items<JobSchema>), Unavailable)
)]
async fn list(State(state): State<Shared>) -> Result<Json<Value>, ApiError> {
    jobs::list(&state, KIND, |job| job_view(job, None)).await
}

/// Shows a redrive.
#[utoipa::path(
    get, path = "/dlq/redrives/{id}", operation_id = "getRedrive",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The job.", body = JobSchema), Unavailable)
)]
async fn show(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    Ok(Json(status_view(&jobs::find(&state, KIND, &id).await?)))
}
