//! Envelopes as headers: CloudEvents names for events and dead letters, our own for parked records.

use bytes::Bytes;

use crate::domain::{AppId, CloudId, EventId, EventType, TraceContext};
use crate::event::sources::source_of_event_type;
use crate::event::webhook::OriginalWebhook;
use crate::event::{Envelope, Event};

use super::headers::{HeaderList, HeaderLookup, InvalidHeader, decoded, optional, required};
use super::names::{self, parked};

/// The header names of an envelope in one kind of record.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeFormat {
    cloud_id: &'static str,
    event_id: &'static str,
    event_type: &'static str,
    time: &'static str,
    origin_app: &'static str,
    entity: &'static str,
}

impl EnvelopeFormat {
    /// Events and dead letters of deliveries.
    ///
    /// **Source:** CloudEvents 1.0.2, required attributes; `cloudid` and `originapp` are extensions.
    pub const CLOUD_EVENTS: Self = Self {
        cloud_id: names::EVENT_SITE,
        event_id: names::EVENT_ID,
        event_type: names::EVENT_TYPE,
        time: names::EVENT_TIME,
        origin_app: names::EVENT_ORIGIN_APP,
        entity: names::EVENT_ENTITY,
    };
    /// Parked records.
    pub const PARKED: Self = Self {
        cloud_id: parked::SITE,
        event_id: parked::EVENT_ID,
        event_type: parked::EVENT_TYPE,
        time: parked::EVENT_TIME,
        origin_app: parked::ORIGIN_APP,
        entity: parked::ENTITY,
    };

    /// Returns the headers of an envelope; attributes without a value have none.
    #[must_use]
    pub fn write(&self, envelope: &Envelope) -> HeaderList {
        let mut headers = vec![
            (self.cloud_id, envelope.cloud_id.to_string()),
            (self.event_id, envelope.event_id.to_string()),
            (self.event_type, envelope.event_type.to_string()),
        ];
        let optional = [
            (self.time, envelope.time.map(|time| time.to_string())),
            (self.origin_app, envelope.origin_app.as_ref().map(ToString::to_string)),
            (self.entity, envelope.entity.as_deref().map(str::to_owned)),
            (names::TRACEPARENT, envelope.traceparent.as_ref().map(ToString::to_string)),
            (names::TRACE, envelope.trace.as_ref().map(ToString::to_string)),
            (names::WEBHOOK, envelope.webhook.as_ref().map(OriginalWebhook::header)),
            (names::WEBHOOK_TEXT, envelope.webhook.as_ref().and_then(OriginalWebhook::text_header)),
        ];
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        headers
    }

    /// Reads the event of a record back; a time that does not parse counts as missing.
    ///
    /// # Errors
    /// Site, event id or event type is missing, or a value does not decode.
    pub fn read(
        &self,
        headers: &impl HeaderLookup,
        stored: Bytes,
        sequence: u64,
    ) -> Result<Event, InvalidHeader> {
        let header = decoded(headers, names::WEBHOOK)?;
        let (body, webhook) = match header.as_deref() {
            None => (stored, None),
            Some(header) => match OriginalWebhook::split(header, &stored) {
                Some((body, webhook)) => (body, Some(OriginalWebhook::Whole(webhook))),
                None => {
                    let between = optional(headers, names::WEBHOOK_TEXT)?;
                    (stored, Some(OriginalWebhook::Delta { members: header.into(), between }))
                }
            },
        };
        let envelope = Envelope {
            cloud_id: CloudId::from(&*required(headers, self.cloud_id)?),
            event_id: EventId::from(&*required(headers, self.event_id)?),
            event_type: EventType::from(&*required(headers, self.event_type)?),
            time: decoded(headers, self.time)?.and_then(|time| time.parse().ok()),
            origin_app: decoded(headers, self.origin_app)?.map(|app| AppId::from(&*app)),
            entity: optional(headers, self.entity)?,
            traceparent: trace_context(headers, names::TRACEPARENT),
            trace: trace_context(headers, names::TRACE),
            webhook,
        };
        Ok(Event { envelope, body, sequence })
    }
}

/// Reads a trace context; one that is not valid counts as missing.
fn trace_context(headers: &impl HeaderLookup, name: &str) -> Option<TraceContext> {
    TraceContext::parse(headers.get(name)?)
}

/// Returns the headers of an event to publish.
#[must_use]
pub fn event_headers(envelope: &Envelope) -> HeaderList {
    let product = source_of_event_type(envelope.event_type.as_str()).name();
    let mut headers = EnvelopeFormat::CLOUD_EVENTS.write(envelope);
    headers.extend([
        (names::SPEC_VERSION, "1.0".to_owned()),
        (names::EVENT_SOURCE, format!("ari:cloud:{product}::site/{}", envelope.cloud_id)),
        (names::CONTENT_TYPE, "application/json".to_owned()),
    ]);
    headers
}

/// The headers of an event that its dead letter keeps, so that it can be published again.
const FORWARDED: [&str; 12] = [
    names::SPEC_VERSION,
    names::EVENT_ID,
    names::EVENT_SOURCE,
    names::EVENT_TYPE,
    names::EVENT_TIME,
    names::EVENT_ENTITY,
    names::EVENT_SITE,
    names::EVENT_ORIGIN_APP,
    names::CONTENT_TYPE,
    names::TRACEPARENT,
    names::WEBHOOK,
    names::WEBHOOK_TEXT,
];

/// Returns the headers of an event that could not be decoded, for its dead letter; values that do
/// not decode are left out.
#[must_use]
pub fn forwarded_headers(headers: &impl HeaderLookup) -> HeaderList {
    let value = |name| decoded(headers, name).ok().flatten();
    let forwarded = FORWARDED.iter().filter_map(|name| Some((*name, value(name)?.into_owned())));
    forwarded.collect()
}
