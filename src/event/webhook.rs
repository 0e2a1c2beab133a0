//! Webhook mapping: converts the webhooks of the products to events and back.
//!
//! A pure function from one request to one or more events; what differs between products is in
//! [`super::sources`]. A webhook with an unknown name is not rejected; it becomes the event type
//! `webhook:<name>`. What a router could not decode, or the broker could not store, later is rejected
//! here.

use bytes::Bytes;
use jiff::Timestamp;
use thiserror::Error;

use super::codec::{HeaderLookup, names};
use super::decode::Decoder;
use super::decode_error::DecodeError;
use super::envelope::{Envelope, check_event_type};
use super::identity;
use super::members::Members;
use super::sources::{MappedEvent, WebhookNameError, WebhookRequest, source_of};
use crate::domain::{CloudId, EventId, Product, TraceContext};

pub mod cut;
mod delta;
mod original;
pub mod reverse;
#[cfg(test)]
mod tests;

pub use original::{MEMBER, OriginalWebhook};

/// What the headers of a message may take in addition to that of a delta, in bytes: those of an event,
/// and of its parked record or dead letter, which have more of them.
const HEADERS_BYTES_MAX: usize = 24 * 1024;

/// A webhook as it arrived.
pub struct IncomingWebhook<'a, H> {
    /// The product that sent it.
    pub product: Product,
    /// The site that sent it.
    pub cloud_id: &'a CloudId,
    /// Headers of the request.
    pub headers: &'a H,
    /// Name of the webhook in the URL it was posted to, if it has one.
    pub url_name: Option<&'a str>,
    /// The body as it was sent.
    pub body: Bytes,
}

/// Bounds of the events of a webhook, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct WebhookLimits {
    /// Largest event object that routers decode.
    pub event: usize,
    /// Largest message that the broker stores, headers included.
    pub message: usize,
}

/// Why a request is not stored as a webhook.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WebhookMappingError {
    /// The body has no bytes.
    #[error(
        "the webhook has no body; it has to be sent with its body: clear \"Exclude body\" in its \
         settings"
    )]
    Empty,
    /// The body is not JSON, or not a JSON object that a router can decode.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// Nothing names the webhook, or its name cannot be an event type.
    #[error(transparent)]
    Name(#[from] WebhookNameError),
    /// The broker stores no message as large as the webhook.
    #[error("the webhook has {bytes} bytes, the largest message of the broker {max}")]
    Unstorable {
        /// Size of the webhook.
        bytes: usize,
        /// Largest message of the broker.
        max: usize,
    },
}

/// Returns the events of one webhook, each with its envelope and body; at least one.
///
/// # Errors
/// See [`WebhookMappingError`]; never because the kind of the webhook is unknown.
pub fn map_webhook<H: HeaderLookup>(
    incoming: &IncomingWebhook<'_, H>,
    limits: WebhookLimits,
) -> Result<Vec<(Envelope, Bytes)>, WebhookMappingError> {
    let sent = &incoming.body;
    if sent.trim_ascii().is_empty() {
        return Err(WebhookMappingError::Empty);
    }
    let body = Decoder::new(sent.len(), false).decode_body(sent)?;
    let members = parse(&body)?;
    let webhook = WebhookRequest {
        headers: incoming.headers,
        // An address with an empty name, `?event=`, names nothing.
        url_name: incoming.url_name.filter(|name| !name.is_empty()),
        members: &members,
        bytes: sent.len(),
    };
    let source = source_of(incoming.product);
    let name = source.webhook_name(&webhook)?;
    let mapping = Mapping { incoming, webhook: &webhook, name: &name, limits };
    source.to_events(&name, &webhook).into_iter().map(|event| mapping.to_event(event)).collect()
}

fn parse(body: &[u8]) -> Result<Members<'_>, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| DecodeError::Utf8 { offset: error.valid_up_to() })?;
    Members::parse(text).map_err(|error| DecodeError::Json { reason: error.to_string() })
}

/// A named webhook that is being mapped.
struct Mapping<'a, H> {
    incoming: &'a IncomingWebhook<'a, H>,
    webhook: &'a WebhookRequest<'a>,
    name: &'a str,
    limits: WebhookLimits,
}

impl<H: HeaderLookup> Mapping<'_, H> {
    /// Returns the envelope and the body of a mapped event.
    fn to_event(&self, mapped: MappedEvent) -> Result<(Envelope, Bytes), WebhookMappingError> {
        let Self { incoming, webhook, name, .. } = self;
        let MappedEvent { event_type, body, is_primary } = mapped;
        check_event_type(event_type.as_str()).map_err(|_| WebhookNameError::TooLong)?;
        let time = webhook.members.id("timestamp").and_then(|ms| ms.parse().ok());
        let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let event_id = match webhook.id() {
            // The events of one webhook need different ids.
            Some(id) => EventId::from(format!("{id}:{event_type}")),
            None => {
                let named = (incoming.product, *name);
                identity::webhook_event_id(incoming.cloud_id, named, &event_type, &incoming.body)
            }
        };
        let entity = identity::entity_key(&parse(body.as_bytes())?);
        let (body, original) =
            if is_primary { self.kept(body)? } else { (self.alone(body)?, None) };
        Decoder::new(self.limits.event, false).decode_body(&body)?;
        let traceparent = webhook.headers.get(names::TRACEPARENT);
        let envelope = Envelope {
            cloud_id: incoming.cloud_id.clone(),
            event_id,
            event_type,
            time,
            origin_app: None,
            entity,
            traceparent: traceparent.and_then(TraceContext::parse),
            trace: None,
            webhook: original,
        };
        Ok((envelope, body))
    }

    /// Returns an event together with its webhook, in a form that can be stored. The event is cut
    /// rather than the webhook.
    fn kept(&self, body: String) -> Result<(Bytes, Option<OriginalWebhook>), WebhookMappingError> {
        let sent = &self.incoming.body;
        let room = self.limits.message.saturating_sub(HEADERS_BYTES_MAX);
        if body.len() <= self.limits.event {
            // Of the body as it was sent, not as it was repaired.
            let delta = parse(sent).ok().and_then(|webhook| {
                OriginalWebhook::delta(&webhook, sent, &parse(body.as_bytes()).ok()?)
            });
            let bytes = delta.as_ref().map_or(usize::MAX, OriginalWebhook::stored_bytes);
            if body.len().saturating_add(bytes) <= room {
                return Ok((body.into(), delta));
            }
        }
        let original = OriginalWebhook::Whole(sent.clone());
        let room = room.saturating_sub(original.stored_bytes());
        Ok((self.cut(&body, room)?, Some(original)))
    }

    /// Returns an event that is stored without its webhook.
    fn alone(&self, body: String) -> Result<Bytes, WebhookMappingError> {
        self.cut(&body, self.limits.message.saturating_sub(HEADERS_BYTES_MAX))
    }

    fn cut(&self, body: &str, room: usize) -> Result<Bytes, WebhookMappingError> {
        let (bytes, max) = (self.incoming.body.len(), self.limits.message);
        let cut = cut::cut(body, room.min(self.limits.event));
        cut.map(Bytes::from).ok_or(WebhookMappingError::Unstorable { bytes, max })
    }
}
