//! The attributes of an event (id, type, site, time), read before the payload.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use switchyard_expr::Tape;

use super::members::Members;
use super::webhook::delta;
use super::{DecodeError, identity, view};
use crate::domain::{AppId, CloudId, EventId, EventType};

/// Read access to message headers. Names are compared case-insensitively.
///
/// **Source:** CloudEvents NATS protocol binding, binary mode.
pub trait HeaderLookup {
    /// Returns the first value of the header `name` (lower case), without decoding it.
    fn get(&self, name: &str) -> Option<&str>;
}

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
    /// W3C trace context of the publisher, forwarded to handlers.
    pub traceparent: Option<Box<str>>,
    /// The webhook this event was made from, as a delta to the event; see
    /// [`super::webhook::delta`].
    pub webhook: Option<Box<str>>,
}

impl Envelope {
    /// Returns the event identity, `<cloudId>/<ce-id>`: messages of equal identity are the same
    /// event. Publishers send it as `Nats-Msg-Id`.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}/{}", self.cloud_id, self.event_id)
    }
}

/// Where a message carries the attributes of its event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttributeMode {
    /// Headers, subject and body (CloudEvents binary mode).
    Binary,
    /// A CloudEvents JSON document around the event (structured mode).
    Structured,
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

/// An envelope whose missing attributes are filled from the body. Borrows from its message, so that
/// an event without subscriptions costs no allocation.
#[derive(Debug)]
pub(super) struct PartialEnvelope<'m> {
    pub(super) mode: AttributeMode,
    cloud_id: Option<Cow<'m, str>>,
    event_id: Option<Cow<'m, str>>,
    event_type: Option<Cow<'m, str>>,
    time: Option<Cow<'m, str>>,
    origin_app: Option<Cow<'m, str>>,
    entity: Option<Cow<'m, str>>,
    traceparent: Option<Cow<'m, str>>,
    webhook: Option<Cow<'m, str>>,
}

impl<'m> PartialEnvelope<'m> {
    /// Reads the attributes from subject and headers.
    pub(super) fn from_headers(
        subject: &'m str,
        headers: &'m impl HeaderLookup,
    ) -> Result<Self, DecodeError> {
        let structured = headers.get("content-type").is_some_and(is_structured);
        let (subject_cloud, subject_type) = subject_tokens(subject);
        let text = |name: &str| decoded(headers, name);
        let cloud_id = text("ce-cloudid")?.or(subject_cloud.map(Cow::Borrowed));
        let event_type = text("ce-type")?.or(subject_type.map(Cow::Borrowed));
        Ok(Self {
            mode: if structured { AttributeMode::Structured } else { AttributeMode::Binary },
            event_id: event_id(headers, cloud_id.as_deref())?,
            cloud_id,
            event_type,
            time: text("ce-time")?,
            origin_app: text("ce-originapp")?,
            entity: text("ce-subject")?,
            traceparent: text("traceparent")?,
            webhook: text(delta::HEADER)?,
        })
    }

    /// Reads the attributes of a structured CloudEvents document and returns its `data`.
    pub(super) fn read_structured(&mut self, tape: &Tape) -> Result<Bytes, DecodeError> {
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
        let members = Members::parse(tape.text()).unwrap_or_default();
        let data = members
            .json("data")
            .ok_or_else(|| DecodeError::schema("a CloudEvents document needs `data`"))?;
        Ok(Bytes::copy_from_slice(data.as_bytes()))
    }

    /// Returns the routing key if subject and headers are enough for it.
    pub(super) fn routing_key(&self) -> Option<RoutingKey<'_>> {
        let routing_key = RoutingKey {
            cloud_id: self.cloud_id.as_deref()?,
            event_type: self.event_type.as_deref()?,
            origin_app: self.origin_app.as_deref(),
        };
        (self.mode == AttributeMode::Binary).then_some(routing_key)
    }

    /// Fills missing attributes from the body and checks that both agree on the event type.
    /// `body_type` is the body's `eventType`.
    pub(super) fn complete(
        mut self,
        body_type: Option<&str>,
    ) -> Result<BorrowedEnvelope<'m>, DecodeError> {
        let event_type = match (self.event_type.take(), body_type) {
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
        let cloud_id = self.cloud_id.take().ok_or_else(|| {
            DecodeError::schema("no site: neither ce-cloudid nor a subject that names one")
        })?;
        Ok(BorrowedEnvelope { cloud_id, event_type, rest: self })
    }
}

/// A complete envelope that still borrows from its message.
#[derive(Debug)]
pub(super) struct BorrowedEnvelope<'m> {
    cloud_id: Cow<'m, str>,
    event_type: Cow<'m, str>,
    rest: PartialEnvelope<'m>,
}

impl BorrowedEnvelope<'_> {
    pub(super) fn routing_key(&self) -> RoutingKey<'_> {
        RoutingKey {
            cloud_id: &self.cloud_id,
            event_type: &self.event_type,
            origin_app: self.rest.origin_app.as_deref(),
        }
    }

    /// Returns the owned envelope of the event with this body.
    pub(super) fn into_envelope(self, body: &Bytes) -> Envelope {
        let cloud_id = CloudId::from(&*self.cloud_id);
        let event_type = EventType::from(&*self.event_type);
        let rest = self.rest;
        let time = rest.time.and_then(|time| time.parse().ok());
        let event_id = match rest.event_id {
            Some(id) => EventId::from(&*id),
            None => identity::event_id(&cloud_id, &event_type, time, body),
        };
        Envelope {
            cloud_id,
            event_id,
            event_type,
            time,
            origin_app: rest.origin_app.map(|app| AppId::from(&*app)),
            entity: rest.entity.map(Into::into),
            traceparent: rest.traceparent.map(Into::into),
            webhook: rest.webhook.map(Into::into),
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

/// Returns `ce-id`, else `Nats-Msg-Id` without its leading site.
fn event_id<'m>(
    headers: &'m impl HeaderLookup,
    cloud_id: Option<&str>,
) -> Result<Option<Cow<'m, str>>, DecodeError> {
    if let Some(id) = decoded(headers, "ce-id")? {
        return Ok(Some(id));
    }
    let Some(id) = headers.get("nats-msg-id") else { return Ok(None) };
    let own = cloud_id.and_then(|cloud| id.strip_prefix(cloud)?.strip_prefix('/'));
    Ok(Some(Cow::Borrowed(own.unwrap_or(id))))
}

fn is_structured(content_type: &str) -> bool {
    let prefix = "application/cloudevents";
    content_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Returns site and event type of an intake or stored subject.
fn subject_tokens(subject: &str) -> (Option<&str>, Option<&str>) {
    let mut tokens = subject.split('.').skip(1);
    match tokens.next() {
        Some("ev") => {
            tokens.next();
        }
        Some("in") => {}
        _ => return (None, None),
    }
    (tokens.next(), tokens.next())
}

/// Returns a header value, percent-decoded once.
///
/// **Source:** CloudEvents NATS protocol binding: space, `"`, `%` and all outside U+0021..U+007E
/// are percent-encoded UTF-8.
///
/// # Errors
/// The value does not decode to UTF-8 text.
pub fn decoded<'h>(
    headers: &'h impl HeaderLookup,
    name: &str,
) -> Result<Option<Cow<'h, str>>, DecodeError> {
    let Some(raw) = headers.get(name).filter(|raw| !raw.is_empty()) else { return Ok(None) };
    if !raw.contains('%') {
        return Ok(Some(Cow::Borrowed(raw)));
    }
    let bytes = percent_decode(raw.as_bytes());
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Cow::Owned(text))),
        Err(_) => {
            Err(DecodeError::schema(format!("header `{name}` does not decode to UTF-8 text")))
        }
    }
}

/// Replaces each `%XX` with its byte; a `%` without two hex digits stays.
fn percent_decode(raw: &[u8]) -> Vec<u8> {
    let hex = |at: usize| raw.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(byte));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}
