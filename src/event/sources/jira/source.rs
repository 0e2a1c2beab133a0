//! Jira as a product.

use super::names::{self, COMMENTED_ISSUE};
use super::{to_event, to_webhook};
use crate::domain::{EventType, Product};
use crate::event::members::{Members, ObjectWriter};
use crate::event::sources::product_source::{
    MappedEvent, ProductSource, SubscribedEvent, WebhookNameError, WebhookRequest, checked_name,
};

/// Jira, Jira Software and Jira Service Management.
#[derive(Clone, Copy, Debug)]
pub struct JiraSource;

impl ProductSource for JiraSource {
    fn product(&self) -> Product {
        Product::Jira
    }

    fn name(&self) -> &'static str {
        "jira"
    }

    fn title(&self) -> &'static str {
        "Jira"
    }

    fn context_path(&self) -> &'static str {
        ""
    }

    fn has_event_type(&self, event_type: &str) -> bool {
        event_type.starts_with("avi:jira")
    }

    /// The issue comes first: a change of its comments or worklogs is a change of the issue.
    fn entities(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("issue", "key"),
            ("issue", "id"),
            ("worklog", "id"),
            ("attachment", "id"),
            ("comment", "id"),
            ("version", "id"),
            ("sprint", "id"),
            ("board", "id"),
            ("configuration", "id"),
            ("project", "id"),
            ("component", "id"),
            ("filter", "id"),
            ("issueType", "id"),
        ]
    }

    fn event_time_ms(&self, event: &Members<'_>) -> Option<i64> {
        event.id("timestamp")?.parse().ok()
    }

    /// The body names it, else the URL. Workflow transitions and Data Center post bodies without a
    /// name: what kind of change they report says what they are.
    fn webhook_name(&self, webhook: &WebhookRequest<'_>) -> Result<String, WebhookNameError> {
        let named = webhook.members.string("webhookEvent").filter(|name| !name.is_empty());
        let named = named.or_else(|| webhook.url_name.map(str::to_owned));
        let named = named.filter(|name| !name.is_empty());
        checked_name(named.or_else(|| names::name_of_unnamed(webhook.members).map(str::to_owned)))
    }

    fn to_events(&self, name: &str, webhook: &WebhookRequest<'_>) -> Vec<MappedEvent> {
        to_event::to_events(name, webhook)
    }

    fn has_webhook_filters(&self) -> bool {
        true
    }

    fn webhook_names(&self) -> Vec<String> {
        names::webhook_names()
    }

    fn subscribed_events(&self, name: &str) -> Vec<SubscribedEvent> {
        names::subscribed_events(name)
    }

    /// A created and an updated comment are one event type.
    fn is_webhook_of(&self, name: &str, event_type: &EventType, event: &Members<'_>) -> bool {
        if event_type.as_str() != COMMENTED_ISSUE {
            return true;
        }
        name == if names::is_new_comment(event) { "comment_created" } else { "comment_updated" }
    }

    fn write_webhook(&self, event_type: &EventType, event: &Members<'_>, to: &mut ObjectWriter) {
        to_webhook::write_members(event_type, event, to);
    }
}
