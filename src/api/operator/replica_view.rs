//! What counts of one replica are of: its name, and since when it counts.

use serde_json::{Value, json};

use crate::api::json::rfc3339;
use crate::api::state::Shared;

/// Returns the member `replica` of answers whose figures are those of one replica.
pub(super) fn replica_view(state: &Shared) -> Value {
    let replica = &state.operations.replica;
    json!({ "name": replica.name, "since": rfc3339(replica.started_ms) })
}
