//! Confluence webhooks to events and back.
//!
//! A webhook has its page, blog post or comment under a member of that name, flat, with times in
//! milliseconds; an event has it as `content`, with space, history and version as objects. All
//! other members are copied byte for byte. Confluence Cloud does not name a webhook in its body, so
//! the URL has to (`?event=page_created`).
//!
//! **Source:** Atlassian Connect, "Webhooks" (Confluence); "Confluence events" (Forge).

use bytes::Bytes;
use jiff::Timestamp;

use super::super::members::{Members, ObjectWriter};
use super::{NAME_BYTES_MAX, WebhookError, as_token, read, to_event};
use crate::domain::{CloudId, EventType};
use crate::event::{Envelope, HeaderLookup};

/// Webhook families whose verbs are those of the event types: prefix of the webhook name, verbs,
/// noun of the event type.
const SAME_VERB: &[(&str, &[&str], &str)] = &[
    (
        "page_",
        &[
            "created",
            "updated",
            "viewed",
            "archived",
            "unarchived",
            "moved",
            "copied",
            "children_reordered",
            "restored",
            "trashed",
            "initialized",
            "started",
            "snapshotted",
            "published",
        ],
        "page",
    ),
    ("blog_", &["created", "updated", "viewed", "restored", "trashed"], "blogpost"),
    ("comment_", &["created", "updated"], "comment"),
    (
        "attachment_",
        &["created", "updated", "viewed", "archived", "unarchived", "trashed", "restored"],
        "attachment",
    ),
    ("space_", &["created", "updated", "permissions_updated"], "space:V2"),
    ("label_", &["created", "added", "removed", "deleted"], "label"),
    ("user_", &["created"], "user"),
    ("group_", &["created"], "group"),
    ("relation_", &["created", "deleted"], "relation"),
];

/// Webhooks whose event type has another verb.
const OTHER_VERB: &[(&str, &str)] = &[
    ("page_removed", "avi:confluence:deleted:page"),
    ("blog_removed", "avi:confluence:deleted:blogpost"),
    ("comment_removed", "avi:confluence:deleted:comment"),
    ("attachment_removed", "avi:confluence:deleted:attachment"),
    ("space_removed", "avi:confluence:deleted:space:V2"),
    ("user_removed", "avi:confluence:deleted:user"),
    ("group_removed", "avi:confluence:deleted:group"),
    ("search_performed", "avi:confluence:performed:search"),
];

/// Nouns of event types whose entity is the `content`, and its member in a webhook.
const CONTENT: &[(&str, &str)] = &[("page", "page"), ("blogpost", "blog"), ("comment", "comment")];

/// Members of the webhook's own envelope, which events carry elsewhere or not at all.
const ENVELOPE: &[&str] = &["timestamp", "webhookEvent", "event", "eventType", "userAccountId"];

/// Returns the event type of the webhook named `name`, if it is known.
pub(super) fn event_type(name: &str) -> Option<String> {
    if let Some((_, event_type)) = OTHER_VERB.iter().find(|(known, _)| *known == name) {
        return Some((*event_type).to_owned());
    }
    SAME_VERB.iter().find_map(|(prefix, verbs, noun)| {
        let verb = name.strip_prefix(prefix).filter(|verb| verbs.contains(verb))?;
        Some(format!("avi:confluence:{verb}:{noun}"))
    })
}

/// Whether an event type belongs to Confluence.
pub(super) fn is_event_type(event_type: &EventType) -> bool {
    event_type.as_str().starts_with("avi:confluence:")
}

/// Returns the event of one webhook of site `cloud_id`. The webhook's name is `named`, else the
/// body's `webhookEvent` or `event`; an unknown name becomes the event type `webhook:<name>`.
///
/// # Errors
/// See [`WebhookError`]; never because the kind of the webhook is unknown.
pub fn map_webhook(
    cloud_id: &CloudId,
    headers: &impl HeaderLookup,
    body: &[u8],
    named: Option<&str>,
) -> Result<(Envelope, Bytes), WebhookError> {
    let webhook = read(body)?;
    let in_body = || webhook.string("webhookEvent").or_else(|| webhook.string("event"));
    let name = named.map(str::to_owned).or_else(in_body).unwrap_or_default();
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Err(WebhookError::Unnamed);
    }
    let event_type = event_type(&name).unwrap_or_else(|| format!("webhook:{}", as_token(&name)));
    let body = event_body(&event_type, &webhook, body.len());
    Ok(to_event(cloud_id, headers, event_type.into(), &webhook, body))
}

fn event_body(event_type: &str, webhook: &Members<'_>, bytes: usize) -> String {
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

/// Returns the webhook member that corresponds to `content` for this event type.
fn holder(event_type: &str) -> Option<&'static str> {
    let noun = event_type.strip_prefix("avi:confluence:")?.split(':').nth(1)?;
    CONTENT.iter().find(|(known, _)| *known == noun).map(|(_, member)| *member)
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

/// Writes the webhook of an event, except for the common members: `timestamp`, name and matched
/// ids.
pub(super) fn add_members(event_type: &EventType, event: &Members<'_>, webhook: &mut ObjectWriter) {
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
    "webhookTraceValue",
];

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

fn copy(from: &Members<'_>, name: &str, to: &mut ObjectWriter, as_name: &str) {
    if let Some(json) = from.json(name) {
        to.json(as_name, json);
    }
}

fn copy_millis(from: &Members<'_>, name: &str, to: &mut ObjectWriter, as_name: &str) {
    if let Some(millis) = from.json(name).and_then(as_millis) {
        to.json(as_name, &millis.to_string());
    }
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

/// Converts milliseconds since the epoch to the format of events: `2026-03-02T11:40:55.120Z`.
fn as_date(millis: &str) -> Option<String> {
    let time = Timestamp::from_millisecond(millis.parse().ok()?).ok()?;
    Some(format!("{time:.3}"))
}

fn as_millis(date: &str) -> Option<i64> {
    let time: Timestamp = date.trim_matches('"').parse().ok()?;
    Some(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::reverse;
    use super::*;

    struct NoHeaders;

    impl HeaderLookup for NoHeaders {
        fn get(&self, _name: &str) -> Option<&str> {
            None
        }
    }

    fn page() -> Value {
        json!({
            "userAccountId": "a:1", "accountType": "customer", "timestamp": 1_471_926_079_645_i64,
            "page": {"idAsString": "16777227", "id": 16_777_227, "title": "Test", "spaceKey": "OPS",
                "contentType": "page", "version": 3, "creatorAccountId": "a:2",
                "creationDate": 1_471_926_079_631_i64, "lastModifierAccountId": "a:1",
                "modificationDate": 1_471_926_079_640_i64, "self": "https://example.com/p"},
            "updateTrigger": "edit_page",
        })
    }

    fn map(body: &Value, named: Option<&str>) -> Result<(Envelope, Value), WebhookError> {
        let text = body.to_string();
        let (envelope, body) = map_webhook(&"c1".into(), &NoHeaders, text.as_bytes(), named)?;
        Ok((envelope, serde_json::from_slice(&body).unwrap()))
    }

    #[test]
    fn page_of_a_webhook_is_the_content_of_its_event() {
        let (envelope, event) = map(&page(), Some("page_updated")).unwrap();
        assert_eq!(envelope.event_type.as_str(), "avi:confluence:updated:page");
        assert_eq!(envelope.entity.as_deref(), Some("16777227"));
        assert_eq!(
            event,
            json!({
                "eventType": "avi:confluence:updated:page",
                "eventCreatedDate": "2016-08-23T04:21:19.645Z",
                "atlassianId": "a:1", "accountType": "customer", "updateTrigger": "edit_page",
                "content": {"id": "16777227", "type": "page", "title": "Test",
                    "space": {"key": "OPS"}, "self": "https://example.com/p",
                    "history": {"createdBy": {"accountId": "a:2"},
                        "createdDate": "2016-08-23T04:21:19.631Z"},
                    "version": {"number": 3, "by": {"accountId": "a:1"},
                        "when": "2016-08-23T04:21:19.640Z"}},
            })
        );
    }

    #[test]
    fn event_maps_back_to_its_webhook() {
        let (envelope, event) = map(&page(), Some("page_updated")).unwrap();
        let event = event.to_string();
        let members = Members::parse(&event).unwrap();
        let body = reverse::body("page_updated", &envelope.event_type, &members, None, None);
        let mut expected = page();
        expected["webhookEvent"] = json!("page_updated");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn name_is_taken_from_the_url_or_the_body() {
        let named = |body: Value, named| {
            map(&body, named).map(|(envelope, _)| envelope.event_type.to_string())
        };
        for body in [json!({"event": "blog_removed"}), json!({"webhookEvent": "blog_removed"})] {
            assert_eq!(named(body.clone(), None).unwrap(), "avi:confluence:deleted:blogpost");
            assert_eq!(named(body, Some("made up")).unwrap(), "webhook:made_up");
        }
        assert_eq!(named(page(), None), Err(WebhookError::Unnamed));
        assert_eq!(named(page(), Some("")), Err(WebhookError::Unnamed));
        assert_eq!(
            named(page(), Some(&"n".repeat(NAME_BYTES_MAX + 1))),
            Err(WebhookError::Unnamed)
        );
    }

    #[test]
    fn entity_of_another_shape_is_copied() {
        let odd = json!({"page": [1], "space": {"key": "OPS"}, "timestamp": "soon"});
        let (_, event) = map(&odd, Some("page_created")).unwrap();
        assert_eq!(event["page"], json!([1]));
        assert_eq!(event["space"]["key"], "OPS");
        assert!(event.get("eventCreatedDate").is_none());
        let nested = json!({"page": {"id": "x", "version": {"number": 2}}});
        let (_, event) = map(&nested, Some("page_created")).unwrap();
        assert_eq!(event["content"], json!({"id": "x", "version": {"number": 2}}));
    }
}
