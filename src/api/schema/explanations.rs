//! Explanations of stored events.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::common::Time;
use super::filters::{FilterSpan, RetainedEvents};

/// Why events reached subscriptions, or not.
#[derive(ToSchema)]
pub(in crate::api) struct Explanation {
    /// The events, oldest first.
    events: Vec<ExplainedEvent>,
    /// What may help if nothing was found, and what the answer lacks.
    hints: Vec<String>,
    /// For operators.
    retained: Option<RetainedEvents>,
    /// What was searched; for operators.
    searched: Option<SearchedEvents>,
}

/// What was searched.
#[derive(ToSchema)]
struct SearchedEvents {
    events: u64,
    found: u64,
    /// Where the search ended, if its time did not suffice.
    until: Option<Time>,
}

/// An event with the decisions on it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct ExplainedEvent {
    /// Id of the event.
    event: String,
    site: String,
    r#type: String,
    /// When it was stored.
    time: Time,
    /// For operators.
    sequence: Option<u64>,
    entity: Option<String>,
    decisions: Vec<Decision>,
    /// Decisions that were not made.
    left_out: Option<u64>,
}

/// What was decided for a subscription.
#[derive(ToSchema)]
struct Decision {
    /// `<installation>/<key>`.
    subscription: String,
    /// `delivered`, `waiting`, `matched` or `not delivered`.
    decision: String,
    /// What decided; absent if it was delivered.
    stage: Option<String>,
    /// One sentence.
    because: String,
    span: Option<FilterSpan>,
    /// The values that the deciding part read, by their paths.
    values: Option<BTreeMap<String, Value>>,
    delivery: Option<ExplainedDelivery>,
    revision: Option<ExplainedRevision>,
    /// What the subscription would decide now.
    now: Option<WouldDecide>,
    /// What its shadow decides.
    shadow: Option<WouldDecide>,
}

/// What became of the delivery.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct ExplainedDelivery {
    id: String,
    outcome: String,
    attempts: u64,
    recorded_at: Time,
    reason: Option<String>,
    class: Option<String>,
    status: Option<u16>,
    detail: Option<String>,
    took_ms: Option<f64>,
    next_attempt_at: Option<Time>,
    replay: Option<String>,
}

/// The revision that decided, if it is not the current one.
#[derive(ToSchema)]
struct ExplainedRevision {
    then: Option<ShortRevision>,
    now: Option<ShortRevision>,
    /// Why it is not known.
    unknown: Option<String>,
}

/// A revision in short.
#[derive(ToSchema)]
struct ShortRevision {
    id: String,
    state: crate::registry::RevisedState,
    events: Vec<super::revisions::RevisedEvent>,
    since: Option<Time>,
}

/// What another filter decides.
#[derive(ToSchema)]
struct WouldDecide {
    decision: String,
    because: String,
    stage: Option<String>,
    span: Option<FilterSpan>,
    values: Option<BTreeMap<String, Value>>,
}
