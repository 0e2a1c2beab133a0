//! Confluence webhooks to events.
//!
//! A webhook has its page, blog post or comment under a member of that name, flat, with times in
//! milliseconds; an event has it as `content`, with space, history and version as objects. All other
//! members are copied byte for byte.

use super::names::holder;
use super::values::{as_date, copy};
use crate::event::members::{Members, ObjectWriter};

/// Members of the webhook's own envelope, which events carry elsewhere or not at all.
const ENVELOPE: &[&str] = &["timestamp", "webhookEvent", "event", "eventType", "userAccountId"];

/// Returns the event object of a webhook.
pub(super) fn event_body(event_type: &str, webhook: &Members<'_>, bytes: usize) -> String {
    let mut event = ObjectWriter::with_capacity(bytes + 256);
    event.text("eventType", event_type);
    if let Some(created) = webhook.json("timestamp").and_then(as_date) {
        event.text("eventCreatedDate", &created);
    }
    if let Some(actor) = webhook.id("userAccountId") {
        event.text("atlassianId", &actor);
    }
    let holder = holder(event_type);
    for (name, json) in webhook.iter().filter(|(name, _)| !ENVELOPE.contains(name)) {
        match webhook.object(name).filter(|_| Some(name) == holder) {
            Some(entity) => event.json("content", &content(&entity, json.len())),
            None => event.json(name, json),
        }
    }
    event.finish()
}

/// Returns the event object of a webhook that is the content itself.
pub(super) fn flat_body(event_type: &str, content: &Members<'_>, bytes: usize) -> String {
    let mut event = ObjectWriter::with_capacity(bytes + 256);
    event.text("eventType", event_type);
    let part = |name| content.object(name).unwrap_or_default();
    let (version, history) = (part("version"), part("history"));
    if let Some(when) = version.string("when").or_else(|| history.string("createdDate")) {
        event.text("eventCreatedDate", &when);
    }
    let account = |of: &Members<'_>, name: &str| of.object(name)?.id("accountId");
    if let Some(actor) = account(&version, "by").or_else(|| account(&history, "createdBy")) {
        event.text("atlassianId", &actor);
    }
    let mut entity = ObjectWriter::with_capacity(bytes);
    for (name, json) in content.iter() {
        entity.json(name, json);
    }
    event.json("content", &entity.finish());
    event.finish()
}

/// Members of a webhook's entity that events have in nested objects.
const FLAT: &[&str] = &[
    "id",
    "idAsString",
    "contentType",
    "spaceKey",
    "version",
    "creatorAccountId",
    "creationDate",
    "lastModifierAccountId",
    "modificationDate",
];

/// Returns the `content` of an event from the entity of its webhook.
fn content(entity: &Members<'_>, bytes: usize) -> String {
    let mut content = ObjectWriter::with_capacity(bytes + 256);
    if let Some(id) = entity.id("idAsString").or_else(|| entity.id("id")) {
        content.text("id", &id);
    }
    copy(entity, "contentType", &mut content, "type");
    if let Some(key) = entity.json("spaceKey") {
        content.json("space", &object(&[("key", Some(key.to_owned()))]));
    }
    let person = |name| entity.json(name).map(|id| object(&[("accountId", Some(id.to_owned()))]));
    let date = |name| entity.json(name).and_then(as_date).map(|date| format!("\"{date}\""));
    let history =
        [("createdBy", person("creatorAccountId")), ("createdDate", date("creationDate"))];
    if history.iter().any(|(_, value)| value.is_some()) {
        content.json("history", &object(&history));
    }
    match entity.json("version") {
        Some(number) if !number.starts_with('{') => {
            let number = ("number", Some(number.to_owned()));
            let by = ("by", person("lastModifierAccountId"));
            content.json("version", &object(&[by, ("when", date("modificationDate")), number]));
        }
        version => {
            if let Some(version) = version {
                content.json("version", version);
            }
        }
    }
    for (name, json) in entity.iter().filter(|(name, _)| !FLAT.contains(name)) {
        content.json(name, json);
    }
    content.finish()
}

/// Returns an object of the members that exist.
fn object(members: &[(&str, Option<String>)]) -> String {
    let mut object = ObjectWriter::with_capacity(64);
    for (name, json) in members {
        if let Some(json) = json {
            object.json(name, json);
        }
    }
    object.finish()
}
