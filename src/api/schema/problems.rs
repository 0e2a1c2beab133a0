//! Problems of a replica.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::common::Time;
use crate::recovery::doctor::{Severity, Subject};

/// A problem. Its kind says which members it has.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct RouterProblem {
    kind: ProblemKind,
    /// Position in the list.
    key: String,
    /// What is wrong; of problems without `fix` also what to do.
    reason: String,
    /// What it speaks of, the culprit first.
    subjects: Vec<Subject>,
    /// Of an incident: how bad it is.
    severity: Option<Severity>,
    /// Of an incident: the check of the doctor that found it.
    check: Option<String>,
    /// Of an incident: what to do, one sentence.
    fix: Option<String>,
    /// Id of the installation or of the record.
    id: Option<String>,
    app: Option<String>,
    cloud_id: Option<String>,
    since: Option<Time>,
    revision: Option<u64>,
    postponed_events: Option<u64>,
    steps_per_event: Option<u64>,
    steps_per_second_max: Option<u64>,
    last_refused: Option<Time>,
    /// Refused webhooks by reason.
    refused: Option<BTreeMap<String, u64>>,
    /// Modules with a problem.
    affected: Option<u64>,
    undelivered: Option<u64>,
    /// Webhooks whose OAuth client does not exist.
    without_client: Option<u64>,
    /// The first modules with a problem.
    modules: Option<Vec<AffectedModule>>,
}

/// Kind of a problem.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum ProblemKind {
    /// Something fails now.
    Incident,
    UnreadableDocument,
    EvaluationShareExceeded,
    WebhooksRefused,
    AppModules,
    Modules,
}

/// A module with a problem.
#[derive(ToSchema)]
struct AffectedModule {
    key: String,
    state: crate::registry::EffectiveStatus,
    /// Codes of its warnings.
    codes: Vec<String>,
}
