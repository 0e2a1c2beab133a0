//! What of the data of a module is its filter and its events, and how two revisions differ in it.

use serde::Serialize;
use serde_json::{Map, Value};

use super::record::{ModuleRevision, RevisedState};
use crate::registry::model::{DYNAMIC_WEBHOOK, ModuleFields, TRIGGER, WEBHOOKS};
use crate::registry::validation::{Trigger, TriggerEvent, normal_jql};

/// The members of triggers, of Connect webhooks and of dynamic webhooks that say which events match.
const MEMBERS: [&str; 7] = [
    "events",
    "filter",
    "event",
    "conditions",
    "jqlFilter",
    "fieldIdsFilter",
    "issuePropertyKeysFilter",
];
/// Member of an event of a trigger that says what its deliveries contain, not whether it matches.
const PAYLOAD: &str = "payload";

/// Whether two modules have the same events and filters, as they were written.
pub(crate) fn has_same_filters(left: &ModuleFields, right: &ModuleFields) -> bool {
    left == right || filters(left) == filters(right)
}

/// Whether two revisions of a module say the same.
pub(crate) fn has_same_content(left: &ModuleRevision, right: &ModuleRevision) -> bool {
    let same_filters = match (&left.data, &right.data) {
        (Some(left), Some(right)) => has_same_filters(left, right),
        (left, right) => left.is_none() && right.is_none(),
    };
    left.state == right.state && left.module_type == right.module_type && same_filters
}

fn filters(data: &ModuleFields) -> Map<String, Value> {
    let mut members = data.read();
    members.retain(|name, _| MEMBERS.contains(&name.as_str()));
    if let Some(Value::Array(events)) = members.get_mut("events") {
        for event in events.iter_mut().filter_map(Value::as_object_mut) {
            event.remove(PAYLOAD);
        }
    }
    members
}

/// One event of a revision with its filter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisedEvent {
    /// Event type, or name of a webhook event.
    pub event_type: String,
    /// The filter as it was written; none = every event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The filter in normal form, if its language has one: JQL as Jira lists it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normal_filter: Option<String>,
    /// What else restricts it, such as `ignoreSelf`, with its value.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub conditions: Map<String, Value>,
}

impl ModuleRevision {
    /// Returns its events with their filters; empty for a deleted module, one that is not routed, and one that
    /// this release does not understand.
    #[must_use]
    pub fn events(&self) -> Vec<RevisedEvent> {
        let Some(data) = self.data.as_ref().map(ModuleFields::read) else { return Vec::new() };
        match self.module_type.as_str() {
            TRIGGER => {
                let Ok(trigger) = Trigger::parse(&data, "data") else { return Vec::new() };
                trigger.events.iter().map(event_of_trigger).collect()
            }
            WEBHOOKS | DYNAMIC_WEBHOOK => events_of_webhook(&data),
            _ => Vec::new(),
        }
    }
}

fn event_of_trigger(event: &TriggerEvent) -> RevisedEvent {
    let mut conditions = Map::new();
    let mut filter = None;
    if let Some(given) = event.filter.as_deref() {
        filter = given.expression.as_ref().map(|text| text.value.to_string());
        let flags = [("ignoreSelf", given.ignore_self), ("appIsLicensed", given.requires_licence)];
        for (name, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
            conditions.insert(name.to_owned(), Value::Bool(true));
        }
        if let Some(on_error) = given.on_error {
            conditions.insert("onError".to_owned(), serde_json::json!(on_error));
        }
    }
    let event_type = event.event_type.value.to_string();
    RevisedEvent { event_type, filter, normal_filter: None, conditions }
}

fn events_of_webhook(data: &Map<String, Value>) -> Vec<RevisedEvent> {
    let text = |name: &str| data.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let filter = text("filter").or_else(|| text("jqlFilter"));
    let names = ["conditions", "fieldIdsFilter", "issuePropertyKeysFilter"].into_iter();
    let conditions: Map<String, Value> =
        names.filter_map(|name| Some((name.to_owned(), data.get(name)?.clone()))).collect();
    let several = data.get("events").and_then(Value::as_array).into_iter().flatten();
    let events = text("event").into_iter().chain(several.filter_map(Value::as_str));
    let event = |name: &str| RevisedEvent {
        event_type: name.to_owned(),
        filter: filter.map(str::to_owned),
        normal_filter: filter.map(normal_jql),
        conditions: conditions.clone(),
    };
    events.map(event).collect()
}

/// How a revision differs from the one before it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionDiff {
    /// State before; none if the module did not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_before: Option<RevisedState>,
    /// State after.
    pub state: RevisedState,
    /// Events that were not there before.
    pub added: Vec<RevisedEvent>,
    /// Events that are not there any more.
    pub removed: Vec<RevisedEvent>,
    /// Events whose filter or conditions differ: before and after.
    pub changed: Vec<(RevisedEvent, RevisedEvent)>,
}

impl RevisionDiff {
    /// Compares a revision with the one before it, if there is one.
    #[must_use]
    pub fn between(before: Option<&ModuleRevision>, after: &ModuleRevision) -> Self {
        let (mut old, new) =
            (before.map(ModuleRevision::events).unwrap_or_default(), after.events());
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        for event in new {
            match old.iter().position(|one| one.event_type == event.event_type) {
                None => added.push(event),
                Some(at) => {
                    let one = old.remove(at);
                    if one != event {
                        changed.push((one, event));
                    }
                }
            }
        }
        let state_before = before.map(|before| before.state);
        Self { state_before, state: after.state, added, removed: old, changed }
    }
}
