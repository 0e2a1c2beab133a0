//! Webhook mapping: converts the webhooks of Jira (here) and Confluence (`confluence`) to events
//! and back.
//!
//! A pure function from one request to one or more events. It renames the members that webhooks and
//! events spell differently and copies all others byte for byte. A webhook with an unknown name is
//! not rejected; it becomes the event type `webhook:<name>`.
//!
//! **Source:** Atlassian, "Webhooks" (Jira Cloud) and "Jira events" (Forge).

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use thiserror::Error;

use super::members::{Members, ObjectWriter};
use super::{Envelope, HeaderLookup, identity};
use crate::domain::{CloudId, EventId, EventType};

pub mod confluence;
pub mod delta;
pub mod reverse;
#[cfg(test)]
mod tests;

/// Header with the webhook id: unique per site, equal for all retries.
const IDENTIFIER: &str = "x-atlassian-webhook-identifier";
/// Maximum length of a webhook id in bytes; for a longer one the event id is derived instead.
const IDENTIFIER_BYTES_MAX: usize = 128;
/// Maximum length of a webhook name in bytes; a longer one cannot become a subject.
const NAME_BYTES_MAX: usize = 128;

/// Webhook families whose verbs are those of the event types: prefix of the webhook name, verbs,
/// event type before and after the verb.
const SAME_VERB: &[(&str, &[&str], &str, &str)] = &[
    ("jira:issue_", &["created", "updated", "deleted"], "avi:jira:", ":issue"),
    ("worklog_", &["created", "updated", "deleted"], "avi:jira:", ":worklog"),
    ("attachment_", &["created", "deleted"], "avi:jira:", ":attachment"),
    ("issuelink_", &["created", "deleted"], "avi:jira:", ":issuelink"),
    ("issue_property_", &["set", "deleted"], "avi:jira:", ":issue-property"),
    ("issuetype_", &["created", "updated", "deleted"], "avi:jira:", ":issuetype"),
    ("filter_", &["created", "updated", "deleted"], "avi:jira:", ":filter"),
    ("user_", &["created", "updated", "deleted"], "avi:jira:", ":user"),
    ("project_", &["created", "updated", "deleted", "archived"], "avi:jira:", ":project"),
    (
        "jira:version_",
        &["created", "updated", "released", "unreleased", "moved", "deleted", "merged"],
        "avi:jira:",
        ":version",
    ),
    (
        "sprint_",
        &["created", "started", "updated", "closed", "deleted"],
        "avi:jira-software:",
        ":sprint",
    ),
    ("board_", &["created", "updated", "deleted"], "avi:jira-software:", ":board"),
];

/// Webhooks whose event type has another verb.
const OTHER_VERB: &[(&str, &str)] = &[
    ("comment_created", "avi:jira:commented:issue"),
    ("comment_updated", "avi:jira:commented:issue"),
    ("comment_deleted", "avi:jira:deleted:comment"),
    ("project_soft_deleted", "avi:jira:softdeleted:project"),
    ("project_restored_deleted", "avi:jira:restored:project"),
    ("project_restored_archived", "avi:jira:unarchived:project"),
    ("board_configuration_changed", "avi:jira-software:configuration-changed:board"),
    ("option_timetracking_provider_changed", "avi:jira:timetracking:provider:changed"),
    ("jira_expression_evaluation_failed", "avi:jira:failed:expression"),
];

/// Webhooks of a changed site option, and the property key in the event.
const OPTIONS: &[(&str, &str)] = &[
    ("option_voting_changed", "jira.option.voting"),
    ("option_watching_changed", "jira.option.watching"),
    ("option_subtasks_changed", "jira.option.allowsubtasks"),
    ("option_unassigned_issues_changed", "jira.option.allowunassigned"),
    ("option_issuelinks_changed", "jira.option.issuelinking"),
];

const CREATED_ISSUE: &str = "avi:jira:created:issue";
const UPDATED_ISSUE: &str = "avi:jira:updated:issue";
const ASSIGNED_ISSUE: &str = "avi:jira:assigned:issue";
const MERGED_VERSION: &str = "avi:jira:merged:version";
const CHANGED_CONFIGURATION: &str = "avi:jira:changed:configuration";
const FAILED_EXPRESSION: &str = "avi:jira:failed:expression";

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

/// Why a request is not a webhook.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WebhookError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8 text (byte {offset})")]
    Utf8 {
        /// Offset of the first invalid byte.
        offset: usize,
    },
    /// The body is not a JSON object.
    #[error("the body is not a JSON object: {reason}")]
    Json {
        /// The parser's message with the position.
        reason: String,
    },
    /// The body does not name its webhook.
    #[error(
        "the member `webhookEvent` must be a text of 1 to {NAME_BYTES_MAX} bytes, such as \
         `jira:issue_created`"
    )]
    Name,
    /// Neither the URL nor the body names the Confluence webhook.
    #[error(
        "nothing says which webhook this is: name it in the address, such as `?event=page_created`"
    )]
    Unnamed,
}

/// Returns the events of one webhook of site `cloud_id`, each with its envelope and body: one, or
/// two if an update also changes the assignee.
///
/// # Errors
/// See [`WebhookError`]; never because the kind of the webhook is unknown.
pub fn map_webhook(
    cloud_id: &CloudId,
    headers: &impl HeaderLookup,
    body: &[u8],
) -> Result<Vec<(Envelope, Bytes)>, WebhookError> {
    let members = read(body)?;
    let name = members.string("webhookEvent").filter(|name| !name.is_empty());
    let name = name.filter(|name| name.len() <= NAME_BYTES_MAX).ok_or(WebhookError::Name)?;

    let webhook = JiraWebhook { name: &name, members: &members, bytes: body.len() };
    let events = webhook.events().into_iter();
    Ok(events
        .map(|(event_type, body)| to_event(cloud_id, headers, event_type, &members, body))
        .collect())
}

fn read(body: &[u8]) -> Result<Members<'_>, WebhookError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| WebhookError::Utf8 { offset: error.valid_up_to() })?;
    Members::parse(text).map_err(|error| WebhookError::Json { reason: error.to_string() })
}

fn to_event(
    cloud_id: &CloudId,
    headers: &impl HeaderLookup,
    event_type: EventType,
    webhook: &Members<'_>,
    body: String,
) -> (Envelope, Bytes) {
    let time = webhook.id("timestamp").and_then(|ms| ms.parse().ok());
    let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let identifier = headers.get(IDENTIFIER).map(str::trim);
    let identifier = identifier.filter(|id| (1..=IDENTIFIER_BYTES_MAX).contains(&id.len()));
    let event_id = match identifier {
        // The two events of one webhook need different ids.
        Some(identifier) => EventId::from(format!("{identifier}:{event_type}")),
        None => identity::event_id(cloud_id, &event_type, time, body.as_bytes()),
    };
    let event = Members::parse(&body).unwrap_or_default();
    let entity = identity::entity_key(&event);
    // The second event is not delivered to webhook modules, which get the first.
    let is_first = event_type.as_str() != ASSIGNED_ISSUE;
    let delta = is_first.then(|| delta::encode(webhook, &event)).flatten();
    let envelope = Envelope {
        cloud_id: cloud_id.clone(),
        event_id,
        event_type,
        time,
        origin_app: None,
        entity,
        traceparent: headers.get("traceparent").map(Into::into),
        webhook: delta,
    };
    (envelope, Bytes::from(body))
}

/// One Jira webhook.
struct JiraWebhook<'a> {
    name: &'a str,
    members: &'a Members<'a>,
    bytes: usize,
}

impl JiraWebhook<'_> {
    fn events(&self) -> Vec<(EventType, String)> {
        let Some(event_type) = self.known_event_type() else {
            let event_type = format!("webhook:{}", as_token(self.name));
            let body = self.unknown(&event_type);
            return vec![(event_type.into(), body)];
        };
        let mut events = vec![(EventType::from(event_type.as_str()), self.body(&event_type))];
        if event_type == UPDATED_ISSUE
            && let Some(item) = self.change_of("assignee")
        {
            events.push((ASSIGNED_ISSUE.into(), self.assigned(item)));
        }
        events
    }

    fn known_event_type(&self) -> Option<String> {
        let merged = self.members.json("mergedTo").is_some_and(|target| target != "null");
        if self.name == "jira:version_deleted" && merged {
            return Some(MERGED_VERSION.to_owned());
        }
        if OPTIONS.iter().any(|(name, _)| *name == self.name) {
            return Some(CHANGED_CONFIGURATION.to_owned());
        }
        let other = OTHER_VERB.iter().find(|(name, _)| *name == self.name);
        if let Some((_, event_type)) = other {
            return Some((*event_type).to_owned());
        }
        SAME_VERB.iter().find_map(|(prefix, verbs, before, after)| {
            let verb = self.name.strip_prefix(prefix).filter(|verb| verbs.contains(verb))?;
            Some(format!("{before}{verb}{after}"))
        })
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
        if let Some(name) = self.members.json("issue_event_type_name") {
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
        let account = |object: &Members<'_>, name: &str| object.object(name)?.id("accountId");
        account(self.members, "user").or_else(|| {
            let (entity, verb) = self.name.split_once('_')?;
            if !matches!(entity, "comment" | "worklog" | "attachment") || verb == "deleted" {
                return None;
            }
            let entity = self.members.object(entity)?;
            account(&entity, "updateAuthor").or_else(|| account(&entity, "author"))
        })
    }

    /// Returns the changelog item of a field, found by field id: display names differ in case and
    /// language.
    fn change_of(&self, field: &str) -> Option<&RawValue> {
        let items = self.members.object("changelog")?.list("items");
        items.into_iter().find(|item| {
            Members::parse(item.get()).is_ok_and(|item| {
                let name = item.string("fieldId").or_else(|| item.string("field"));
                name.as_deref() == Some(field)
            })
        })
    }
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
fn renamed(json: &str, from: &str, to: &str) -> String {
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
    const IDS: &[&str] =
        &["id", "sourceIssueId", "destinationIssueId", "sourceProjectId", "destinationProjectId"];
    let Ok(link) = Members::parse(json) else { return };
    for name in IDS {
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

/// Replaces characters that a subject token must not have.
fn as_token(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    name.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}
