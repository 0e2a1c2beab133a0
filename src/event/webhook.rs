//! Webhook mapping: converts the webhooks of the products to events and back.
//!
//! A pure function from one request to one or more events; what differs between products is in
//! [`super::sources`]. A webhook with an unknown name is not rejected; it becomes the event type
//! `webhook:<name>`.

use bytes::Bytes;
use jiff::Timestamp;

use super::codec::{HeaderLookup, names};
use super::envelope::Envelope;
use super::identity;
use super::members::Members;
use super::sources::{MappedEvent, WebhookMappingError, WebhookRequest, source_of};
use crate::domain::{CloudId, EventId, Product};

pub mod delta;
pub mod reverse;

/// Returns the events of one webhook of site `cloud_id`, each with its envelope and body; at least
/// one. `url_name` is the name of the webhook in the URL it was posted to, if it has one.
///
/// # Errors
/// See [`WebhookMappingError`]; never because the kind of the webhook is unknown.
pub fn map_webhook(
    product: Product,
    cloud_id: &CloudId,
    headers: &impl HeaderLookup,
    body: &[u8],
    url_name: Option<&str>,
) -> Result<Vec<(Envelope, Bytes)>, WebhookMappingError> {
    let members = parse(body)?;
    let webhook = WebhookRequest { headers, url_name, members: &members, bytes: body.len() };
    let source = source_of(product);
    let name = source.webhook_name(&webhook)?;
    let events = source.to_events(&name, &webhook).into_iter();
    Ok(events.map(|event| to_event(cloud_id, &webhook, event)).collect())
}

fn parse(body: &[u8]) -> Result<Members<'_>, WebhookMappingError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| WebhookMappingError::Utf8 { offset: error.valid_up_to() })?;
    Members::parse(text).map_err(|error| WebhookMappingError::Json { reason: error.to_string() })
}

/// Returns the envelope and the body of a mapped event.
fn to_event(
    cloud_id: &CloudId,
    webhook: &WebhookRequest<'_>,
    mapped: MappedEvent,
) -> (Envelope, Bytes) {
    let MappedEvent { event_type, body, is_primary } = mapped;
    let time = webhook.members.id("timestamp").and_then(|ms| ms.parse().ok());
    let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let event_id = match webhook.id() {
        // The events of one webhook need different ids.
        Some(id) => EventId::from(format!("{id}:{event_type}")),
        None => identity::event_id(cloud_id, &event_type, time, body.as_bytes()),
    };
    let event = Members::parse(&body).unwrap_or_else(|error| {
        debug_assert!(false, "a mapped event is a JSON object: {error}");
        Members::default()
    });
    let entity = identity::entity_key(&event);
    let delta = is_primary.then(|| delta::encode(webhook.members, &event)).flatten();
    let envelope = Envelope {
        cloud_id: cloud_id.clone(),
        event_id,
        event_type,
        time,
        origin_app: None,
        entity,
        traceparent: webhook.headers.get(names::TRACEPARENT).map(Into::into),
        webhook: delta,
    };
    (envelope, Bytes::from(body))
}
