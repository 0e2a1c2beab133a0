//! Events to webhooks: which event types a webhook name subscribes to, and the webhook body of an
//! event.
//!
//! Uses the tables of the products in reverse. An unknown name subscribes to the event type that
//! such a webhook is mapped to on its way in, `webhook:<name>`.

use super::original::MATCHED;
use crate::domain::{EventType, Product};
use crate::event::members::{Members, ObjectWriter};
use crate::event::sources::{SOURCES, SubscribedEvent, source_of, source_of_event_type};

/// Returns the event types that the webhook name `name` subscribes to on a site of `product`; at
/// least one.
#[must_use]
pub fn events_of_webhook(name: &str, product: Product) -> Vec<SubscribedEvent> {
    source_of(product).subscribed_events(name)
}

/// Returns the webhook name among `names` (those an app subscribed to) that corresponds to this
/// event.
#[must_use]
pub fn webhook_name_of<'n>(
    event_type: &EventType,
    event: &Members<'_>,
    names: &'n [Box<str>],
) -> Option<&'n str> {
    let source = source_of_event_type(event_type.as_str());
    names.iter().map(AsRef::as_ref).find(|name| {
        let subscribed = source.subscribed_events(name);
        subscribed.iter().any(|subscribed| subscribed.event_type == *event_type)
            && source.is_webhook_of(name, event_type, event)
    })
}

/// Returns the webhook named `name` for an event that did not arrive as a webhook.
///
/// `time_ms` is used if the event has no time; `matched` are the ids of the dynamic webhooks that it
/// is sent for.
#[must_use]
pub fn body(
    name: &str,
    event_type: &EventType,
    event: &Members<'_>,
    time_ms: Option<i64>,
    matched: Option<&str>,
) -> String {
    let mut webhook = ObjectWriter::with_capacity(1024);
    // Not of the event type's product alone: the type `webhook:<name>` belongs to none.
    let time = SOURCES.into_iter().find_map(|source| source.event_time_ms(event));
    if let Some(time) = time.or(time_ms) {
        webhook.json("timestamp", &time.to_string());
    }
    webhook.text("webhookEvent", name);
    source_of_event_type(event_type.as_str()).write_webhook(event_type, event, &mut webhook);
    if let Some(matched) = matched {
        webhook.json(MATCHED, matched);
    }
    webhook.finish()
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
            webhook_name_of(&"avi:jira:commented:issue".into(), &members, &names)
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
