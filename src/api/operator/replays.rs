//! Operator endpoints for replays of stored events, which are jobs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::jobs::{self, action_routes, job_view, read_rate, status_view};
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathId};
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Conflict, Unavailable, route};
use crate::api::schema::{Items, Job as JobSchema, Replay};
use crate::api::state::Shared;
use crate::api::unknown_names::{no_installation, no_subscription, wrong_member};
use crate::clock;
use crate::delivery::delivery_key;
use crate::domain::{InstallationId, SubscriptionId};
use crate::recovery::jobs::{Job, JobCounts, JobFailure, JobKind, NewJob};
use crate::recovery::redrive::time_of;
use crate::recovery::replay::{
    BEFORE_LOG, Coverage, EventBounds, ReplayMode, ReplayRequest, ReplayStreams, UNMATCHED, Window,
    WindowRequest, check_as_of, coverage, plan,
};
use crate::registry::{Problem, check_filter, code};

const KIND: JobKind = JobKind::Replay;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(create, list));
    let router = route(router, routes!(show));
    action_routes::<JobSchema>(router, ("/replays", "Replay"), KIND, status_view)
}

/// Which deliveries are made once more, of which events.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"subscription": "inst-a/key", "from": "2h", "mode": "missing", "dryRun": true}))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ReplayBody {
    /// `<installation>/<key>`; or
    subscription: Option<String>,
    /// all subscriptions of an installation.
    installation: Option<String>,
    /// Events stored from then on: RFC 3339, or an age such as `2h`; with
    from: Option<String>,
    /// events stored before; or
    to: Option<String>,
    /// a range of sequences of the event stream.
    sequences: Option<SequencesBody>,
    mode: ReplayMode,
    /// The filters and events of this time, in place of those of now.
    as_of: Option<String>,
    /// A further filter that must hold.
    filter: Option<String>,
    /// Where deliveries are sent in place of their handler.
    target: Option<TargetBody>,
    /// Deliveries per second.
    #[schema(minimum = 1, maximum = 1000)]
    rate: Option<u64>,
    /// Whether it only counts.
    #[serde(default)]
    dry_run: bool,
}

/// A range of sequences of the event stream, ends included.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SequencesBody {
    from: u64,
    to: u64,
}

/// An endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TargetBody {
    url: String,
}

impl ReplayBody {
    /// Returns the installation, and its module if only that is replayed.
    fn scope(&self) -> Result<(InstallationId, Option<SubscriptionId>), ApiError> {
        match (&self.subscription, &self.installation) {
            (Some(text), None) => {
                let id = SubscriptionId::parse(text).ok_or_else(|| {
                    form("subscription", "a subscription is <installation>/<key>")
                })?;
                Ok((id.installation.clone(), Some(id)))
            }
            (None, Some(id)) => Ok((id.as_str().into(), None)),
            _ => Err(form("", "either `subscription` or `installation`")),
        }
    }

    fn window(&self, now: Timestamp) -> Result<WindowRequest, ApiError> {
        let time = |name, text: &String| read_moment(name, text, now);
        let request = match (&self.sequences, &self.from) {
            (Some(SequencesBody { from, to }), None) if self.to.is_none() => {
                WindowRequest::Sequences(Window { first_sequence: *from, last_sequence: *to })
            }
            (None, Some(from)) => WindowRequest::Times {
                from: time("from", from)?,
                to: self.to.as_ref().map(|to| time("to", to)).transpose()?,
            },
            _ => return Err(form("", "either `from`, with or without `to`, or `sequences`")),
        };
        request.check().map_err(|error| form("", &error.to_string()))
    }
}

fn read_moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let message = "a time is RFC 3339, or an age such as 30m, 2h or 7d";
    time_of(text, now).ok_or_else(|| form(name, message))
}

fn form(path: &str, message: &str) -> ApiError {
    Problem::new(code::FORM, path, message).into()
}

/// Starts a replay of stored events, or only counts what it would do.
#[utoipa::path(
    post, path = "/replays", operation_id = "createReplay", request_body = ReplayBody,
    security(("operatorToken" = ["operate"])),
    responses((status = 200, description = "A dry run: what the job would do.", body = Replay),
        (status = 202, description = "The job.", body = Replay), Conflict)
)]
async fn create(
    State(state): State<Shared>,
    body: JsonObject,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body: ReplayBody = body.read()?;
    let (job, retained) = start(&state, &body).await?;
    let status = if body.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(replay_view(&retained, &job, None))))
}

/// Replays one event for one subscription, whatever became of it; returns the job.
///
/// # Errors
/// There is no such subscription, or no job can be created.
pub(super) async fn replay_one(
    state: &Shared,
    subscription: &SubscriptionId,
    sequence: u64,
) -> Result<Value, ApiError> {
    let body = ReplayBody {
        subscription: Some(subscription.to_string()),
        installation: None,
        from: None,
        to: None,
        sequences: Some(SequencesBody { from: sequence, to: sequence }),
        mode: ReplayMode::All,
        as_of: None,
        filter: None,
        target: None,
        rate: None,
        dry_run: false,
    };
    let (job, retained) = start(state, &body).await?;
    Ok(replay_view(&retained, &job, None))
}

/// Creates the job of a request.
async fn start(state: &Shared, body: &ReplayBody) -> Result<(Job, Retained), ApiError> {
    let rate = read_rate(body.rate)?;
    let mut request = read_request(state, body).await?;
    let counted = match body.dry_run {
        true => Some(plan(&state.recovery.replay, &request).await.map_err(not_planned)?),
        false => None,
    };
    request.plan_complete = counted.as_ref().map(|plan| plan.is_complete);
    let plan = counted.map(|plan| plan.counts);
    // Nothing may fail once the job is stored: the client would send the request again.
    let retained = Retained::read(&*state.recovery.replay.streams).await?;
    let job = NewJob { kind: KIND, rate, request: json!(request), plan };
    let job = state.recovery.jobs.create(job).await?;
    tracing::info!(
        job = %job.id,
        installation = %request.installation,
        dry_run = body.dry_run,
        has_target = request.target.is_some(),
        "replay requested"
    );
    Ok((job, retained))
}

/// Checks a request and finds the events that it is about.
async fn read_request(state: &Shared, body: &ReplayBody) -> Result<ReplayRequest, ApiError> {
    let (installation, subscription) = body.scope()?;
    // It may have been registered at another router just now.
    state.registry.catch_up().await;
    let now = clock::broker_now();
    let window = body.window(now)?;
    let as_of = body.as_of.as_deref().map(|text| read_moment("asOf", text, now)).transpose()?;
    if let Some(filter) = &body.filter {
        check_filter(filter, "filter").map_err(ApiError::Invalid)?;
    }
    let target = body.target.as_ref().map(|target| check_target(state, target)).transpose()?;
    let Some(known) = state.registry.installation(installation.as_str()) else {
        let unknown = no_installation(state, installation.as_str());
        return Err(unknown.map_or(ApiError::NotFound, |one| wrong_member(scope_member(body), one)));
    };
    let subscriptions = state.recovery.directory.subscriptions_of(&installation);
    let is_wanted = |id: SubscriptionId| subscription.as_ref().is_none_or(|wanted| *wanted == id);
    let Some(wanted) = subscriptions.iter().find(|one| is_wanted(one.id())) else {
        let unknown = body.subscription.as_deref().and_then(|id| no_subscription(state, id));
        if let Some(unknown) = unknown {
            return Err(wrong_member("subscription", unknown));
        }
        let message = "there is no live subscription: none is registered, or it receives no events";
        return Err(form(scope_member(body), message));
    };
    let delivery_key = Some(delivery_key(wanted)).filter(|key| *key != wanted.key);
    let replay = &state.recovery.replay;
    if replay.log.is_none() && body.mode != ReplayMode::All {
        return Err(ApiError::DeliveryLogOff);
    }
    let site = known.record.cloud_id.clone();
    let (window, coverage) = window.find(&*replay.streams, &site).await?;
    let request = ReplayRequest {
        installation,
        site,
        delivery_key: delivery_key.filter(|_| subscription.is_some()),
        key: subscription.map(|id| id.key),
        mode: body.mode,
        as_of_ms: as_of.map(Timestamp::as_millisecond),
        filter: body.filter.clone(),
        target: target.map(Into::into),
        window,
        coverage,
        plan_complete: None,
    };
    check_as_of(replay, &request).await.map_err(not_as_of)?;
    Ok(request)
}

fn scope_member(body: &ReplayBody) -> &'static str {
    if body.subscription.is_some() { "subscription" } else { "installation" }
}

fn check_target(state: &Shared, target: &TargetBody) -> Result<Url, ApiError> {
    let url = Url::parse(&target.url)
        .map_err(|error| form("target.url", &format!("this is not a URL: {error}")))?;
    state.guard.check_url(&url).map_err(|refusal| form("target.url", &refusal.to_string()))?;
    Ok(url)
}

fn not_planned(failure: JobFailure) -> ApiError {
    match failure {
        JobFailure::Later(reason) => ApiError::NotConfirmed(reason),
        JobFailure::Never(reason) => form("", &reason),
    }
}

fn not_as_of(failure: JobFailure) -> ApiError {
    match failure {
        JobFailure::Never(reason) => form("asOf", &reason),
        later => not_planned(later),
    }
}

/// Lists the replays, newest first.
#[utoipa::path(
    get, path = "/replays", operation_id = "listReplays",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The jobs.", body = Items<JobSchema>), Unavailable)
)]
async fn list(State(state): State<Shared>) -> Result<Json<Value>, ApiError> {
    jobs::list(&state, KIND, |job| job_view(job, None)).await
}

/// Shows a replay with what is stored of its events.
#[utoipa::path(
    get, path = "/replays/{id}", operation_id = "getReplay",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The job.", body = Replay), Unavailable)
)]
async fn show(State(state): State<Shared>, PathId(id): PathId) -> Result<Json<Value>, ApiError> {
    let status = jobs::find(&state, KIND, &id).await?;
    let retained = Retained::read(&*state.recovery.replay.streams).await?;
    Ok(Json(replay_view(&retained, &status.job, Some(&status.outcomes))))
}

/// What is stored now.
struct Retained {
    bounds: EventBounds,
    coverage: Coverage,
}

impl Retained {
    async fn read(streams: &dyn ReplayStreams) -> Result<Self, ApiError> {
        let (bounds, log) = (streams.event_bounds().await?, streams.log_bounds().await?);
        Ok(Self { bounds, coverage: coverage(&bounds, log.as_ref()) })
    }
}

/// Renders a job with what is stored now of the events that it is about.
fn replay_view(
    Retained { bounds, coverage: now }: &Retained,
    job: &Job,
    outcomes: Option<&JobCounts>,
) -> Value {
    let mut view = job_view(job, outcomes);
    let mut retained = json!({ "firstSequence": bounds.first, "lastSequence": bounds.last });
    insert_some(&mut retained, "eventsFrom", now.events_from_ms.and_then(rfc3339));
    insert_some(&mut retained, "logFrom", now.log_from_ms.and_then(rfc3339));
    insert_some(&mut view, "retained", Some(retained));
    if let Ok(request) = serde_json::from_value::<ReplayRequest>(job.request.clone()) {
        let notes = notes(&request, &job.counts);
        insert_some(&mut view, "notes", Some(notes).filter(|notes| !notes.is_empty()));
    }
    view
}

/// Says what a replay leaves out.
fn notes(request: &ReplayRequest, counts: &JobCounts) -> Vec<String> {
    let Coverage { events_from_ms, log_from_ms, begins_before_events } = request.coverage;
    let time = |ms: Option<i64>| ms.and_then(rfc3339).unwrap_or_else(|| "now".to_owned());
    let mut notes = Vec::new();
    if begins_before_events {
        let from = time(events_from_ms);
        notes.push(format!("events before {from} are deleted and are not replayed"));
    }
    let unknown = counts.get(BEFORE_LOG).copied().unwrap_or(0);
    if request.mode == ReplayMode::Missing && (log_from_ms > events_from_ms || unknown > 0) {
        let from = time(log_from_ms);
        let text = format!(
            "when the job was created, the delivery log was complete for events from {from} on; of earlier ones, and of those whose records were deleted since, only deliveries are replayed that it says failed (the others are counted as {BEFORE_LOG}: {unknown})"
        );
        notes.push(text);
    }
    let unmatched = counts.get(UNMATCHED).copied().unwrap_or(0);
    if unmatched > 0 {
        notes.push(format!(
            "events of {unmatched} deliveries were dead-lettered before they were matched for the installation: redrive these letters ({UNMATCHED})"
        ));
    }
    if request.target.is_some() {
        let note = "deliveries to the target have ids of their own, and are no deliveries of the subscription";
        notes.push(note.to_owned());
    }
    if request.plan_complete == Some(false) {
        notes.push("the dry run counted the oldest events only".to_owned());
    }
    notes
}
