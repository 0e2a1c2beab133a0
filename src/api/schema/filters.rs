//! Filters: checks, tests, dry runs and backtests.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::common::Time;

/// A diagnostic of a filter.
#[derive(ToSchema)]
pub(super) struct Diagnostic {
    /// Stable code.
    #[schema(pattern = "^SY-[0-9]{4}$")]
    code: String,
    severity: Severity,
    message: String,
    /// Further places that it is about.
    labels: Vec<DiagnosticLabel>,
    help: Option<String>,
    /// Text that replaces the wrong part.
    replacement: Option<String>,
    /// Start in bytes.
    offset: u64,
    /// Start in UTF-16 units.
    offset16: u64,
    /// Length in characters.
    length: u64,
    /// Line, from 1.
    line: u64,
    /// Column in characters, from 1.
    column: u64,
}

/// How severe a diagnostic is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Severity {
    Error,
    Warning,
}

/// A further place of a diagnostic.
#[derive(ToSchema)]
struct DiagnosticLabel {
    text: String,
    offset: u64,
    offset16: u64,
    length: u64,
    line: u64,
    column: u64,
}

/// A part of a filter with its text.
#[derive(ToSchema)]
pub(super) struct FilterSpan {
    /// The text of the part.
    source: String,
    offset: u64,
    offset16: u64,
    length: u64,
    line: u64,
    column: u64,
}

/// Whether a filter is valid.
#[derive(ToSchema)]
pub(in crate::api) struct FilterCheck {
    valid: bool,
    /// Errors of an invalid filter, warnings of a valid one.
    diagnostics: Vec<Diagnostic>,
    complexity: Option<FilterComplexity>,
    index: Option<FilterIndex>,
}

/// What an evaluation costs at most.
#[derive(ToSchema)]
struct FilterComplexity {
    /// Steps, such as `5*N + 20`.
    expression: String,
    /// The lists whose lengths the variables are.
    variables: BTreeMap<String, String>,
}

/// What the index looks up.
#[derive(ToSchema)]
struct FilterIndex {
    keys: Vec<String>,
    /// Parts that are evaluated for candidates of the index.
    residual: Option<Vec<FilterSpan>>,
}

/// How a filter decides on an event.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct FilterTest {
    /// False for an invalid filter, which has `diagnostics` and no other member; else absent.
    valid: Option<bool>,
    diagnostics: Option<Vec<Diagnostic>>,
    verdict: Option<Verdict>,
    error: Option<EvaluationError>,
    steps: Option<u64>,
    steps_max: Option<u64>,
    /// The parts of the filter with their values.
    parts: Option<Vec<BTreeMap<String, Value>>>,
    index: Option<FilterIndex>,
    warnings: Option<Vec<Diagnostic>>,
    /// Why, in one sentence.
    because: Option<String>,
    /// The part that decided.
    span: Option<FilterSpan>,
    /// The values that it read, by their paths.
    values: Option<BTreeMap<String, Value>>,
}

/// Verdict of a filter.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Verdict {
    True,
    False,
    Error,
}

/// Why an evaluation failed.
#[derive(ToSchema)]
struct EvaluationError {
    code: String,
    kind: String,
    message: String,
    source: String,
    offset: u64,
    offset16: u64,
    length: u64,
    line: u64,
    column: u64,
}

/// An event that is decided on.
#[derive(ToSchema)]
#[schema(example = json!({"event": {"eventType": "avi:jira:created:issue", "issue": {"key": "A-1"}}}))]
pub(in crate::api) struct EventBody {
    /// The event, with its type as `eventType`.
    event: Map<String, Value>,
}

/// Whether a trigger would receive an event, and why.
#[derive(ToSchema)]
pub(in crate::api) struct DryRun {
    delivered: bool,
    /// What decided.
    stage: String,
    /// One sentence.
    reason: String,
    /// The part of the filter that decided.
    span: Option<FilterSpan>,
    /// The values that it read, by their paths.
    values: Option<BTreeMap<String, Value>>,
    explanation: Option<FilterTest>,
}

/// What a filter would have done on stored events. An invalid filter has `valid` and `diagnostics` alone.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Backtest {
    valid: bool,
    diagnostics: Vec<Diagnostic>,
    site: Option<String>,
    /// The subscription that it is compared with.
    subscription: Option<String>,
    delivered: Option<u64>,
    matched: Option<u64>,
    not_matched: Option<u64>,
    failed: Option<u64>,
    delivered_on_error: Option<u64>,
    /// Failures by code.
    errors: Option<BTreeMap<String, u64>>,
    /// Events that no filter was evaluated for, by reason.
    left_out: Option<BTreeMap<String, u64>>,
    /// Part of the events that is delivered.
    rate: Option<f64>,
    /// Deliveries an hour.
    per_hour: Option<f64>,
    cost: Option<BacktestCost>,
    samples: Option<BacktestSamples>,
    difference: Option<BacktestDifference>,
    read: Option<BacktestRead>,
    retained: Option<RetainedEvents>,
}

/// What the evaluations cost.
#[derive(ToSchema)]
struct BacktestCost {
    evaluations: u64,
    steps: BacktestSteps,
}

/// Steps of the evaluations; null without one.
#[derive(ToSchema)]
struct BacktestSteps {
    /// Half of them took no more.
    #[schema(required)]
    p50: Option<u64>,
    #[schema(required)]
    p99: Option<u64>,
    #[schema(required)]
    max: Option<u64>,
    total: u64,
}

/// Some of the events.
#[derive(ToSchema)]
struct BacktestSamples {
    matched: Vec<SampledEvent>,
    failed: Vec<SampledEvent>,
}

/// How the filter differs from the one in force.
#[derive(ToSchema)]
struct BacktestDifference {
    gained: u64,
    lost: u64,
    kept: u64,
    samples: DifferenceSamples,
}

/// Some of the events that differ.
#[derive(ToSchema)]
struct DifferenceSamples {
    gained: Vec<SampledEvent>,
    lost: Vec<SampledEvent>,
}

/// An event with the reason of the decision; its sequence alone if it is not stored any more.
#[derive(ToSchema)]
struct SampledEvent {
    sequence: u64,
    event: Option<String>,
    site: Option<String>,
    r#type: Option<String>,
    entity: Option<String>,
    time: Option<Time>,
    stage: Option<String>,
    because: Option<String>,
    span: Option<FilterSpan>,
    values: Option<BTreeMap<String, Value>>,
    current: Option<CurrentDecision>,
}

/// What the filter in force decides.
#[derive(ToSchema)]
struct CurrentDecision {
    delivered: bool,
    stage: Option<String>,
    because: Option<String>,
    span: Option<FilterSpan>,
    values: Option<BTreeMap<String, Value>>,
}

/// The events that were read.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct BacktestRead {
    events: u64,
    /// Whether all events that were asked for were read.
    complete: bool,
    seconds: f64,
    events_per_second: f64,
    since: Option<Time>,
    until: Option<Time>,
    last_sequence: Option<u64>,
    last_time: Option<Time>,
    /// Where a further request continues.
    next_sequence: Option<u64>,
    /// Events that were deleted while they were to be read.
    deleted: Option<u64>,
}

/// What the event stream has.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RetainedEvents {
    first_sequence: u64,
    /// When its first event was stored; null if it has none.
    #[schema(required)]
    since: Option<Time>,
}
