//! Operator endpoints for erasures of accounts and sites, which are jobs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::{self, action_routes, job_view};
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::json::insert_some;
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::schema::{Erasure, Items};
use crate::api::state::Shared;
use crate::recovery::erase::{BadSubject, EraseSubject, new_job, report_of};
use crate::recovery::jobs::{Job, JobKind};
use crate::registry::{Problem, code};

const KIND: JobKind = JobKind::Erase;
/// What no erasure reaches, and who does.
const NOT_COVERED: [(&str, &str); 4] = [
    (
        "backups",
        "copies of the broker's disks and snapshots of its streams: delete them where they are",
    ),
    ("handlers", "what apps received: their owners erase it"),
    (
        "registry",
        "installations, filters and tokens, and the revisions of filters: change or delete them through their APIs",
    ),
    ("source", "the site itself: its next events are stored again"),
];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(create, list));
    let router = route(router, routes!(show));
    action_routes::<Erasure>(router, ("/erasures", "Erasure"), KIND, |status| {
        erasure_view(&status.job)
    })
}

/// What is erased: a site, or an account at it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ErasureBody {
    /// Id of the site.
    site: Option<String>,
    /// Account at the site; without one, the whole site is erased.
    account_id: Option<String>,
    /// Whether it only counts.
    #[serde(default)]
    dry_run: bool,
    /// Messages per second.
    #[schema(minimum = 1, maximum = 1000)]
    rate: Option<u64>,
}

impl From<BadSubject> for ApiError {
    fn from(error: BadSubject) -> Self {
        Problem::new(code::FORM, error.name, error.message).into()
    }
}

/// Starts an erasure of an account or a site; with `dryRun` one that only counts.
#[utoipa::path(
    post, path = "/erasures", operation_id = "createErasure", request_body = ErasureBody,
    security(("operatorToken" = ["admin"])),
    responses((status = 202, description = "The job.", body = Erasure), Conflict)
)]
async fn create(
    State(state): State<Shared>,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let ErasureBody { site, account_id, dry_run, rate } = body.read()?;
    let subject = EraseSubject::new(site, account_id)?;
    let (job, private) = new_job(&subject, dry_run, rate)
        .map_err(|error| Problem::new(code::FORM, "rate", error.to_string()))?;
    let job = state.recovery.jobs.create_private(job, private).await?;
    // Without the account: logs are kept, too.
    tracing::info!(job = %job.id, dry_run, site = subject.site(), "erasure requested");
    Ok((StatusCode::ACCEPTED, Json(erasure_view(&job))))
}

/// Lists the erasures, newest first.
#[utoipa::path(
    get, path = "/erasures", operation_id = "listErasures",
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The jobs.", body = Items<Erasure>), Unavailable)
)]
async fn list(State(state): State<Shared>) -> Result<Json<Value>, ApiError> {
    jobs::list(&state, KIND, erasure_view).await
}

/// Shows an erasure with its report.
#[utoipa::path(
    get, path = "/erasures/{id}", operation_id = "getErasure",
    security(("operatorToken" = ["admin"])),
    responses((status = 200, description = "The job.", body = Erasure), Unavailable)
)]
async fn show(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    Ok(Json(erasure_view(&jobs::find(&state, KIND, &id).await?.job)))
}

fn erasure_view(job: &Job) -> Value {
    let mut view = job_view(job, None);
    insert_some(&mut view, "report", report_of(job));
    let kept: u64 = report_of(job)
        .iter()
        .flat_map(|report| report.values())
        .flat_map(|store| store.kept.values())
        .sum();
    insert_some(&mut view, "kept", Some(kept));
    let not_covered = NOT_COVERED.map(|(what, why)| json!({ "what": what, "why": why }));
    insert_some(&mut view, "notCovered", Some(not_covered));
    view
}
