//! Catalogue of event types: the scopes each one needs, and suggestions for misspelt names of
//! events and webhooks.
//!
//! Only registration reads it; the router passes any event type.
//!
//! **Source:** the vendor's event-to-scope map and the product event references for Jira, Jira
//! Software, Jira Service Management, Confluence and the Forge life cycle.

mod nearest;
pub mod scopes;

pub use nearest::{is_webhook_name, nearest, nearest_webhook};

use scopes::Scopes;

/// Catalogue entry of one event type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownEvent {
    /// Scopes that an app needs to subscribe to it.
    pub scopes: &'static Scopes,
    /// Whether filters can read entity properties on it.
    pub properties: bool,
}

/// Events that differ only in their verb: `<before><verb><after>`.
struct EventFamily {
    before: &'static str,
    verbs: &'static [&'static str],
    after: &'static str,
    scopes: &'static Scopes,
    properties: bool,
}

const fn family(
    before: &'static str,
    verbs: &'static [&'static str],
    after: &'static str,
    scopes: &'static Scopes,
) -> EventFamily {
    EventFamily { before, verbs, after, scopes, properties: false }
}

const fn with_properties(
    before: &'static str,
    verbs: &'static [&'static str],
    after: &'static str,
    scopes: &'static Scopes,
) -> EventFamily {
    EventFamily { before, verbs, after, scopes, properties: true }
}

#[rustfmt::skip]
const FAMILIES: &[EventFamily] = &[
    with_properties("avi:jira:", &["created", "updated", "deleted", "assigned"], ":issue", &scopes::ISSUE),
    with_properties("avi:jira:", &["commented"], ":issue", &scopes::COMMENT),
    family("avi:jira:", &["viewed", "mentioned"], ":issue", &scopes::ISSUE),
    with_properties("avi:jira:", &["deleted"], ":comment", &scopes::COMMENT),
    family("avi:jira:", &["mentioned"], ":comment", &scopes::COMMENT),
    with_properties("avi:jira:", &["created", "deleted"], ":issuelink", &scopes::LINK),
    with_properties("avi:jira:", &["created", "updated", "deleted"], ":worklog", &scopes::WORKLOG),
    with_properties("avi:jira:", &["created", "deleted"], ":attachment", &scopes::ATTACHMENT),
    family("avi:jira:", &["set", "deleted"], ":issue-property", &scopes::ISSUE_PROPERTY),
    family("avi:jira:", &["created", "updated"], ":component", &scopes::COMPONENT),
    family("avi:jira:", &["deleted"], ":component", &scopes::COMPONENT_DELETED),
    family("avi:jira:", &["created", "updated", "released", "unreleased", "archived", "unarchived", "merged", "moved", "deleted"], ":version", &scopes::VERSION),
    family("avi:jira:", &["created", "updated", "archived", "unarchived", "softdeleted", "restored", "deleted"], ":project", &scopes::PROJECT),
    family("avi:jira:", &["created", "updated", "deleted"], ":user", &scopes::USER),
    family("avi:jira:", &["created", "updated", "deleted"], ":issuetype", &scopes::ISSUE_TYPE),
    family("avi:jira:", &["created", "updated", "deleted"], ":filter", &scopes::FILTER),
    family("avi:jira:", &["created", "updated", "trashed", "deleted", "restored"], ":field", &scopes::FIELD),
    family("avi:jira:", &["created", "updated", "deleted"], ":field:context", &scopes::FIELD),
    family("avi:jira:", &["updated"], ":field:context:configuration", &scopes::FIELD_CONFIGURATION),
    family("avi:jira:", &["failed"], ":expression", &scopes::EXPRESSION),
    family("avi:jira:", &["changed"], ":configuration", &scopes::CONFIGURATION),
    family("avi:jira:timetracking:provider:", &["changed"], "", &scopes::TIME_TRACKING),
    family("avi:jira-software:", &["created", "started", "closed", "updated", "deleted"], ":sprint", &scopes::SPRINT),
    family("avi:jira-software:", &["created", "updated", "deleted"], ":board", &scopes::BOARD),
    family("avi:jira-software:", &["configuration-changed"], ":board", &scopes::BOARD_CONFIGURATION),
    family("avi:jsm-entity:", &["created", "updated", "deleted"], ":request-type", &scopes::REQUEST_TYPE),
    family("avi:jsm-entity:", &["created", "updated", "deleted"], ":request-type-group", &scopes::REQUEST_TYPE),
    family("avi:jsm-entity:", &["created", "updated", "deleted"], ":service-desk", &scopes::SERVICE_DESK),
    family("avi:jsm-entity:", &["created", "updated"], ":portal", &scopes::SERVICE_DESK),
    family("avi:confluence:", &["created", "updated", "liked", "viewed", "archived", "unarchived", "moved", "copied", "children_reordered", "permissions_updated", "restored", "initialized", "started", "snapshotted", "published"], ":page", &scopes::PAGE),
    family("avi:confluence:", &["trashed", "deleted"], ":page", &scopes::PAGE_DELETED),
    family("avi:confluence:", &["created", "updated", "liked", "viewed", "permissions_updated", "restored"], ":blogpost", &scopes::BLOG_POST),
    family("avi:confluence:", &["trashed", "deleted"], ":blogpost", &scopes::BLOG_POST_DELETED),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":whiteboard", &scopes::WHITEBOARD),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":database", &scopes::DATABASE),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":embed", &scopes::EMBED),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":folder", &scopes::FOLDER),
    family("avi:confluence:", &["created", "updated", "removed"], ":task", &scopes::TASK),
    family("avi:confluence:", &["created", "updated", "liked", "deleted"], ":comment", &scopes::PAGE_COMMENT),
    family("avi:confluence:", &["permissions_updated"], ":comment", &scopes::PAGE_COMMENT_PERMISSIONS),
    family("avi:confluence:", &["created", "updated", "permissions_updated"], ":space:V2", &scopes::SPACE),
    family("avi:confluence:", &["deleted"], ":space:V2", &scopes::SPACE_DELETED),
    family("avi:confluence:", &["created", "updated", "viewed", "archived", "unarchived", "trashed", "restored", "deleted"], ":attachment", &scopes::PAGE_ATTACHMENT),
    family("avi:confluence:", &["permissions_updated"], ":attachment", &scopes::PAGE_ATTACHMENT_PERMISSIONS),
    family("avi:confluence:", &["created", "updated", "permissions_updated", "trashed", "restored", "deleted"], ":custom_content", &scopes::CUSTOM_CONTENT),
    family("avi:confluence:", &["created", "added", "removed", "deleted"], ":label", &scopes::CONTENT),
    family("avi:confluence:", &["created", "deleted"], ":user", &scopes::CONFLUENCE_USER),
    family("avi:confluence:", &["created", "deleted"], ":group", &scopes::CONFLUENCE_GROUP),
    family("avi:confluence:", &["created", "deleted"], ":relation", &scopes::RELATION),
    family("avi:confluence:", &["performed"], ":search", &scopes::CONTENT),
    family("avi:forge:", &["installed", "upgraded"], ":app", &scopes::NONE),
];

/// Returns the catalogue entry of the event type `name`.
#[must_use]
pub fn find(name: &str) -> Option<KnownEvent> {
    let family = FAMILIES.iter().find(|family| {
        name.strip_prefix(family.before)
            .and_then(|rest| rest.strip_suffix(family.after))
            .is_some_and(|verb| family.verbs.contains(&verb))
    })?;
    Some(KnownEvent { scopes: family.scopes, properties: family.properties })
}

/// Returns every event type of the catalogue, in its order.
pub fn names() -> impl Iterator<Item = String> {
    FAMILIES.iter().flat_map(|family| {
        family.verbs.iter().map(|verb| format!("{}{verb}{}", family.before, family.after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_catalogue_is_found_and_listed_once() {
        let all: Vec<_> = names().collect();
        assert!(all.iter().all(|name| find(name).is_some()));
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn catalogue_holds_as_many_names_as_the_vendors_scope_map() {
        let count = |prefix: &str| names().filter(|name| name.starts_with(prefix)).count();
        assert_eq!(count("avi:jira:"), 58);
        assert_eq!(count("avi:jira-software:"), 9);
        assert_eq!(count("avi:jsm-entity:"), 11);
    }

    #[test]
    fn boards_need_two_scopes_and_lifecycle_events_none() {
        let missing = |name| find(name).unwrap().scopes.missing(&["read:me".to_owned()]).count();
        assert_eq!(missing("avi:jira-software:created:board"), 2);
        assert_eq!(missing("avi:forge:installed:app"), 0);
        assert!(find("avi:jira:created:issue").unwrap().properties);
        assert!(!find("avi:jira:viewed:issue").unwrap().properties);
    }
}
