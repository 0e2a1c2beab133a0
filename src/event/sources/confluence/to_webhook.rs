//! Events to Confluence webhooks.

use super::names::{holder, is_flat};
use super::values::{as_millis, copy};
use crate::domain::EventType;
use crate::event::members::{Members, ObjectWriter};

/// Members of events that webhooks lack or carry in another place.
const EVENT_ONLY: &[&str] = &[
    "eventType",
    "eventCreatedDate",
    "atlassianId",
    "selfGenerated",
    "context",
    "retryContext",
    "filterError",
    "runtime",
    "payloadIncludeProperties",
    "webhookTraceValue",
];

/// Writes the webhook of an event, except for the common members: `timestamp`, name and matched
/// ids.
pub(super) fn write_members(
    event_type: &EventType,
    event: &Members<'_>,
    webhook: &mut ObjectWriter,
) {
    if let (true, Some(content)) = (is_flat(event_type.as_str()), event.object("content")) {
        for (name, json) in content.iter() {
            webhook.json(name, json);
        }
        return;
    }
    copy(event, "atlassianId", webhook, "userAccountId");
    let holder = holder(event_type.as_str());
    for (name, json) in event.iter().filter(|(name, _)| !EVENT_ONLY.contains(name)) {
        match (holder, event.object(name).filter(|_| name == "content")) {
            (Some(holder), Some(content)) => webhook.json(holder, &entity(&content, json.len())),
            _ => webhook.json(name, json),
        }
    }
}

/// Returns when an event was created, in milliseconds since the epoch.
pub(super) fn created_ms(event: &Members<'_>) -> Option<i64> {
    as_millis(event.json("eventCreatedDate")?)
}

/// Returns the entity of a webhook from the `content` of its event.
fn entity(content: &Members<'_>, bytes: usize) -> String {
    let mut entity = ObjectWriter::with_capacity(bytes);
    if let Some(id) = content.id("id") {
        entity.text("idAsString", &id);
        match id.parse::<u64>() {
            Ok(_) => entity.json("id", &id),
            Err(_) => entity.text("id", &id),
        }
    }
    copy(content, "type", &mut entity, "contentType");
    let part = |name| content.object(name).unwrap_or_default();
    let (space, history, version) = (part("space"), part("history"), part("version"));
    copy(&space, "key", &mut entity, "spaceKey");
    copy(
        &history.object("createdBy").unwrap_or_default(),
        "accountId",
        &mut entity,
        "creatorAccountId",
    );
    copy_millis(&history, "createdDate", &mut entity, "creationDate");
    copy(
        &version.object("by").unwrap_or_default(),
        "accountId",
        &mut entity,
        "lastModifierAccountId",
    );
    copy_millis(&version, "when", &mut entity, "modificationDate");
    copy(&version, "number", &mut entity, "version");
    let respelt = ["id", "type", "space", "history", "version"];
    for (name, json) in content.iter().filter(|(name, _)| !respelt.contains(name)) {
        entity.json(name, json);
    }
    entity.finish()
}

fn copy_millis(from: &Members<'_>, name: &str, to: &mut ObjectWriter, as_name: &str) {
    if let Some(millis) = from.json(name).and_then(as_millis) {
        to.json(as_name, &millis.to_string());
    }
}
