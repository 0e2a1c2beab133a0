//! Confluence as a product.

use super::{names, to_event, to_webhook};
use crate::domain::{EventType, Product};
use crate::event::members::{Members, ObjectWriter};
use crate::event::sources::product_source::{
    MappedEvent, ProductSource, SubscribedEvent, WebhookMappingError, WebhookRequest, is_name,
    unknown_event_type,
};

/// Confluence.
#[derive(Clone, Copy, Debug)]
pub struct ConfluenceSource;

impl ProductSource for ConfluenceSource {
    fn product(&self) -> Product {
        Product::Confluence
    }

    fn name(&self) -> &'static str {
        "confluence"
    }

    fn title(&self) -> &'static str {
        "Confluence"
    }

    fn context_path(&self) -> &'static str {
        "/wiki"
    }

    fn has_event_type(&self, event_type: &str) -> bool {
        event_type.starts_with("avi:confluence:")
    }

    fn entities(&self) -> &'static [(&'static str, &'static str)] {
        &[("task", "id"), ("content", "id"), ("space", "id"), ("label", "id"), ("group", "id")]
    }

    fn revisions(&self) -> &'static [&'static str] {
        &[]
    }

    fn event_time_ms(&self, event: &Members<'_>) -> Option<i64> {
        to_webhook::created_ms(event)
    }

    /// Confluence Cloud does not name a webhook in its body, so the URL has to
    /// (`?event=page_created`).
    fn webhook_name(&self, webhook: &WebhookRequest<'_>) -> Result<String, WebhookMappingError> {
        let in_body = |name| webhook.members.string(name);
        let name = webhook.url_name.map(str::to_owned);
        let name = name.or_else(|| in_body("webhookEvent")).or_else(|| in_body("event"));
        name.filter(|name| is_name(name)).ok_or(WebhookMappingError::Unnamed)
    }

    fn to_events(&self, name: &str, webhook: &WebhookRequest<'_>) -> Vec<MappedEvent> {
        let event_type = names::event_type(name).unwrap_or_else(|| unknown_event_type(name));
        let body = to_event::event_body(&event_type, webhook.members, webhook.bytes);
        vec![MappedEvent { event_type: event_type.into(), body, is_primary: true }]
    }

    fn has_webhook_filters(&self) -> bool {
        false
    }

    fn webhook_names(&self) -> Vec<String> {
        names::webhook_names()
    }

    fn subscribed_events(&self, name: &str) -> Vec<SubscribedEvent> {
        let event_type = names::event_type(name).unwrap_or_else(|| unknown_event_type(name));
        vec![SubscribedEvent::any(event_type)]
    }

    fn is_webhook_of(&self, _name: &str, _event_type: &EventType, _event: &Members<'_>) -> bool {
        true
    }

    fn write_webhook(&self, event_type: &EventType, event: &Members<'_>, to: &mut ObjectWriter) {
        to_webhook::write_members(event_type, event, to);
    }
}
