//! Revisions of subscriptions.

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::common::Time;
use crate::registry::{RegistrationApi, RevisedState};

/// A revision of a subscription.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct Revision {
    id: String,
    key: String,
    app: String,
    /// Type of the module.
    r#type: String,
    /// Whether the app itself declares it.
    r#static: bool,
    /// Revision of the record that changed it.
    registry_revision: u64,
    state: RevisedState,
    events: Vec<RevisedEvent>,
    since: Time,
    installation: Option<String>,
    /// The API that registered it.
    #[schema(rename = "door")]
    api: Option<RegistrationApi>,
    /// Revision of the module.
    revision: Option<u64>,
    /// Why it receives no events.
    reason: Option<String>,
    /// Present if the record was stored later than the change.
    repaired: Option<bool>,
    /// What the revision changed, in a word.
    change: Option<String>,
    /// Present if another revision may have been in force at the moment.
    uncertain: Option<bool>,
    /// What the app submitted; in the answer for one revision.
    data: Option<Map<String, Value>>,
}

/// An event type of a revision.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RevisedEvent {
    event_type: String,
    /// The filter; without one, every event matches.
    filter: Option<String>,
    /// The filter in normal form.
    normal_filter: Option<String>,
    /// What else restricts it.
    conditions: Option<Map<String, Value>>,
}

/// The revisions of a subscription, newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct RevisionList {
    items: Vec<Revision>,
    /// Whether the first revision is known.
    complete: bool,
    kept_since: Option<Time>,
    unreadable: Option<u64>,
}

/// How a revision differs from the one before it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct RevisionDiff {
    id: String,
    state: RevisedStates,
    added: Vec<RevisedEvent>,
    removed: Vec<RevisedEvent>,
    changed: Vec<ChangedEvent>,
    /// Id of the revision before it; absent if there was none.
    compared_with: Option<String>,
}

/// States before and after.
#[derive(ToSchema)]
struct RevisedStates {
    before: Option<RevisedState>,
    after: RevisedState,
}

/// An event type before and after.
#[derive(ToSchema)]
struct ChangedEvent {
    before: RevisedEvent,
    after: RevisedEvent,
}
