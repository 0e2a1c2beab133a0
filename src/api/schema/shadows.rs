//! Shadows.

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::common::Time;
use super::errors::Problem;

/// A filter that is compared with the one in force.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Shadow {
    /// `<installation>/<key>`.
    subscription: String,
    /// Name of the shadow, which `promote` may ask for.
    name: String,
    /// The members of the module that it changes.
    members: Map<String, Value>,
    /// Events after this sequence are compared; for operators.
    after: Option<u64>,
    /// Revision of the module.
    revision: u64,
    since: Time,
    /// Present if the module changed since.
    module_changed: Option<bool>,
    /// Sequence of the last event that was compared.
    counted_to: Option<u64>,
    events: Option<u64>,
    /// Events that both deliver.
    both: Option<u64>,
    /// Events that the shadow alone delivers.
    gained: Option<u64>,
    /// Events that the filter in force alone delivers.
    lost: Option<u64>,
    steps: Option<u64>,
    /// Whether all stored events were compared.
    up_to_date: Option<bool>,
    filter: Option<Evaluations>,
    shadow: Option<Evaluations>,
    unreadable: Option<u64>,
    uncounted: Option<u64>,
    stream_lost: Option<bool>,
    differences: Option<Differences>,
    /// Why there is no count.
    problem: Option<String>,
    warnings: Option<Vec<Problem>>,
}

/// Members of the module that the shadow changes.
#[derive(ToSchema)]
#[schema(example = json!({"filter": {"expression": "event.issue.fields.priority.name == 'High'"}}))]
pub(in crate::api) struct ShadowMembers {
    events: Option<Vec<Value>>,
    filter: Option<Map<String, Value>>,
}

/// What evaluations returned.
#[derive(ToSchema)]
struct Evaluations {
    /// Events that it delivers.
    matched: u64,
    /// Events on which its evaluation failed.
    errors: u64,
}

/// Some of the events that differ, the newest first.
#[derive(ToSchema)]
struct Differences {
    gained: Vec<DifferentEvent>,
    lost: Vec<DifferentEvent>,
}

/// An event that only one of them delivers.
#[derive(ToSchema)]
struct DifferentEvent {
    /// For operators.
    sequence: Option<u64>,
    r#type: String,
    /// Its id, if it is still stored.
    event: Option<String>,
    time: Option<Time>,
}
