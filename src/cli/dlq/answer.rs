//! Paths of redrives, and members of answers.

use serde_json::Value;

use crate::cli::client::path_segment;

/// Returns the path of a redrive, or of an action on it.
pub(super) fn job_path(job: &str, action: &str) -> String {
    format!("/admin/v1/dlq/redrives/{}{action}", path_segment(job))
}

/// Returns a member that is a text; empty if there is none.
pub(super) fn text<'v>(item: &'v Value, name: &str) -> &'v str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}
