//! Jobs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::common::Time;
use crate::recovery::jobs::{JobKind, JobState};

/// A job.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Job {
    id: String,
    kind: JobKind,
    state: JobState,
    /// Entries per second.
    #[schema(minimum = 1, maximum = 1000)]
    rate: u32,
    /// What it was asked to do.
    request: Map<String, Value>,
    /// Numbers of entries by what became of them.
    counts: BTreeMap<String, u64>,
    /// Part that is done.
    #[schema(minimum = 0, maximum = 1)]
    progress: f64,
    created_at: Time,
    updated_at: Time,
    started_at: Option<Time>,
    /// Why it failed, or what it waits for.
    reason: Option<String>,
    eta_seconds: Option<u64>,
    /// What became of the deliveries that it handed over.
    outcomes: Option<BTreeMap<String, u64>>,
    /// Deliveries that it handed over and that are not accounted for yet.
    pending: Option<u64>,
}

/// A replay.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Replay {
    id: String,
    kind: JobKind,
    state: JobState,
    /// Entries per second.
    #[schema(minimum = 1, maximum = 1000)]
    rate: u32,
    /// What it was asked to do.
    request: Map<String, Value>,
    /// Numbers of entries by what became of them.
    counts: BTreeMap<String, u64>,
    /// Part that is done.
    #[schema(minimum = 0, maximum = 1)]
    progress: f64,
    created_at: Time,
    updated_at: Time,
    started_at: Option<Time>,
    /// Why it failed, or what it waits for.
    reason: Option<String>,
    eta_seconds: Option<u64>,
    /// What became of the deliveries that it handed over.
    outcomes: Option<BTreeMap<String, u64>>,
    /// Deliveries that it handed over and that are not accounted for yet.
    pending: Option<u64>,
    retained: Retained,
    /// What it leaves out.
    notes: Option<Vec<String>>,
}

/// What is stored now.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct Retained {
    first_sequence: u64,
    last_sequence: u64,
    events_from: Option<Time>,
    log_from: Option<Time>,
}

/// An erasure.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Erasure {
    id: String,
    kind: JobKind,
    state: JobState,
    /// Entries per second.
    #[schema(minimum = 1, maximum = 1000)]
    rate: u32,
    /// What it was asked to do, without the account.
    request: Map<String, Value>,
    /// Numbers of entries by what became of them.
    counts: BTreeMap<String, u64>,
    /// Part that is done.
    #[schema(minimum = 0, maximum = 1)]
    progress: f64,
    created_at: Time,
    updated_at: Time,
    started_at: Option<Time>,
    /// Why it failed, or what it waits for.
    reason: Option<String>,
    eta_seconds: Option<u64>,
    /// Reports by store; absent before the first step.
    report: Option<BTreeMap<String, StoreReport>>,
    /// Messages that are kept.
    kept: u64,
    /// What no erasure reaches, and who does.
    not_covered: Vec<NotCovered>,
}

/// What was removed from a store.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct StoreReport {
    read: u64,
    matched: u64,
    removed: u64,
    body_removed: u64,
    /// Not there any more when they were to be removed.
    left: u64,
    /// Kept, by reason.
    kept: Option<BTreeMap<String, u64>>,
}

/// What no erasure reaches.
#[derive(ToSchema)]
struct NotCovered {
    what: String,
    why: String,
}
