//! "Did you mean": the event type or webhook that a wrong name means, over all vocabularies. The event
//! types of Forge, the webhooks of Jira and the webhooks of Confluence name the same events.

use super::{find, names};
use crate::domain::Product;
use crate::event::sources::{SOURCES, source_of};
use crate::event::webhook::reverse::events_of_webhook;

/// Frequently used names of events that do not exist, with the event that is meant.
const MISTAKEN: &[(&str, &str)] = &[
    ("avi:jira:created:comment", "avi:jira:commented:issue"),
    ("avi:jira:updated:comment", "avi:jira:commented:issue"),
    ("avi:jira:commented:comment", "avi:jira:commented:issue"),
    ("avi:jira:transitioned:issue", "avi:jira:updated:issue"),
    ("avi:jira:moved:issue", "avi:jira:updated:issue"),
    ("avi:jira:resolved:issue", "avi:jira:updated:issue"),
    ("avi:jira:closed:issue", "avi:jira:updated:issue"),
    ("avi:jira:changed:issue", "avi:jira:updated:issue"),
];

/// Products that event types name.
const PRODUCTS: &[&str] = &["jira", "jira-software", "jsm-entity", "confluence", "forge"];
/// Prefix of some webhooks of Jira; whether a webhook has it follows no rule.
const JIRA_PREFIX: &str = "jira:";
/// Largest edit distance between a misspelt name and its suggestion.
const EDITS_MAX: usize = 3;
/// Longest name that is compared, in bytes; no event name is near it.
const NAME_BYTES_MAX: usize = 64;

/// Returns the event type that `name` probably means.
#[must_use]
pub fn nearest(name: &str) -> Option<String> {
    if let Some((_, meant)) = MISTAKEN.iter().find(|(mistaken, _)| *mistaken == name) {
        return Some((*meant).to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let other_form = || other_forms(name).into_iter().find(|name| find(name).is_some());
    event_type_of_webhook(name)
        .or_else(other_form)
        .or_else(|| least_edits(name, names()))
        .or_else(|| event_type_of_webhook(&misspelt_webhook(name, &Product::ALL)?))
}

/// Returns the webhook of one of these products that `name` probably means.
#[must_use]
pub fn nearest_webhook(name: &str, products: &[Product]) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let is_known = |name: &str| products.iter().any(|product| is_webhook_name(name, *product));
    let bare = name.strip_prefix(JIRA_PREFIX).unwrap_or(name).to_owned();
    let prefixed = format!("{JIRA_PREFIX}{bare}");
    let of_event_type = |event_type: String| {
        let all = products.iter().flat_map(|product| source_of(*product).webhook_names());
        let mut all = all.into_iter();
        all.find(|name| event_types(name, products).contains(&event_type))
    };
    let other_form = [bare, prefixed].into_iter().find(|form| is_known(form));
    other_form
        .or_else(|| of_event_type(find(name).map(|_| name.to_owned())?))
        .or_else(|| misspelt_webhook(name, products))
        .or_else(|| of_event_type(nearest(name)?))
}

/// Whether a webhook of the product has this name.
#[must_use]
pub fn is_webhook_name(name: &str, product: Product) -> bool {
    source_of(product).webhook_names().iter().any(|known| known == name)
}

/// Returns the event types of a webhook in these products.
fn event_types(name: &str, products: &[Product]) -> Vec<String> {
    let known = products.iter().filter(|product| is_webhook_name(name, **product));
    let mapped = known.flat_map(|product| events_of_webhook(name, *product));
    mapped.map(|mapped| mapped.event_type.to_string()).collect()
}

/// Returns the event type of the webhook `name`, with or without its prefix.
fn event_type_of_webhook(name: &str) -> Option<String> {
    let forms = [name.to_owned(), format!("{JIRA_PREFIX}{name}")];
    forms.iter().find_map(|form| event_types(form, &Product::ALL).into_iter().next())
}

/// Returns the webhook of these products with the fewest edits.
fn misspelt_webhook(name: &str, products: &[Product]) -> Option<String> {
    let of_products = SOURCES.into_iter().filter(|source| products.contains(&source.product()));
    least_edits(name, of_products.flat_map(|source| source.webhook_names()))
}

/// Returns `name` with verb and noun exchanged, and with the name of each other product.
fn other_forms(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.splitn(4, ':').collect();
    let [avi, product, verb, noun] = parts.as_slice() else { return Vec::new() };
    let swapped = || PRODUCTS.iter().map(|other| format!("{avi}:{other}:{noun}:{verb}"));
    let others = PRODUCTS.iter().map(|other| format!("{avi}:{other}:{verb}:{noun}"));
    let same_product = format!("{avi}:{product}:{noun}:{verb}");
    std::iter::once(same_product).chain(others).chain(swapped()).collect()
}

/// Returns the name with the fewest edits, if they are few.
fn least_edits(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    known
        .filter(|known| known.len().abs_diff(lower.len()) <= EDITS_MAX)
        .map(|known| (edits(&lower, &known), known))
        .min_by_key(|(distance, _)| *distance)
        // Of a short name almost everything could be exchanged.
        .filter(|(distance, _)| *distance <= EDITS_MAX.min(lower.len() / 3))
        .map(|(_, known)| known)
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
    fn comment_events_that_do_not_exist_lead_to_the_one_that_does() {
        for name in ["avi:jira:created:comment", "avi:jira:updated:comment"] {
            assert_eq!(find(name), None);
            assert_eq!(nearest(name).as_deref(), Some("avi:jira:commented:issue"));
        }
    }

    #[test]
    fn wrong_event_types_lead_to_the_right_ones_in_all_vocabularies() {
        for (name, meant) in [
            ("avi:jira:craeted:issue", "avi:jira:created:issue"),
            ("avi:jira:issue:created", "avi:jira:created:issue"),
            ("AVI:JIRA:created:issue", "avi:jira:created:issue"),
            ("avi:jira:created:sprint", "avi:jira-software:created:sprint"),
            ("avi:jira:sprint:started", "avi:jira-software:started:sprint"),
            ("avi:jira:created:page", "avi:confluence:created:page"),
            ("avi:jira-software:created:issue", "avi:jira:created:issue"),
            ("jira:issue_created", "avi:jira:created:issue"),
            ("issue_created", "avi:jira:created:issue"),
            ("jira:issue_udpated", "avi:jira:updated:issue"),
            ("comment_created", "avi:jira:commented:issue"),
            ("page_created", "avi:confluence:created:page"),
            ("sprint_closed", "avi:jira-software:closed:sprint"),
        ] {
            assert_eq!(nearest(name).as_deref(), Some(meant), "{name}");
        }
        assert_eq!(nearest("something else entirely"), None);
        assert_eq!(nearest("a"), None);
        assert_eq!(nearest(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn wrong_webhook_names_lead_to_the_right_ones_in_all_vocabularies() {
        for (name, meant) in [
            ("version_released", "jira:version_released"),
            ("jira:comment_created", "comment_created"),
            ("jira:worklog_updated", "worklog_updated"),
            ("issue_created", "jira:issue_created"),
            ("jira:issue_craeted", "jira:issue_created"),
            ("avi:jira:created:issue", "jira:issue_created"),
            ("avi:jira:commented:issue", "comment_created"),
            ("avi:jira:created:sprint", "sprint_created"),
        ] {
            assert_eq!(nearest_webhook(name, &[Product::Jira]).as_deref(), Some(meant), "{name}");
        }
        let confluence = |name| nearest_webhook(name, &[Product::Confluence]);
        assert_eq!(confluence("page_craeted").as_deref(), Some("page_created"));
        assert_eq!(confluence("avi:confluence:deleted:page").as_deref(), Some("page_removed"));
        assert_eq!(confluence("jira:issue_created"), None);
    }
}
