//! Which events exist, what scopes they need, and what a misspelt name was meant to be.
//!
//! Only registration knows this list; the router passes any event type.
//!
//! **Source:** the vendor's event-to-scope map and the product event references for Jira, Jira
//! Software, Jira Service Management, Confluence and the Forge life cycle.

/// What is known of one event type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Scopes an app needs to hear it; all of them.
    pub scopes: &'static [&'static str],
    /// Whether entity properties can be read on it.
    pub properties: bool,
}

/// Events that differ only in their verb: `<before><verb><after>`.
struct Family {
    before: &'static str,
    verbs: &'static [&'static str],
    after: &'static str,
    scopes: &'static [&'static str],
    properties: bool,
}

const JIRA_WORK: &[&str] = &["read:jira-work"];
const JIRA_USER: &[&str] = &["read:jira-user"];
const JIRA_WORK_AND_USER: &[&str] = &["read:jira-work", "read:jira-user"];
const JIRA_CONFIGURATION: &[&str] = &["manage:jira-configuration"];
const CONTENT_SUMMARY: &[&str] = &["read:confluence-content.summary"];
const CONTENT_ALL: &[&str] = &["read:confluence-content.all"];
const CONTENT_WRITE: &[&str] = &["read:confluence-content.summary", "write:confluence-content"];
const SPACE_SUMMARY: &[&str] = &["read:confluence-space.summary"];
const CONFLUENCE_USER: &[&str] = &["read:confluence-user"];
const CONFLUENCE_GROUPS: &[&str] = &["read:confluence-groups"];

const fn family(
    before: &'static str,
    verbs: &'static [&'static str],
    after: &'static str,
    scopes: &'static [&'static str],
) -> Family {
    Family { before, verbs, after, scopes, properties: false }
}

const fn with_properties(
    before: &'static str,
    verbs: &'static [&'static str],
    after: &'static str,
) -> Family {
    Family { before, verbs, after, scopes: JIRA_WORK, properties: true }
}

#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    with_properties("avi:jira:", &["created", "updated", "deleted", "assigned", "commented"], ":issue"),
    family("avi:jira:", &["viewed", "mentioned"], ":issue", JIRA_WORK),
    with_properties("avi:jira:", &["deleted"], ":comment"),
    family("avi:jira:", &["mentioned"], ":comment", JIRA_WORK),
    with_properties("avi:jira:", &["created", "deleted"], ":issuelink"),
    with_properties("avi:jira:", &["created", "updated", "deleted"], ":worklog"),
    with_properties("avi:jira:", &["created", "deleted"], ":attachment"),
    family("avi:jira:", &["set", "deleted"], ":issue-property", JIRA_WORK),
    family("avi:jira:", &["created", "updated", "deleted"], ":component", JIRA_WORK),
    family("avi:jira:", &["created", "updated", "released", "unreleased", "archived", "unarchived", "merged", "moved", "deleted"], ":version", JIRA_WORK),
    family("avi:jira:", &["created", "updated", "archived", "unarchived", "softdeleted", "restored", "deleted"], ":project", JIRA_WORK),
    family("avi:jira:", &["created", "updated", "deleted"], ":user", JIRA_USER),
    family("avi:jira:", &["created", "updated", "deleted"], ":issuetype", JIRA_CONFIGURATION),
    family("avi:jira:", &["created", "updated", "deleted"], ":filter", JIRA_CONFIGURATION),
    family("avi:jira:", &["created", "updated", "trashed", "deleted", "restored"], ":field", JIRA_CONFIGURATION),
    family("avi:jira:", &["created", "updated", "deleted"], ":field:context", JIRA_CONFIGURATION),
    family("avi:jira:", &["updated"], ":field:context:configuration", JIRA_CONFIGURATION),
    family("avi:jira:", &["failed"], ":expression", JIRA_CONFIGURATION),
    family("avi:jira:", &["changed"], ":configuration", JIRA_CONFIGURATION),
    family("avi:jira:timetracking:provider:", &["changed"], "", JIRA_CONFIGURATION),
    family("avi:jira-software:", &["created", "started", "closed", "updated", "deleted"], ":sprint", JIRA_WORK),
    family("avi:jira-software:", &["created", "updated", "configuration-changed", "deleted"], ":board", JIRA_WORK_AND_USER),
    family("avi:jsm-entity:", &["created", "updated", "deleted"], ":request-type", JIRA_CONFIGURATION),
    family("avi:jsm-entity:", &["created", "updated", "deleted"], ":request-type-group", JIRA_CONFIGURATION),
    family("avi:jsm-entity:", &["created", "updated", "deleted"], ":service-desk", JIRA_CONFIGURATION),
    family("avi:jsm-entity:", &["created", "updated"], ":portal", JIRA_CONFIGURATION),
    family("avi:confluence:", &["created", "updated", "liked", "viewed", "archived", "unarchived", "moved", "copied", "children_reordered", "permissions_updated", "restored", "initialized", "started", "snapshotted", "published"], ":page", CONTENT_SUMMARY),
    family("avi:confluence:", &["trashed", "deleted"], ":page", CONTENT_WRITE),
    family("avi:confluence:", &["created", "updated", "liked", "viewed", "permissions_updated", "restored"], ":blogpost", CONTENT_SUMMARY),
    family("avi:confluence:", &["trashed", "deleted"], ":blogpost", CONTENT_WRITE),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":whiteboard", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":database", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":embed", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "moved", "copied", "permissions_updated"], ":folder", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "updated", "removed"], ":task", CONTENT_ALL),
    family("avi:confluence:", &["created", "updated", "liked", "deleted", "permissions_updated"], ":comment", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "updated", "permissions_updated", "deleted"], ":space:V2", SPACE_SUMMARY),
    family("avi:confluence:", &["created", "updated", "viewed", "archived", "unarchived", "trashed", "restored", "deleted", "permissions_updated"], ":attachment", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "updated", "permissions_updated", "trashed", "restored", "deleted"], ":custom_content", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "added", "removed", "deleted"], ":label", CONTENT_SUMMARY),
    family("avi:confluence:", &["created", "deleted"], ":user", CONFLUENCE_USER),
    family("avi:confluence:", &["created", "deleted"], ":group", CONFLUENCE_GROUPS),
    family("avi:confluence:", &["created", "deleted"], ":relation", CONTENT_SUMMARY),
    family("avi:confluence:", &["performed"], ":search", CONTENT_SUMMARY),
    family("avi:forge:", &["installed", "upgraded"], ":app", &[]),
];

/// Names that many apps use although no such event exists, and what they mean.
const MISTAKEN: &[(&str, &str)] = &[
    ("avi:jira:created:comment", "avi:jira:commented:issue"),
    ("avi:jira:updated:comment", "avi:jira:commented:issue"),
    ("avi:jira:commented:comment", "avi:jira:commented:issue"),
];

/// Most edits between a misspelt name and one that is offered for it.
const EDITS_MAX: usize = 3;
/// Names longer than this are compared with none: no event name comes near.
const NAME_BYTES_MAX: usize = 64;

/// What is known of the event type `name`.
#[must_use]
pub fn find(name: &str) -> Option<Known> {
    let family = FAMILIES.iter().find(|family| {
        name.strip_prefix(family.before)
            .and_then(|rest| rest.strip_suffix(family.after))
            .is_some_and(|verb| family.verbs.contains(&verb))
    })?;
    Some(Known { scopes: family.scopes, properties: family.properties })
}

/// Every event type that is known, in the order of the catalogue.
pub fn names() -> impl Iterator<Item = String> {
    FAMILIES.iter().flat_map(|family| {
        family.verbs.iter().map(|verb| format!("{}{verb}{}", family.before, family.after))
    })
}

/// The event type that `name` was probably meant to be.
#[must_use]
pub fn nearest(name: &str) -> Option<String> {
    if let Some((_, meant)) = MISTAKEN.iter().find(|(mistaken, _)| *mistaken == name) {
        return Some((*meant).to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    if let Some(swapped) = swap_verb_and_noun(name).filter(|swapped| find(swapped).is_some()) {
        return Some(swapped);
    }
    let lower = name.to_ascii_lowercase();
    names()
        .map(|known| (edits(&lower, &known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= EDITS_MAX)
        .map(|(_, known)| known)
}

/// `avi:jira:issue:created` as `avi:jira:created:issue`.
fn swap_verb_and_noun(name: &str) -> Option<String> {
    match name.split(':').collect::<Vec<_>>().as_slice() {
        [avi, product, noun, verb] => Some(format!("{avi}:{product}:{verb}:{noun}")),
        _ => None,
    }
}

/// Levenshtein distance in bytes; event names are ASCII.
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, r) in row.iter_mut().skip(1).zip(right.bytes()) {
            let replaced = diagonal + usize::from(l != r);
            diagonal = *cell;
            before = replaced.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or(0)
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
    fn comment_events_that_do_not_exist_lead_to_the_one_that_does() {
        for name in ["avi:jira:created:comment", "avi:jira:updated:comment"] {
            assert_eq!(find(name), None);
            assert_eq!(nearest(name).as_deref(), Some("avi:jira:commented:issue"));
        }
    }

    #[test]
    fn misspelt_and_swapped_names_are_recognised_and_strange_ones_are_not() {
        assert_eq!(nearest("avi:jira:craeted:issue").as_deref(), Some("avi:jira:created:issue"));
        assert_eq!(nearest("avi:jira:issue:created").as_deref(), Some("avi:jira:created:issue"));
        assert_eq!(nearest("AVI:JIRA:created:issue").as_deref(), Some("avi:jira:created:issue"));
        assert_eq!(nearest("something else entirely"), None);
        assert_eq!(nearest(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn boards_need_two_scopes_and_lifecycle_events_none() {
        assert_eq!(find("avi:jira-software:created:board").unwrap().scopes.len(), 2);
        assert!(find("avi:forge:installed:app").unwrap().scopes.is_empty());
        assert!(find("avi:jira:created:issue").unwrap().properties);
        assert!(!find("avi:jira:viewed:issue").unwrap().properties);
    }
}
