//! The interface to stored events: one event, and lists of events.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::codec::{AddressAttributes, Attributes, HeaderLookup};
use super::listing::{EventListPage, EventListQuery};
use super::unreadable_event::UnreadableEvent;
use super::{Decoder, Event};
use crate::domain::{CloudId, EventId};

/// Reads events of the event stream; implemented by `bus`.
pub trait EventArchive: Send + Sync {
    /// Returns the message with a sequence; none if it is not stored any more.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    fn by_sequence(&self, sequence: u64) -> BoxFuture<'_, Result<Option<ArchivedEvent>, String>>;

    /// Returns the sequence of an event, if its id is remembered.
    fn sequence_of(&self, site: &CloudId, id: &EventId) -> Option<u64>;

    /// Lists events, newest first: at most `limit`, below the sequence `below`. Ends within seconds, with what was found
    /// by then.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    fn list<'a>(
        &'a self,
        query: &'a EventListQuery,
        below: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<EventListPage, String>>;
}

/// A message of the event stream.
#[derive(Clone, PartialEq, Debug)]
pub enum ArchivedEvent {
    /// It is an event.
    Readable(StoredEvent),
    /// It cannot be read as an event.
    Unreadable(UnreadableEvent),
}

/// An event as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// When the broker stored it, milliseconds since the epoch.
    pub stored_ms: i64,
}

impl ArchivedEvent {
    /// Reads a message that was stored at a time, milliseconds since the epoch, with a body of at most
    /// `event_bytes_max` bytes.
    pub fn read(
        (headers, address): (&impl HeaderLookup, AddressAttributes<'_>),
        body: Bytes,
        (sequence, stored_ms): (u64, i64),
        event_bytes_max: usize,
    ) -> Self {
        let (mut site, mut id) = (address.cloud_id.map(CloudId::from), None);
        let decoded = Attributes::read(headers, address).and_then(|attributes| {
            site = attributes.cloud_id.as_deref().map(CloudId::from);
            id = attributes.event_id.as_deref().map(EventId::from);
            Decoder::new(event_bytes_max, false).decode(attributes, body, sequence)
        });
        match decoded {
            Ok(event) => Self::Readable(StoredEvent { event, stored_ms }),
            Err(error) => {
                let reason = error.to_string();
                Self::Unreadable(UnreadableEvent { sequence, stored_ms, site, id, reason })
            }
        }
    }

    /// Returns the event; none if it cannot be read.
    #[must_use]
    pub fn readable(self) -> Option<StoredEvent> {
        match self {
            Self::Readable(stored) => Some(stored),
            Self::Unreadable(_) => None,
        }
    }
}

/// An archive without events.
#[derive(Clone, Copy, Debug)]
pub struct NoEventArchive;

impl EventArchive for NoEventArchive {
    fn by_sequence(&self, _sequence: u64) -> BoxFuture<'_, Result<Option<ArchivedEvent>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn sequence_of(&self, _site: &CloudId, _id: &EventId) -> Option<u64> {
        None
    }

    fn list<'a>(
        &'a self,
        _query: &'a EventListQuery,
        _below: Option<u64>,
        _limit: usize,
    ) -> BoxFuture<'a, Result<EventListPage, String>> {
        let empty = EventListPage { first: 1, ..EventListPage::default() };
        Box::pin(std::future::ready(Ok(empty)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Headers(Vec<(&'static str, &'static str)>);

    impl HeaderLookup for Headers {
        fn get(&self, name: &str) -> Option<&str> {
            let found = self.0.iter().find(|(at, _)| at.eq_ignore_ascii_case(name));
            found.map(|(_, value)| *value)
        }
    }

    fn read(headers: &[(&'static str, &'static str)], body: &'static str) -> ArchivedEvent {
        let address = AddressAttributes { cloud_id: Some("s"), event_type: Some("t") };
        let headers = Headers(headers.to_vec());
        ArchivedEvent::read((&headers, address), Bytes::from(body), (7, 1_000), 100)
    }

    #[test]
    fn message_that_is_no_event_keeps_what_names_it_and_the_reason() {
        let stored = read(&[("ce-id", "e")], "{}").readable().expect("an event");
        assert_eq!((stored.event.sequence, stored.stored_ms), (7, 1_000));
        let unreadable = |headers, body| match read(headers, body) {
            ArchivedEvent::Unreadable(found) => found,
            ArchivedEvent::Readable(found) => panic!("{found:?}"),
        };
        let found = unreadable(&[("ce-id", "e")], "not JSON");
        assert_eq!((found.sequence, found.stored_ms), (7, 1_000));
        assert_eq!((found.site, found.id), (Some("s".into()), Some("e".into())));
        assert!(found.reason.starts_with("the body is not JSON"), "{}", found.reason);
        let found = unreadable(&[("ce-id", "e"), ("ce-subject", "%FF")], "{}");
        assert_eq!((found.site, found.id), (Some("s".into()), None), "of the address");
        assert!(!found.reason.is_empty());
    }
}
