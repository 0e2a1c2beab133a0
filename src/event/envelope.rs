//! The outer fields of an event: id, type, site, time; read before the payload.

use jiff::Timestamp;

use crate::domain::{AppId, CloudId, EventId, EventType};

/// Message headers as the envelope reads them; names are compared without regard to case.
///
/// **Source:** CloudEvents NATS protocol binding, binary mode.
pub trait Headers {
    /// The first value of the header `name` (given in lower case).
    fn get(&self, name: &str) -> Option<&str>;
}

/// The outer fields of an event.
#[derive(Clone, PartialEq, Debug)]
pub struct Envelope {
    /// The site the event is about.
    pub cloud_id: CloudId,
    /// Unique inside the site; see [`Envelope::identity`].
    pub event_id: EventId,
    /// What happened, such as `avi:jira:updated:issue`.
    pub event_type: EventType,
    /// When it happened (`ce-time`).
    pub time: Option<Timestamp>,
    /// The app that made the change (`ce-originapp`), so that `ignoreSelf` can be decided per app.
    pub origin_app: Option<AppId>,
    /// Key of the entity the event is about (`ce-subject`).
    pub entity: Option<Box<str>>,
    /// W3C trace context of the publisher, handed on to handlers.
    pub traceparent: Option<Box<str>>,
}

impl Envelope {
    /// `<cloudId>/<ce-id>`: what makes two messages the same event, and the `Nats-Msg-Id` that
    /// publishers send.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{}/{}", self.cloud_id, self.event_id)
    }
}
