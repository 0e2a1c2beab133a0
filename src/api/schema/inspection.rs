//! What operators inspect: endpoints, the busiest subscriptions, findings, live decisions, listeners.

use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::common::Time;
use crate::recovery::doctor::{Severity, Subject};

/// The replica that answers, whose figures an answer has.
#[derive(ToSchema)]
pub(super) struct ReplicaName {
    name: String,
    /// When it started: its counts begin then.
    since: Option<Time>,
}

/// A page of endpoints.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct EndpointPage {
    items: Vec<DeliveryEndpoint>,
    /// Cursor of the next page; absent on the last one.
    next_cursor: Option<String>,
    replica: ReplicaName,
}

/// Where deliveries of an installation go.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct DeliveryEndpoint {
    id: String,
    installation: String,
    app: String,
    /// Id of the site.
    cloud_id: String,
    /// URL or NATS subject.
    address: String,
    host: String,
    state: EndpointStateName,
    /// Whether deliveries to it fail.
    failing: bool,
    /// What happens to deliveries, one sentence.
    explanation: String,
    /// Deliveries that are parked for it, over all replicas.
    parked: u64,
    /// Number of its subscriptions.
    subscriptions: u64,
    /// Keys of some of them.
    keys: Vec<String>,
    attempts: Option<u64>,
    failed_attempts: Option<u64>,
    average_ms: Option<f64>,
    shortest_ms: Option<f64>,
    last_failure: Option<EndpointFailure>,
    last_success: Option<Time>,
    /// The breaker that restricts attempts; absent if all are closed.
    breaker: Option<EndpointBreaker>,
    /// When its breaker admits the next attempt.
    next_attempt_at: Option<Time>,
    replica: Option<ReplicaName>,
    /// Modules that were enabled by this request.
    enabled: Option<u64>,
    /// Whether its breaker was open before this request.
    was_open: Option<bool>,
}

/// State of an endpoint on this replica.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum EndpointStateName {
    Closed,
    HalfOpen,
    Open,
    /// No delivery in the last minute.
    Idle,
    Paused,
    /// It answered HTTP 410.
    Disabled,
}

/// A breaker that is not closed.
#[derive(ToSchema)]
struct EndpointBreaker {
    /// What it protects: `endpoint`, `app` (all endpoints of the app at the host) or `host`.
    scope: String,
    since: Option<Time>,
    /// Class of the failure that opened it.
    cause: String,
}

/// A failed attempt.
#[derive(ToSchema)]
struct EndpointFailure {
    /// Class of the attempt, such as `5xx` or `timeout`.
    class: String,
    detail: String,
    at: Option<Time>,
}

/// Parameters that select endpoints.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct EndpointParams {
    /// Id of an installation.
    installation: Option<String>,
    /// Id of an app.
    app: Option<String>,
    #[param(inline)]
    state: Option<EndpointStateName>,
    /// Only those that fail.
    failing: Option<bool>,
}

/// What became of a test event.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct EndpointTest {
    /// Id of the endpoint.
    endpoint: String,
    address: String,
    /// Id of the test delivery.
    id: String,
    accepted: bool,
    /// Class of the attempt.
    class: String,
    took_ms: u64,
    /// Who is to blame for a failure.
    blame: Option<String>,
    detail: Option<String>,
    /// Status of the response.
    status: Option<u16>,
    /// The response: headers and the beginning of its body.
    response: Option<Value>,
}

/// The busiest subscriptions of this replica.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Top {
    time: Option<Time>,
    time_ms: i64,
    replica: ReplicaName,
    /// Number of live subscriptions.
    subscriptions: u64,
    totals: TopTotals,
    /// Parked deliveries of all owners.
    parked: u64,
    dead_letters: u64,
    /// Whether the router is ready.
    ready: bool,
    /// Checks of readiness that fail.
    failing: Vec<String>,
    input: Option<TopInput>,
    items: Vec<TopSubscription>,
}

/// Counts of this replica since its start.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct TopTotals {
    steps: u64,
    matched: u64,
    errors: u64,
    delivered: u64,
    failed_attempts: u64,
    dead: u64,
}

/// How far the router is behind the event stream.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct TopInput {
    pending: u64,
    unacknowledged: u64,
    lag_seconds: u64,
    measured_seconds_ago: i64,
}

/// One of the busiest subscriptions.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct TopSubscription {
    steps: u64,
    matched: u64,
    errors: u64,
    delivered: u64,
    failed_attempts: u64,
    dead: u64,
    /// `<installation>/<key>`.
    id: String,
    app: String,
    cloud_id: String,
    state: String,
    /// Deliveries that are parked for its endpoint.
    parked: u64,
    last_error: Option<String>,
    last_failure: Option<String>,
    last_match: Option<Time>,
}

/// Parameters of a ranking.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct TopParams {
    /// What subscriptions are ranked by; `cost` by default.
    #[param(inline)]
    by: Option<TopRank>,
    /// Most subscriptions; 100 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// Only those that matched, failed or were delivered within so many seconds.
    within: Option<u64>,
}

/// What subscriptions are ranked by.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum TopRank {
    Cost,
    Failures,
    Volume,
    Backlog,
}

/// Parameters that select live decisions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct LiveParams {
    /// Id of an app.
    app: Option<String>,
    /// Id of a site.
    site: Option<String>,
    /// An event type.
    r#type: Option<String>,
    /// `<installation>/<key>`.
    subscription: Option<String>,
    #[param(inline)]
    decision: Option<LiveDecision>,
}

/// What was decided.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum LiveDecision {
    Matched,
    Unmatched,
    Failed,
    Delivered,
    Parked,
    Dead,
    Dropped,
    Removed,
}

/// What the doctor found.
#[derive(ToSchema)]
pub(in crate::api) struct Diagnosis {
    status: DiagnosisStatus,
    checks: Vec<DoctorCheck>,
    findings: Vec<DoctorFinding>,
    replica: ReplicaName,
    /// What the broker says of itself; absent if it does not answer.
    broker: Option<Map<String, Value>>,
}

/// The worst finding.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum DiagnosisStatus {
    Ok,
    Warning,
    Critical,
}

/// A check, and its worst finding.
#[derive(ToSchema)]
struct DoctorCheck {
    check: String,
    status: DiagnosisStatus,
}

/// One finding.
#[derive(ToSchema)]
struct DoctorFinding {
    severity: Severity,
    /// The check that found it.
    check: String,
    /// What is wrong, one sentence.
    message: String,
    /// What to do, one sentence.
    fix: String,
    /// What it speaks of, the culprit first.
    subjects: Vec<Subject>,
}

/// A delivery that is sent again, or where the search for it continues.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Redelivery {
    id: Option<String>,
    /// `<installation>/<key>`.
    subscription: Option<String>,
    /// What became of it before.
    outcome: Option<String>,
    /// The replay that sends it.
    job: Option<Map<String, Value>>,
    /// Cursor to continue the search at.
    next_cursor: Option<String>,
    /// How far the log was read.
    examined_until: Option<Time>,
    /// Records that were read.
    examined: Option<u64>,
}

/// A listening client.
#[derive(ToSchema)]
pub(in crate::api) struct ListenerView {
    id: String,
    site: String,
    since: Option<Time>,
    /// Event types.
    events: Option<Value>,
    installation: Option<String>,
    filter: Option<Value>,
}

/// What a listener receives; a member may be left out if another one says it.
#[derive(ToSchema)]
pub(in crate::api) struct NewListener {
    /// The site; that of the installation if there is one.
    site: Option<String>,
    /// The installation whose app conditions and filters see.
    installation: Option<String>,
    /// A trigger whose events and filter it takes.
    subscription: Option<String>,
    /// Event types; those of the trigger, else all that the filter can be meant for.
    events: Option<Vec<String>>,
    /// The filter; that of the trigger, else every event passes.
    filter: Option<String>,
}

/// The answer of a handler to a delivery: the status of its response, or why there is none.
#[derive(ToSchema)]
pub(in crate::api) struct ListenerReply {
    #[schema(minimum = 100, maximum = 999)]
    status: Option<u16>,
    /// Beginning of its body.
    body: Option<String>,
    /// Why there is no response.
    error: Option<String>,
}
