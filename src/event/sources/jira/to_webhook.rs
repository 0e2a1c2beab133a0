//! Events to Jira webhooks.

use super::names::MERGED_VERSION;
use super::to_event::{LINK_IDS, renamed};
use crate::domain::EventType;
use crate::event::members::{Members, ObjectWriter};

/// Members of events that webhooks lack or carry in another place.
const EVENT_ONLY: &[&str] = &[
    "eventType",
    "timestamp",
    "selfGenerated",
    "context",
    "retryContext",
    "filterError",
    "atlassianId",
    "jiraEventTypeName",
    "associatedUsers",
    "associatedStatuses",
    "runtime",
    "payloadIncludeProperties",
    "webhookTraceValue",
];

/// Writes the members of a Jira webhook, except for the common ones.
pub(super) fn write_members(
    event_type: &EventType,
    event: &Members<'_>,
    webhook: &mut ObjectWriter,
) {
    if let Some(kind) = event.json("jiraEventTypeName") {
        webhook.json("issue_event_type_name", kind);
    }
    if let (Some(account), None) = (event.id("atlassianId"), event.json("user")) {
        let mut user = ObjectWriter::with_capacity(account.len());
        user.text("accountId", &account);
        webhook.json("user", &user.finish());
    }
    let is_link = event_type.as_str().ends_with(":issuelink");
    for (member, value) in event.iter().filter(|(member, _)| !EVENT_ONLY.contains(member)) {
        match (event_type.as_str(), member) {
            (MERGED_VERSION, "mergedVersion") => webhook.json("version", value),
            (MERGED_VERSION, "version") => webhook.json("mergedTo", value),
            (_, "attachment") => webhook.json(member, &renamed(value, "fileName", "filename")),
            (_, member) if is_link && (LINK_IDS.contains(&member) || member == "issueLinkType") => {
            }
            _ => webhook.json(member, value),
        }
    }
    if is_link {
        webhook.json("issueLink", &link(event));
    }
}

/// Returns the `issueLink` of a webhook: numeric ids, and longer names in the link type.
fn link(event: &Members<'_>) -> String {
    let mut link = ObjectWriter::with_capacity(256);
    for name in LINK_IDS {
        match event.id(name) {
            Some(id) if id.parse::<u64>().is_ok() => link.json(name, &id),
            Some(id) => link.text(name, &id),
            None => {}
        }
    }
    if let Some(kind) = event.json("issueLinkType") {
        let kind = renamed(&renamed(kind, "inward", "inwardName"), "outward", "outwardName");
        link.json("issueLinkType", &kind);
    }
    link.finish()
}
