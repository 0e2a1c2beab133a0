//! The attributes of an event (id, type, site, time), read before the payload.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;

use super::codec::{AttributeMode, Attributes};
use super::decode_error::DecodeError;
use super::identity;
use super::webhook::OriginalWebhook;
use crate::domain::{AppId, CloudId, EventId, EventType, TraceContext};

/// The attributes of an event.
#[derive(Clone, PartialEq, Debug)]
pub struct Envelope {
    /// The site the event is about.
    pub cloud_id: CloudId,
    /// Event id, unique inside the site; see [`Envelope::identity`].
    pub event_id: EventId,
    /// Event type, such as `avi:jira:updated:issue`.
    pub event_type: EventType,
    /// When it happened (`ce-time`).
    pub time: Option<Timestamp>,
    /// The app that made the change (`ce-originapp`), so that `ignoreSelf` can be decided per app.
    pub origin_app: Option<AppId>,
    /// Key of the entity the event is about (`ce-subject`).
    pub entity: Option<Box<str>>,
    /// W3C trace context of the publisher.
    pub traceparent: Option<TraceContext>,
    /// Context of the event in the traces of routers; none if it is not recorded.
    pub trace: Option<TraceContext>,
    /// The webhook this event was made from.
    pub webhook: Option<OriginalWebhook>,
}

/// One decoded event: its envelope and its body.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Id, type, site and time.
    pub envelope: Envelope,
    /// The event object as JSON, byte for byte as published, except for half surrogate pairs, which
    /// are U+FFFD.
    pub body: Bytes,
    /// Sequence number in the event stream; strictly increasing, 0 for an event that did not come
    /// from a stream.
    pub sequence: u64,
}

impl Envelope {
    /// Returns the event identity, `<cloudId>/<ce-id>`: messages of equal identity are the same
    /// event. Publishers send it as `Nats-Msg-Id`.
    ///
    /// The site ends at the first `/`: those of a site id are written `%2F`, and its `%` is `%25`. So
    /// no two sites have an identity in common, whatever their ids and event ids are.
    #[must_use]
    pub fn identity(&self) -> String {
        identity::of_event(&self.cloud_id, &self.event_id)
    }

    /// Returns the body of the message that stores the event object `body`: with the webhook it was
    /// made from, if no header holds that.
    #[must_use]
    pub fn stored_body(&self, body: Bytes) -> Bytes {
        match &self.webhook {
            Some(webhook) => webhook.stored_with(body),
            None => body,
        }
    }
}

/// The attributes that matching needs; borrowed, so that reading them allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoutingKey<'e> {
    /// The site, see [`Envelope::cloud_id`].
    pub cloud_id: &'e str,
    /// See [`Envelope::event_type`].
    pub event_type: &'e str,
    /// See [`Envelope::origin_app`].
    pub origin_app: Option<&'e str>,
}

impl Envelope {
    /// Returns the attributes that matching needs.
    #[must_use]
    pub fn routing_key(&self) -> RoutingKey<'_> {
        RoutingKey {
            cloud_id: self.cloud_id.as_str(),
            event_type: self.event_type.as_str(),
            origin_app: self.origin_app.as_ref().map(AppId::as_str),
        }
    }
}

/// Returns the routing key if headers and address are enough for it.
pub(super) fn routing_key<'e>(attributes: &'e Attributes<'_>) -> Option<RoutingKey<'e>> {
    let routing_key = RoutingKey {
        cloud_id: attributes.cloud_id.as_deref()?,
        event_type: attributes.event_type.as_deref()?,
        origin_app: attributes.origin_app.as_deref(),
    };
    (attributes.mode == AttributeMode::Binary).then_some(routing_key)
}

/// A complete envelope that still borrows from its message.
#[derive(Debug)]
pub(super) struct BorrowedEnvelope<'m> {
    cloud_id: Cow<'m, str>,
    event_type: Cow<'m, str>,
    rest: Attributes<'m>,
}

impl<'m> BorrowedEnvelope<'m> {
    /// Fills missing attributes from the body and checks that both agree on the event type.
    /// `body_type` is the body's `eventType`.
    pub(super) fn complete(
        mut attributes: Attributes<'m>,
        body_type: Option<&str>,
    ) -> Result<Self, DecodeError> {
        let event_type = match (attributes.event_type.take(), body_type) {
            (Some(event_type), Some(body_type)) if event_type != body_type => {
                return Err(DecodeError::schema(format!(
                    "type_mismatch: the envelope says `{event_type}`, the body's eventType `{body_type}`"
                )));
            }
            (Some(event_type), _) => event_type,
            (None, Some(body_type)) => Cow::Owned(body_type.to_owned()),
            (None, None) => {
                return Err(DecodeError::schema("no event type: neither ce-type nor eventType"));
            }
        };
        check_event_type(&event_type)?;
        let cloud_id = attributes.cloud_id.take().ok_or_else(|| {
            DecodeError::schema("no site: neither ce-cloudid nor a subject that names one")
        })?;
        Ok(Self { cloud_id, event_type, rest: attributes })
    }

    pub(super) fn routing_key(&self) -> RoutingKey<'_> {
        RoutingKey {
            cloud_id: &self.cloud_id,
            event_type: &self.event_type,
            origin_app: self.rest.origin_app.as_deref(),
        }
    }

    pub(super) fn trace_context(&self) -> Option<TraceContext> {
        self.rest.traceparent.as_deref().and_then(TraceContext::parse)
    }

    /// Returns the owned envelope of the event that was sent with this body.
    pub(super) fn into_envelope(self, sent: &Bytes) -> Envelope {
        let traceparent = self.trace_context();
        let cloud_id = CloudId::from(&*self.cloud_id);
        let event_type = EventType::from(&*self.event_type);
        let rest = self.rest;
        let time = rest.time.and_then(|time| time.parse().ok());
        let event_id = match rest.event_id {
            Some(id) => EventId::from(&*id),
            None => identity::event_id(&cloud_id, &event_type, time, sent),
        };
        Envelope {
            cloud_id,
            event_id,
            event_type,
            time,
            origin_app: rest.origin_app.map(|app| AppId::from(&*app)),
            entity: rest.entity.map(Into::into),
            traceparent,
            trace: None,
            webhook: match (rest.whole_webhook, rest.webhook) {
                (Some(webhook), _) => Some(OriginalWebhook::Whole(webhook)),
                (None, webhook) => webhook.map(|members| OriginalWebhook::Delta {
                    members: members.into(),
                    between: rest.webhook_text.map(Into::into),
                }),
            },
        }
    }
}

/// Checks that an event type can be used as one subject token.
///
/// # Errors
/// It is empty, too long, or has a character that NATS subjects do not allow.
pub fn check_event_type(name: &str) -> Result<(), DecodeError> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>');
    if name.is_empty() || name.len() > EVENT_TYPE_BYTES_MAX || name.contains(forbidden) {
        return Err(DecodeError::schema(format!(
            "`{name}` cannot be an event type: 1 to {EVENT_TYPE_BYTES_MAX} bytes without space, `.`, `*`, `>`"
        )));
    }
    Ok(())
}

/// Longest event type in bytes; keeps subjects short.
const EVENT_TYPE_BYTES_MAX: usize = 128;
