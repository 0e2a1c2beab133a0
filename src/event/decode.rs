//! Bytes to [`Event`]: size, text, depth and shape are checked before anything is matched.

use bytes::Bytes;
use thiserror::Error;

use super::members::Members;
use super::{Envelope, Event, Headers, identity};
use crate::domain::{AppId, CloudId, EventId, EventType};

/// Why a message is no event. Each reason is one label value of the decode-error counter and one
/// dead-letter reason.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8 text (byte {offset})")]
    Utf8 {
        /// First bad byte.
        offset: usize,
    },
    /// The body is not JSON.
    #[error("the body is not JSON: {reason}")]
    Json {
        /// What the parser met, and where.
        reason: String,
    },
    /// The body is nested too deeply.
    #[error("the body is nested deeper than {max} levels")]
    Depth {
        /// The bound.
        max: usize,
    },
    /// The body is too large.
    #[error("the body has {size}, the limit is {max}")]
    Size {
        /// Its size, with unit.
        size: String,
        /// The bound.
        max: usize,
    },
    /// The body is JSON, but envelope and body do not make an event.
    #[error("{reason}")]
    Schema {
        /// What is missing or contradicts.
        reason: String,
    },
}

impl DecodeError {
    /// The reason as metric label: `utf8`, `json`, `depth`, `size` or `schema`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "utf8",
            Self::Json { .. } => "json",
            Self::Depth { .. } => "depth",
            Self::Size { .. } => "size",
            Self::Schema { .. } => "schema",
        }
    }

    /// The stable code, as operators and doors show it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "SY-1001",
            Self::Json { .. } => "SY-1002",
            Self::Depth { .. } => "SY-1003",
            Self::Size { .. } => "SY-1004",
            Self::Schema { .. } => "SY-1005",
        }
    }
}

/// Reads messages one after the other.
#[derive(Debug)]
pub struct Decoder {
    size_max: usize,
}

impl Decoder {
    /// A decoder for bodies of up to `size_max` bytes.
    #[must_use]
    pub fn new(size_max: usize, _trust_body_self: bool) -> Self {
        Self { size_max }
    }

    /// Decodes one message of the event stream.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(
        &mut self,
        _subject: &str,
        headers: &impl Headers,
        body: Bytes,
        sequence: u64,
    ) -> Result<Event, DecodeError> {
        if body.len() > self.size_max {
            let size = format!("{} bytes", body.len());
            return Err(DecodeError::Size { size, max: self.size_max });
        }
        let members = members_of(&body)?;
        let structured = headers.get("content-type").is_some_and(|t| t.contains("cloudevents"));
        let attribute = |name: &str| {
            if structured {
                members.string(name)
            } else {
                headers.get(&format!("ce-{name}")).map(Into::into)
            }
        };
        let schema = |reason: &str| DecodeError::Schema { reason: reason.into() };
        let body = match members.json("data").filter(|_| structured) {
            Some(data) => body.slice_ref(data.as_bytes()),
            None => body.clone(),
        };
        let said = members_of(&body)?.string("eventType");
        let event_type =
            attribute("type").or(said.clone()).ok_or_else(|| schema("no event type"))?;
        if said.is_some_and(|said| said != event_type) {
            return Err(schema("type_mismatch"));
        }
        let event_type = EventType::from(event_type);
        let cloud_id = CloudId::from(attribute("cloudid").ok_or_else(|| schema("no site"))?);
        let prefix = format!("{cloud_id}/");
        let message_id =
            headers.get("nats-msg-id").map(|id| id.strip_prefix(&prefix).unwrap_or(id));
        let event_id = attribute("id").or(message_id.map(Into::into)).map(EventId::from);
        let time = attribute("time").and_then(|time| time.parse().ok());
        let envelope = Envelope {
            event_id: event_id
                .unwrap_or_else(|| identity::event_id(&cloud_id, &event_type, time, &body)),
            cloud_id,
            event_type,
            time,
            origin_app: attribute("originapp").map(AppId::from),
            entity: attribute("subject").map(Into::into),
            traceparent: headers.get("traceparent").map(Into::into),
        };
        Ok(Event { envelope, body, sequence })
    }
}

fn members_of(body: &Bytes) -> Result<Members<'_>, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| DecodeError::Utf8 { offset: error.valid_up_to() })?;
    Members::parse(text).map_err(|error| DecodeError::Json { reason: error.to_string() })
}
