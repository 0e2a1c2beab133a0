//! Jira webhooks to events.
//!
//! Renames the members that webhooks and events spell differently and copies all others byte for
//! byte.
//!
//! **Source:** Atlassian, "Webhooks" (Jira Cloud) and "Jira events" (Forge).

use serde_json::value::RawValue;

use super::names::{
    self, ASSIGNED_ISSUE, CHANGED_CONFIGURATION, COMMENT_ADDED, COMMENT_DELETED, COMMENT_EDITED,
    COMMENTED_ISSUE, CREATED_ISSUE, DELETED_COMMENT, FAILED_EXPRESSION, MERGED_VERSION, OPTIONS,
    UPDATED_ISSUE,
};
use crate::event::members::{Members, ObjectWriter};
use crate::event::sources::product_source::{MappedEvent, WebhookRequest, unknown_event_type};

/// Members of the webhook's own envelope, which events carry elsewhere or not at all. `eventType`
/// is one of them because some webhooks use that name for something else (`primaryAction`).
const ENVELOPE: &[&str] = &[
    "timestamp",
    "webhookEvent",
    "issue_event_type_name",
    "user",
    "matchedWebhookIds",
    "eventType",
    "isFromIssueLimitTransformation",
];
/// Members of an issue link that events have at the top level.
pub(super) const LINK_IDS: &[&str] =
    &["id", "sourceIssueId", "destinationIssueId", "sourceProjectId", "destinationProjectId"];

/// Returns the events of the webhook `name`: one, and further ones if an update of an issue also changes
/// the assignee or brings a comment.
pub(super) fn to_events(name: &str, webhook: &WebhookRequest<'_>) -> Vec<MappedEvent> {
    JiraWebhook { name, members: webhook.members, bytes: webhook.bytes }.events()
}

/// One Jira webhook.
struct JiraWebhook<'a> {
    name: &'a str,
    members: &'a Members<'a>,
    bytes: usize,
}

impl JiraWebhook<'_> {
    fn events(&self) -> Vec<MappedEvent> {
        let primary = |event_type: String, body: String| MappedEvent {
            event_type: event_type.into(),
            body,
            is_primary: true,
        };
        let Some(event_type) = self.known_event_type() else {
            let event_type = unknown_event_type(self.name);
            let body = self.unknown(&event_type);
            return vec![primary(event_type, body)];
        };
        let is_update = event_type == UPDATED_ISSUE;
        let body = self.body(&event_type);
        let mut events = vec![primary(event_type, body)];
        if !is_update {
            return events;
        }
        let mut also = |event_type: &str, body: String| {
            events.push(MappedEvent { event_type: event_type.into(), body, is_primary: false });
        };
        if let Some(item) = self.change_of("assignee") {
            also(ASSIGNED_ISSUE, self.assigned(item));
        }
        if self.members.object("comment").is_some() {
            let event_type = match self.change_name().as_deref() {
                Some(COMMENT_DELETED) => DELETED_COMMENT,
                _ => COMMENTED_ISSUE,
            };
            also(event_type, self.commented(event_type));
        }
        events
    }

    /// Returns the name that Jira gives the change.
    fn change_name(&self) -> Option<String> {
        self.members.string("issue_event_type_name")
    }

    /// Returns the name of the change of a comment: what the webhook came as, else what its times say.
    fn comment_change(&self) -> &'static str {
        match (self.name, self.change_name().as_deref()) {
            ("comment_created", _) | (_, Some(COMMENT_ADDED)) => COMMENT_ADDED,
            ("comment_updated", _) | (_, Some(COMMENT_EDITED)) => COMMENT_EDITED,
            _ => {
                let comment = self.members.object("comment").unwrap_or_default();
                let (created, updated) = (comment.json("created"), comment.json("updated"));
                let is_new = updated.is_none() || created == updated;
                if is_new { COMMENT_ADDED } else { COMMENT_EDITED }
            }
        }
    }

    fn known_event_type(&self) -> Option<String> {
        let merged = self.members.json("mergedTo").is_some_and(|target| target != "null");
        if self.name == "jira:version_deleted" && merged {
            return Some(MERGED_VERSION.to_owned());
        }
        if OPTIONS.iter().any(|(name, _)| *name == self.name) {
            return Some(CHANGED_CONFIGURATION.to_owned());
        }
        names::event_type(self.name)
    }

    /// Returns the event body: the members of the webhook, renamed where events spell them
    /// differently.
    fn body(&self, event_type: &str) -> String {
        let mut body = ObjectWriter::with_capacity(self.bytes);
        body.text("eventType", event_type);
        for (name, json) in self.members.iter().filter(|(name, _)| !ENVELOPE.contains(name)) {
            match (event_type, name) {
                (CREATED_ISSUE, "changelog") => {}
                (MERGED_VERSION, "version") => body.json("mergedVersion", json),
                (MERGED_VERSION, "mergedTo") => body.json("version", json),
                (_, "attachment") => body.json(name, &renamed(json, "filename", "fileName")),
                (_, "issueLink") => lift_link(&mut body, json),
                _ => body.json(name, json),
            }
        }
        self.add_event_members(event_type, &mut body);
        body.finish()
    }

    /// Writes members that webhooks carry in another place.
    fn add_event_members(&self, event_type: &str, body: &mut ObjectWriter) {
        match event_type {
            CHANGED_CONFIGURATION if self.members.json("property").is_none() => {
                let option = OPTIONS.iter().find(|(name, _)| *name == self.name);
                debug_assert!(option.is_some(), "a webhook of a changed option");
                let mut property = ObjectWriter::with_capacity(64);
                property.text("key", option.map_or("", |(_, key)| key));
                body.json("property", &property.finish());
            }
            FAILED_EXPRESSION => {
                if let Some(timestamp) = self.members.id("timestamp") {
                    body.text("timestamp", &timestamp);
                }
            }
            UPDATED_ISSUE => {
                if let Some(statuses) = self.change_of("status").and_then(statuses) {
                    body.json("associatedStatuses", &statuses);
                }
            }
            _ => {}
        }
        if self.name.starts_with("user_") {
            // In a user webhook the user is the entity; the actor is unknown.
            if let Some(user) = self.members.json("user") {
                body.json("user", user);
            }
        } else if let Some(actor) = self.actor() {
            body.text("atlassianId", &actor);
        }
        if event_type == COMMENTED_ISSUE {
            body.text("jiraEventTypeName", self.comment_change());
        } else if let Some(name) = self.members.json("issue_event_type_name") {
            body.json("jiraEventTypeName", name);
        }
    }

    /// Returns the second event of an update that changes the assignee.
    fn assigned(&self, item: &RawValue) -> String {
        let mut changelog = ObjectWriter::with_capacity(256);
        if let Some(id) = self.members.object("changelog").and_then(|log| log.json("id")) {
            changelog.json("id", id);
        }
        changelog.json("items", &format!("[{}]", item.get()));

        let mut body = ObjectWriter::with_capacity(self.bytes);
        body.text("eventType", ASSIGNED_ISSUE);
        if let Some(issue) = self.members.json("issue") {
            body.json("issue", issue);
        }
        body.json("changelog", &changelog.finish());
        if let Some(actor) = self.actor() {
            body.text("atlassianId", &actor);
        }
        body.finish()
    }

    /// Returns the further event of an update that brings a comment.
    ///
    /// **Source:** Atlassian, "Webhooks" (Jira Data Center): comments are updates of their issue.
    fn commented(&self, event_type: &str) -> String {
        let mut body = ObjectWriter::with_capacity(self.bytes);
        body.text("eventType", event_type);
        for name in ["issue", "comment"] {
            if let Some(json) = self.members.json(name) {
                body.json(name, json);
            }
        }
        let actor = self.actor().or_else(|| self.author_of("comment"));
        if let Some(actor) = actor {
            body.text("atlassianId", &actor);
        }
        if event_type == COMMENTED_ISSUE {
            body.text("jiraEventTypeName", self.comment_change());
        }
        body.finish()
    }

    /// Returns the event of an unknown webhook: all its members under its own name.
    fn unknown(&self, event_type: &str) -> String {
        let mut body = ObjectWriter::with_capacity(self.bytes);
        body.text("eventType", event_type);
        for (name, json) in self.members.iter().filter(|(name, _)| *name != "eventType") {
            body.json(name, json);
        }
        body.finish()
    }

    /// Returns the account that made the change. Comment, worklog and attachment webhooks have no
    /// `user`; their author is used instead. Without it an app that answers comments with comments
    /// would not be recognized as the actor, and `ignoreSelf` would not end its loop.
    fn actor(&self) -> Option<String> {
        account(self.members, "user").or_else(|| {
            let (entity, verb) = self.name.split_once('_')?;
            if !matches!(entity, "comment" | "worklog" | "attachment") || verb == "deleted" {
                return None;
            }
            self.author_of(entity)
        })
    }

    /// Returns the account that wrote an entity.
    fn author_of(&self, entity: &str) -> Option<String> {
        let entity = self.members.object(entity)?;
        account(&entity, "updateAuthor").or_else(|| account(&entity, "author"))
    }

    /// Returns the changelog item of a field of Jira, found by field id: display names differ in case
    /// and language. Data Center sends no ids; there a custom field may have the same display name.
    fn change_of(&self, field: &str) -> Option<&RawValue> {
        let items = self.members.object("changelog")?.list("items");
        items.into_iter().find(|item| {
            Members::parse(item.get()).is_ok_and(|item| match item.string("fieldId") {
                Some(id) => id == field,
                None => {
                    let is_custom = item.string("fieldtype").as_deref() == Some("custom");
                    let name = item.string("field").unwrap_or_default();
                    !is_custom && name.eq_ignore_ascii_case(field)
                }
            })
        })
    }
}

/// Returns the account of the user `name` of an object.
fn account(object: &Members<'_>, name: &str) -> Option<String> {
    object.object(name)?.id("accountId")
}

/// Returns current and previous status as in `associatedStatuses`.
fn statuses(item: &RawValue) -> Option<String> {
    let item = Members::parse(item.get()).ok()?;
    let status = |id: &str, name: &str| {
        let mut status = ObjectWriter::with_capacity(64);
        status.text("id", &item.id(id)?);
        status.json("name", item.json(name).unwrap_or("null"));
        Some(status.finish())
    };
    let sides = [status("to", "toString"), status("from", "fromString")];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    Some(format!("[{}]", sides.join(",")))
}

/// Renames one member of an object; returns other values unchanged.
pub(super) fn renamed(json: &str, from: &str, to: &str) -> String {
    let Ok(members) = Members::parse(json) else { return json.to_owned() };
    let mut object = ObjectWriter::with_capacity(json.len());
    for (name, json) in members.iter() {
        object.json(if name == from { to } else { name }, json);
    }
    object.finish()
}

/// Writes the members of an issue link at the top level, as events have them: ids as strings, and
/// shorter names in the link type.
fn lift_link(body: &mut ObjectWriter, json: &str) {
    let Ok(link) = Members::parse(json) else { return };
    for name in LINK_IDS {
        if let Some(id) = link.id(name) {
            body.text(name, &id);
        }
    }
    if let Some(link_type) = link.object("issueLinkType") {
        let mut object = ObjectWriter::with_capacity(128);
        if let Some(id) = link_type.id("id") {
            object.text("id", &id);
        }
        for (from, to) in [("name", "name"), ("inwardName", "inward"), ("outwardName", "outward")] {
            if let Some(text) = link_type.json(from) {
                object.json(to, text);
            }
        }
        body.json("issueLinkType", &object.finish());
    }
}
