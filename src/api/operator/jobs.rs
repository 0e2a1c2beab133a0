//! Jobs as operators see them, the same for every kind: their JSON, lists, pause, resume and cancel.

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::content::Content;
use utoipa::openapi::path::{Operation, OperationBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Ref, ResponseBuilder, ResponsesBuilder};
use utoipa_axum::router::OpenApiRouter;

use crate::api::access::OPERATOR_TOKEN;
use crate::api::error::ApiError;
use crate::api::extract::PathId;
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Unavailable, described_post, route};
use crate::api::state::Shared;
use crate::domain::Scope;
use crate::recovery::jobs::{Job, JobCounts, JobId, JobKind, JobRate, JobState, JobStatus};
use crate::registry::{Problem, code};

/// Count of the deliveries that a job handed over.
const PARKED: &str = "parked";

/// Adds `POST <path>/{id}/pause`, `/resume` and `/cancel`, which respond with the `view` of the job: it has the
/// schema `S`. `name` is the kind in the ids of operations.
pub(super) fn action_routes<S: ToSchema>(
    mut router: OpenApiRouter<Shared>,
    (path, name): (&str, &str),
    kind: JobKind,
    view: fn(&JobStatus) -> Value,
) -> OpenApiRouter<Shared> {
    for (action, text, next) in [
        ("pause", "Pauses the job.", JobState::Paused),
        ("resume", "Continues the job, or starts what a dry run counted.", JobState::Running),
        ("cancel", "Ends the job.", JobState::Cancelled),
    ] {
        let scope = if kind == JobKind::Erase { Scope::Admin } else { Scope::Operate };
        let act = async move |State(state): State<Shared>, PathId(id): PathId| {
            let id = JobId::parse(&id).ok_or(ApiError::NotFound)?;
            let jobs = &state.recovery.jobs;
            match next {
                JobState::Paused => jobs.pause(kind, &id).await?,
                JobState::Running => jobs.resume(kind, &id).await?,
                _ => jobs.cancel(kind, &id).await?,
            };
            Ok::<_, ApiError>(Json(view(&jobs.get(kind, &id).await?)))
        };
        let operation = action_operation::<S>(&format!("{action}{name}"), text, scope);
        let path = format!("{path}/{{id}}/{action}");
        router = route(router, described_post::<S, _>(&path, operation, post(act)));
    }
    router
}

fn action_operation<S: ToSchema>(id: &str, text: &str, scope: Scope) -> Operation {
    let content = Content::new(Some(Ref::from_schema_name(S::name())));
    let answer =
        ResponseBuilder::new().description("The job.").content("application/json", content);
    OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(text))
        .security(SecurityRequirement::new(OPERATOR_TOKEN, [scope.as_str()]))
        .responses(
            ResponsesBuilder::new()
                .response("200", answer)
                .responses_from_into_responses::<Conflict>()
                .responses_from_into_responses::<Unavailable>(),
        )
        .build()
}

/// Lists the jobs of a kind, newest first. Their number is bounded, so there is one page.
///
/// # Errors
/// The broker does not answer.
pub(super) async fn list(
    state: &Shared,
    kind: JobKind,
    view: fn(&Job) -> Value,
) -> Result<Json<Value>, ApiError> {
    let jobs = state.recovery.jobs.list(kind).await?;
    Ok(Json(json!({ "items": jobs.iter().map(view).collect::<Vec<_>>() })))
}

/// Returns a job with its outcomes.
///
/// # Errors
/// There is no such job, or the broker does not answer.
pub(super) async fn find(state: &Shared, kind: JobKind, id: &str) -> Result<JobStatus, ApiError> {
    let id = JobId::parse(id).ok_or(ApiError::NotFound)?;
    Ok(state.recovery.jobs.get(kind, &id).await?)
}

/// Reads the member `rate` of a request.
///
/// # Errors
/// It is out of range.
pub(super) fn read_rate(rate: Option<u64>) -> Result<JobRate, ApiError> {
    let Some(rate) = rate else { return Ok(JobRate::default()) };
    let rate = JobRate::new(rate);
    rate.map_err(|error| Problem::new(code::FORM, "rate", error.to_string()).into())
}

/// Renders a job with what became of what it handed over, see [`job_view`].
pub(super) fn status_view(status: &JobStatus) -> Value {
    job_view(&status.job, Some(&status.outcomes))
}

/// Renders a job. `outcomes` is what became of the deliveries that it handed over, if it was read;
/// `pending` is then how many of them are not accounted for yet.
pub(super) fn job_view(job: &Job, outcomes: Option<&JobCounts>) -> Value {
    let mut view = json!({
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "rate": job.rate.per_second(),
        "request": job.request,
        "counts": job.counts,
        "progress": job.progress,
        "createdAt": rfc3339(job.created_ms),
        "updatedAt": rfc3339(job.updated_ms),
    });
    insert_some(&mut view, "startedAt", job.started_ms.and_then(rfc3339));
    insert_some(&mut view, "reason", job.reason.as_ref());
    insert_some(&mut view, "etaSeconds", job.eta_s());
    if let Some(outcomes) = outcomes {
        let ended: u64 = outcomes.values().sum();
        let handed_over = if job.started_ms.is_some() { job.counts.get(PARKED) } else { None };
        let pending = handed_over.copied().unwrap_or(0).saturating_sub(ended);
        insert_some(&mut view, "outcomes", Some(outcomes));
        insert_some(&mut view, "pending", Some(pending));
    }
    view
}
