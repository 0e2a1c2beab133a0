//! Operator endpoints for erasures of accounts and sites, which are jobs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::jobs::{self, action_routes, job_view};
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::json::insert_some;
use crate::api::state::{Shared, route};
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

pub(super) fn routes() -> Router<Shared> {
    let router = route(Router::new(), "/erasures", &post(create).get(list));
    let router = route(router, "/erasures/{id}", &get(show));
    action_routes(router, "/erasures", KIND, |status| erasure_view(&status.job))
}

/// The body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ErasureBody {
    site: Option<String>,
    account_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
    rate: Option<u64>,
}

impl From<BadSubject> for ApiError {
    fn from(error: BadSubject) -> Self {
        Problem::new(code::FORM, error.name, error.message).into()
    }
}

/// Starts an erasure; with `dryRun` one that only counts.
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
async fn list(State(state): State<Shared>) -> Result<Json<Value>, ApiError> {
    jobs::list(&state, KIND, erasure_view).await
}

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
