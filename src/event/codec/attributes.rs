//! The attributes of an incoming message: what headers and address say about its event.

use std::borrow::Cow;

use bytes::Bytes;
use switchyard_expr::Tape;

use super::headers::{HeaderLookup, InvalidHeader, decoded};
use super::names;
use crate::event::decode_error::DecodeError;
use crate::event::identity;
use crate::event::members::Members;
use crate::event::view;
use crate::event::webhook::OriginalWebhook;

/// What the address of a message says about its event: a NATS subject, a Kafka topic and key.
/// Headers take precedence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AddressAttributes<'m> {
    /// Site of the event.
    pub cloud_id: Option<&'m str>,
    /// Event type.
    pub event_type: Option<&'m str>,
}

/// The attributes of a message, the decoder's input besides the body. Borrows from the message, so
/// that an event without subscriptions costs no allocation.
#[derive(Debug)]
pub struct Attributes<'m> {
    /// Where the message carries them.
    pub(in crate::event) mode: AttributeMode,
    pub(in crate::event) cloud_id: Option<Cow<'m, str>>,
    pub(in crate::event) event_id: Option<Cow<'m, str>>,
    pub(in crate::event) event_type: Option<Cow<'m, str>>,
    pub(in crate::event) time: Option<Cow<'m, str>>,
    pub(in crate::event) origin_app: Option<Cow<'m, str>>,
    pub(in crate::event) entity: Option<Cow<'m, str>>,
    pub(in crate::event) traceparent: Option<Cow<'m, str>>,
    pub(in crate::event) webhook: Option<Cow<'m, str>>,
    pub(in crate::event) webhook_text: Option<Cow<'m, str>>,
    /// The webhook that was split from the body.
    pub(in crate::event) whole_webhook: Option<Bytes>,
}

/// Where a message carries the attributes of its event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::event) enum AttributeMode {
    /// Headers, address and body (CloudEvents binary mode).
    Binary,
    /// A CloudEvents JSON document around the event (structured mode).
    Structured,
}

impl<'m> Attributes<'m> {
    /// Reads the attributes of a message from its headers alone.
    ///
    /// # Errors
    /// A header does not decode to UTF-8 text.
    pub fn from_headers(headers: &'m impl HeaderLookup) -> Result<Self, DecodeError> {
        Self::read(headers, AddressAttributes::default())
    }

    /// Reads the attributes of a message; what its headers lack is taken from its address.
    ///
    /// # Errors
    /// A header does not decode to UTF-8 text.
    pub fn read(
        headers: &'m impl HeaderLookup,
        address: AddressAttributes<'m>,
    ) -> Result<Self, DecodeError> {
        let structured = headers.get(names::CONTENT_TYPE).is_some_and(is_structured);
        let text = |name: &'static str| decoded(headers, name);
        let cloud_id = text(names::EVENT_SITE)?.or(address.cloud_id.map(Cow::Borrowed));
        let event_type = text(names::EVENT_TYPE)?.or(address.event_type.map(Cow::Borrowed));
        Ok(Self {
            mode: if structured { AttributeMode::Structured } else { AttributeMode::Binary },
            event_id: event_id(headers, cloud_id.as_deref())?,
            cloud_id,
            event_type,
            time: text(names::EVENT_TIME)?,
            origin_app: text(names::EVENT_ORIGIN_APP)?,
            entity: text(names::EVENT_ENTITY)?,
            // A context that cannot be read is none, and no reason to refuse the event.
            traceparent: headers.get(names::TRACEPARENT).map(Cow::Borrowed),
            webhook: text(names::WEBHOOK)?,
            webhook_text: text(names::WEBHOOK_TEXT)?,
            whole_webhook: None,
        })
    }

    /// Splits the body of the message into the event and the webhook it was made from, if it holds one.
    pub(in crate::event) fn split(&mut self, stored: Bytes) -> Bytes {
        let split = |header: &str| OriginalWebhook::split(header, &stored);
        match self.webhook.as_deref().and_then(split) {
            Some((event, webhook)) => {
                self.whole_webhook = Some(webhook);
                event
            }
            None => stored,
        }
    }

    /// Reads the attributes of a structured CloudEvents document and returns its `data`.
    pub(in crate::event) fn read_structured(&mut self, tape: &Tape) -> Result<Bytes, DecodeError> {
        let text = |name: &str| view::text(tape, name).map(|text| Cow::Owned(text.to_owned()));
        let missing = |name: &str| {
            DecodeError::schema(format!("a CloudEvents document needs `{name}`, a string"))
        };
        self.event_id = Some(text("id").ok_or_else(|| missing("id"))?);
        self.event_type = Some(text("type").ok_or_else(|| missing("type"))?);
        let source = text("source");
        let source_site = source.as_deref().and_then(|source| source.rsplit_once("::site/"));
        let source_site = source_site.map(|(_, site)| Cow::Owned(site.to_owned()));
        self.cloud_id = text("cloudid").or(source_site).or(self.cloud_id.take());
        self.time = text("time");
        self.origin_app = text("originapp");
        self.entity = text("subject");
        self.traceparent = text("traceparent");
        let members = Members::parse(tape.text()).map_err(|error| {
            debug_assert!(false, "a document on the tape is a JSON object: {error}");
            DecodeError::Json { reason: error.to_string() }
        })?;
        let data = members
            .json("data")
            .ok_or_else(|| DecodeError::schema("a CloudEvents document needs `data`"))?;
        Ok(Bytes::copy_from_slice(data.as_bytes()))
    }
}

impl From<InvalidHeader> for DecodeError {
    fn from(invalid: InvalidHeader) -> Self {
        Self::schema(format!("header `{}` does not decode to UTF-8 text", invalid.0))
    }
}

/// Returns `ce-id`, else the broker's message id without its leading site.
fn event_id<'m>(
    headers: &'m impl HeaderLookup,
    cloud_id: Option<&str>,
) -> Result<Option<Cow<'m, str>>, InvalidHeader> {
    if let Some(id) = decoded(headers, names::EVENT_ID)? {
        return Ok(Some(id));
    }
    let Some(id) = headers.get(names::MESSAGE_ID) else { return Ok(None) };
    let own = cloud_id
        .and_then(|cloud| id.strip_prefix(&*identity::escaped_site(cloud))?.strip_prefix('/'));
    Ok(Some(Cow::Borrowed(own.unwrap_or(id))))
}

/// Whether a media type is that of a structured CloudEvents document.
#[must_use]
pub fn is_structured(content_type: &str) -> bool {
    let prefix = "application/cloudevents";
    content_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
