//! Confluence as a product.

use super::{names, to_event, to_webhook};
use crate::domain::{EventType, Product};
use crate::event::members::{Members, ObjectWriter};
use crate::event::sources::product_source::{
    MappedEvent, ProductSource, SubscribedEvent, WebhookNameError, WebhookRequest, checked_name,
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

    fn event_time_ms(&self, event: &Members<'_>) -> Option<i64> {
        to_webhook::created_ms(event)
    }

    /// Confluence Cloud does not name a webhook in its body, so the URL has to
    /// (`?event=page_created`).
    fn webhook_name(&self, webhook: &WebhookRequest<'_>) -> Result<String, WebhookNameError> {
        let in_body = |name| webhook.members.string(name).filter(|name| !name.is_empty());
        let name = webhook.url_name.map(str::to_owned);
        checked_name(name.or_else(|| in_body("webhookEvent")).or_else(|| in_body("event")))
    }

    fn to_events(&self, name: &str, webhook: &WebhookRequest<'_>) -> Vec<MappedEvent> {
        let content_type = webhook.members.string("type").unwrap_or_default();
        if let Some(event_type) = names::flat_event_type(name, &content_type) {
            let body = to_event::flat_body(&event_type, webhook.members, webhook.bytes);
            return vec![MappedEvent { event_type: event_type.into(), body, is_primary: true }];
        }
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
        let flat = names::flat_event_types(name).into_iter();
        std::iter::once(event_type).chain(flat).map(SubscribedEvent::any).collect()
    }

    fn is_webhook_of(&self, _name: &str, _event_type: &EventType, _event: &Members<'_>) -> bool {
        true
    }

    fn write_webhook(&self, event_type: &EventType, event: &Members<'_>, to: &mut ObjectWriter) {
        to_webhook::write_members(event_type, event, to);
    }
}
