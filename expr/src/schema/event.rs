//! Schemas by event type.

use super::shape::{FieldLookup, MapShape, PERMISSIONS, Shape, UnlistedMembers, always};
use super::{confluence, jira};

/// The schema of an event type; of any event if the type is unknown.
pub(crate) fn body_of(event_type: &str) -> &'static MapShape {
    let families = jira::BODIES.iter().chain(confluence::BODIES);
    let mut named = families.filter(|(pattern, _)| is_like(event_type, pattern));
    named.next().map_or(&ANY_EVENT, |(_, members)| members)
}

/// Whether there is a schema of an event type.
pub(crate) fn is_known(event_type: &str) -> bool {
    let mut families = jira::BODIES.iter().chain(confluence::BODIES);
    families.any(|(pattern, _)| is_like(event_type, pattern))
}

/// Returns the other product whose events have a member of that name.
pub(crate) fn product_of(member: &str, event_type: &str) -> Option<&'static str> {
    let here = event_type.starts_with("avi:confluence:");
    let (other, product) = if here {
        (&jira::ONLY_JIRA, "Jira")
    } else {
        (&confluence::ONLY_CONFLUENCE, "Confluence")
    };
    other.contains(&member).then_some(product)
}

/// The help text for a member that an event does not have: the events that have it, or an
/// equivalent member.
pub(crate) fn missing_field_hint(name: &str) -> Option<&'static str> {
    Some(match name {
        "comment" => "events of comments have it: `avi:jira:commented:issue`",
        "changelog" => "events of changes have it: `avi:jira:updated:issue`",
        "worklog" => "events of worklogs have it: `avi:jira:created:worklog`",
        "sprint" => "events of sprints have it: `avi:jira-software:started:sprint`",
        "user" | "actor" => "who caused the event is `event.atlassianId`, an account id",
        _ => return None,
    })
}

/// Whether events of any type have a top-level member of that name.
pub(crate) fn is_top_level(name: &str) -> bool {
    matches!(ANY_EVENT.find(name), FieldLookup::Field(_))
}

/// The title of changelog items, whose values have irregular spellings.
pub(crate) fn change_title() -> &'static str {
    jira::CHANGE_TITLE
}

/// Whether the type matches a pattern, in which `*` is one segment: `avi:jira:*:worklog`.
fn is_like(event_type: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => event_type == pattern,
        Some((before, after)) => event_type
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|verb| !verb.contains(':')),
    }
}

/// The members of all known events, for events of unknown type. A filter that reads one of them is
/// meant for events that have it.
static ANY_EVENT: MapShape = MapShape {
    title: "the event",
    fields: &[
        always("eventType", Shape::String),
        always("selfGenerated", Shape::Boolean),
        always("permissions", Shape::Map(&PERMISSIONS)),
        always("timestamp", Shape::String),
        always("atlassianId", Shape::String),
        always("issue", Shape::Map(&jira::ISSUE)),
        always("changelog", Shape::Map(&jira::CHANGELOG)),
        always("comment", Shape::Map(&jira::COMMENT)),
        always("worklog", Shape::Map(&jira::WORKLOG)),
        always("runtime", Shape::Map(&jira::RUNTIME)),
        always("sprint", Shape::Map(&jira::SPRINT)),
        always("version", Shape::Any),
        always("project", Shape::Any),
        always("component", Shape::Any),
        always("attachment", Shape::Any),
        always("content", Shape::Map(&confluence::CONTENT)),
        always("space", Shape::Any),
        always("container", Shape::Any),
        always("label", Shape::Any),
        always("group", Shape::Any),
        always("task", Shape::Any),
        always("board", Shape::Any),
        always("filter", Shape::Any),
        always("issueType", Shape::Any),
        always("property", Shape::Any),
        always("configuration", Shape::Any),
        always("context", Shape::Any),
        always("expression", Shape::Any),
        always("query", Shape::Any),
        always("user", Shape::Any),
        always("associatedUsers", Shape::Any),
        always("associatedStatuses", Shape::Any),
    ],
    others: UnlistedMembers::Some,
};
