//! The JSON of jobs, the same for every kind.

use serde_json::{Value, json};

use crate::api::json::{insert_some, rfc3339};
use crate::recovery::jobs::{Job, JobCounts};

/// Count of the deliveries that a job handed over.
const PARKED: &str = "parked";

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
