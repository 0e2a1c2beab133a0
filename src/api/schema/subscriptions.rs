//! Subscriptions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::common::Time;
use super::errors::Problem;
use super::inspection::ReplicaName;
use crate::domain::OnError;
use crate::registry::{EffectiveStatus, RegistrationApi};

/// A page of subscriptions.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct SubscriptionPage {
    items: Vec<Subscription>,
    /// Cursor of the next page; absent on the last one.
    next_cursor: Option<String>,
    /// Number of subscriptions that the query selects; absent if there are too many to count.
    total: Option<u64>,
    /// Numbers for other choices of `state` and `failing`; absent if there are too many to count.
    counts: Option<SubscriptionTotals>,
    /// The replica whose counts these are; for operators.
    replica: Option<ReplicaName>,
    /// Which names of the query do not exist, if the list is empty.
    hints: Option<Vec<String>>,
}

/// Subscriptions that the other parts of a query select.
#[derive(ToSchema)]
struct SubscriptionTotals {
    /// By state, whatever state the query asks for.
    states: BTreeMap<String, u64>,
    /// Those that fail now, whether or not the query asks for them alone.
    failing: u64,
}

/// What failed last.
#[derive(ToSchema)]
struct LastProblem {
    /// One sentence.
    text: String,
    at: Option<Time>,
}

/// A module that may receive events.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Subscription {
    /// `<installation>/<key>`.
    id: String,
    installation: String,
    key: String,
    app: String,
    /// Id of the site.
    cloud_id: String,
    /// Type of the module.
    r#type: String,
    /// Whether the app itself declares it.
    r#static: bool,
    state: EffectiveStatus,
    /// Why it receives no events.
    reason: Option<String>,
    /// Why it fails now, in a few words.
    failing: Option<String>,
    /// The last failure of its filter or of an attempt, whether or not it fails now.
    last_problem: Option<LastProblem>,
    /// Display name.
    title: Option<String>,
    events: Vec<SubscribedEvent>,
    /// Where its deliveries go: `endpoint` or `function` with what they resolve to.
    handler: Option<BTreeMap<String, String>>,
    /// What the app submitted.
    data: Map<String, Value>,
    stats: SubscriptionStats,
    warnings: Option<Vec<Problem>>,
    /// The API that registered it.
    #[schema(rename = "door")]
    api: Option<RegistrationApi>,
    revision: Option<u64>,
    created_at: Option<Time>,
    updated_at: Option<Time>,
    shadow: Option<SubscriptionShadow>,
    /// When its shadow was promoted.
    promoted_at: Option<Time>,
}

/// An event type of a subscription.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SubscribedEvent {
    event_type: String,
    /// The filter; without one, every event matches.
    expression: Option<String>,
    on_error: Option<OnError>,
    /// Whether events that the app caused are left out.
    ignore_self: Option<bool>,
    /// Whether the installation must be licensed.
    app_is_licensed: Option<bool>,
}

/// Counts of this replica since its start.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SubscriptionStats {
    matched: u64,
    /// Left out by a condition.
    ignored: u64,
    /// Filters that failed.
    errors: u64,
    delivered: u64,
    failed_attempts: u64,
    dead: u64,
    /// Steps of evaluation.
    steps: u64,
    not_matched: Option<u64>,
    last_error: Option<String>,
    last_failure: Option<String>,
    /// Deliveries that are parked for its endpoint.
    parked: Option<u64>,
    last_error_at: Option<Time>,
    last_failure_at: Option<Time>,
    last_match: Option<Time>,
    last_delivered: Option<Time>,
}

/// The shadow of a subscription.
#[derive(ToSchema)]
struct SubscriptionShadow {
    /// The members that it changes.
    members: Map<String, Value>,
    since: Time,
}
