//! Events to webhooks: which event types a webhook name subscribes to, and the webhook body of an
//! event.
//!
//! Reads the mapping tables in reverse. An unknown name subscribes to the event type that such a
//! webhook is mapped to on its way in, `webhook:<name>`.

use super::super::members::{Members, ObjectWriter};
use super::delta::MATCHED;
use super::{
    CHANGED_CONFIGURATION, MERGED_VERSION, OPTIONS, OTHER_VERB, SAME_VERB, as_token, confluence,
    renamed,
};
use crate::domain::{EventType, Product};

/// The event of a created or updated comment.
const COMMENTED_ISSUE: &str = "avi:jira:commented:issue";
const DELETED_VERSION: &str = "avi:jira:deleted:version";

/// An event type that a webhook name subscribes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedEvent {
    /// The event type.
    pub event_type: EventType,
    /// A further condition on the event, as an expression, where two webhooks share one event type.
    pub condition: Option<String>,
}

/// Returns the event types that the webhook name `name` subscribes to on a site of `product`; at
/// least one.
#[must_use]
pub fn events_of_webhook(name: &str, product: Product) -> Vec<MappedEvent> {
    let plain = |event_type: String| MappedEvent { event_type: event_type.into(), condition: None };
    if product == Product::Confluence {
        return vec![plain(confluence::event_type(name).unwrap_or_else(|| unknown(name)))];
    }
    let comment = |operator: &str| MappedEvent {
        condition: Some(format!("event.comment?.created {operator} event.comment?.updated")),
        event_type: COMMENTED_ISSUE.into(),
    };
    match name {
        "comment_created" => return vec![comment("==")],
        "comment_updated" => return vec![comment("!=")],
        "jira:version_deleted" => {
            return vec![plain(DELETED_VERSION.into()), plain(MERGED_VERSION.into())];
        }
        _ => {}
    }
    if let Some((_, key)) = OPTIONS.iter().find(|(option, _)| *option == name) {
        let condition = Some(format!("event.property?.key == '{key}'"));
        return vec![MappedEvent { event_type: CHANGED_CONFIGURATION.into(), condition }];
    }
    vec![plain(jira(name).unwrap_or_else(|| unknown(name)))]
}

fn jira(name: &str) -> Option<String> {
    if let Some((_, event_type)) = OTHER_VERB.iter().find(|(known, _)| *known == name) {
        return Some((*event_type).to_owned());
    }
    SAME_VERB.iter().find_map(|(prefix, verbs, before, after)| {
        let verb = name.strip_prefix(prefix).filter(|verb| verbs.contains(verb))?;
        Some(format!("{before}{verb}{after}"))
    })
}

fn unknown(name: &str) -> String {
    format!("webhook:{}", as_token(name))
}

/// Returns the webhook name among `names` (those an app subscribed to) that corresponds to this
/// event.
#[must_use]
pub fn webhook_name_of<'n>(
    event_type: &EventType,
    event: &Members<'_>,
    names: &'n [Box<str>],
) -> Option<&'n str> {
    let is_subscribed = |name: &str, product| {
        events_of_webhook(name, product).iter().any(|mapped| mapped.event_type == *event_type)
    };
    let product = match confluence::is_event_type(event_type) {
        true => Product::Confluence,
        false => Product::Jira,
    };
    let mut candidates =
        names.iter().map(AsRef::as_ref).filter(|name| is_subscribed(name, product));
    if event_type.as_str() != COMMENTED_ISSUE {
        return candidates.next();
    }
    let comment = event.object("comment").unwrap_or_default();
    let is_new = comment.json("created") == comment.json("updated");
    let wanted = if is_new { "comment_created" } else { "comment_updated" };
    candidates.find(|name| *name == wanted)
}

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
    "webhookTraceValue",
];
/// Members of an issue link that events have at the top level.
const LINK: &[&str] =
    &["id", "sourceIssueId", "destinationIssueId", "sourceProjectId", "destinationProjectId"];

/// Returns the webhook named `name` for an event that did not arrive as a webhook.
///
/// `time_ms` is used if the event has no time; `matched` are the ids of the dynamic webhooks that
/// it is sent for.
#[must_use]
pub fn body(
    name: &str,
    event_type: &EventType,
    event: &Members<'_>,
    time_ms: Option<i64>,
    matched: Option<&str>,
) -> String {
    let mut webhook = ObjectWriter::with_capacity(1024);
    let time = event.id("timestamp").and_then(|text| text.parse().ok());
    if let Some(time) = time.or_else(|| confluence::created_ms(event)).or(time_ms) {
        webhook.json("timestamp", &time.to_string());
    }
    webhook.text("webhookEvent", name);
    match confluence::is_event_type(event_type) {
        true => confluence::add_members(event_type, event, &mut webhook),
        false => add_members(event_type, event, &mut webhook),
    }
    if let Some(matched) = matched {
        webhook.json(MATCHED, matched);
    }
    webhook.finish()
}

/// Writes the members of a Jira webhook, except for the common ones.
fn add_members(event_type: &EventType, event: &Members<'_>, webhook: &mut ObjectWriter) {
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
            (_, member) if is_link && (LINK.contains(&member) || member == "issueLinkType") => {}
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
    for name in LINK {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn types(name: &str, product: Product) -> Vec<String> {
        events_of_webhook(name, product)
            .into_iter()
            .map(|mapped| mapped.event_type.to_string())
            .collect()
    }

    #[test]
    fn names_of_both_products_map_to_their_events() {
        for (name, product, event_type) in [
            ("jira:issue_created", Product::Jira, "avi:jira:created:issue"),
            ("worklog_updated", Product::Jira, "avi:jira:updated:worklog"),
            ("comment_deleted", Product::Jira, "avi:jira:deleted:comment"),
            ("sprint_started", Product::Jira, "avi:jira-software:started:sprint"),
            ("page_created", Product::Confluence, "avi:confluence:created:page"),
            ("blog_removed", Product::Confluence, "avi:confluence:deleted:blogpost"),
            ("comment_created", Product::Confluence, "avi:confluence:created:comment"),
            ("space_updated", Product::Confluence, "avi:confluence:updated:space:V2"),
            ("no such thing", Product::Jira, "webhook:no_such_thing"),
        ] {
            assert_eq!(types(name, product), [event_type], "{name}");
        }
    }

    #[test]
    fn deleted_version_is_also_a_merged_one() {
        let both = ["avi:jira:deleted:version", "avi:jira:merged:version"];
        assert_eq!(types("jira:version_deleted", Product::Jira), both);
        assert_eq!(types("jira:version_merged", Product::Jira), both[1..]);
    }

    #[test]
    fn comment_has_the_name_of_its_change() {
        let names: [Box<str>; 2] = ["comment_created".into(), "comment_updated".into()];
        let name = |body: &str| {
            let members = Members::parse(body).unwrap();
            webhook_name_of(&COMMENTED_ISSUE.into(), &members, &names)
        };
        assert_eq!(name(r#"{"comment":{"created":"a","updated":"a"}}"#), Some("comment_created"));
        assert_eq!(name(r#"{"comment":{"created":"a","updated":"b"}}"#), Some("comment_updated"));
    }

    #[test]
    fn changed_option_is_selected_by_its_property() {
        let [mapped] =
            events_of_webhook("option_voting_changed", Product::Jira).try_into().unwrap();
        let condition = "event.property?.key == 'jira.option.voting'";
        assert_eq!(mapped.condition.as_deref(), Some(condition));
    }
}
