//! Stored events in a list: what is read of each, and which are asked for.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;

use super::codec::{AddressAttributes, Attributes, HeaderLookup};
use super::members::Members;
use super::unreadable_event::UnreadableEvent;
use super::{Decoder, Event, identity};
use crate::domain::{AppId, CloudId, EventId, EventType};

/// Which stored events are listed: those that fit every part that is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventListQuery {
    /// Of a site.
    pub site: Option<CloudId>,
    /// About an entity.
    pub entity: Option<Box<str>>,
    /// With an id.
    pub event: Option<EventId>,
    /// Of a type.
    pub event_type: Option<EventType>,
    /// Stored at this time or later, milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Stored before this time, milliseconds since the epoch.
    pub until_ms: Option<i64>,
}

/// A stored event, without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedEvent {
    /// Its sequence.
    pub sequence: u64,
    /// When the broker stored it, milliseconds since the epoch.
    pub stored_ms: i64,
    /// Its id, unique inside the site.
    pub id: EventId,
    /// Its site.
    pub site: CloudId,
    /// Its type.
    pub event_type: EventType,
    /// Key of the entity that it is about.
    pub entity: Option<Box<str>>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// Size of its body.
    pub bytes: usize,
    /// The app that caused it.
    pub origin_app: Option<AppId>,
    /// The account that caused it.
    pub actor: Option<Box<str>>,
}

/// One message of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListedMessage {
    /// An event.
    Event(ListedEvent),
    /// A message that cannot be read as an event.
    Unreadable(UnreadableEvent),
}

impl ListedMessage {
    /// Returns its sequence.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Event(event) => event.sequence,
            Self::Unreadable(event) => event.sequence,
        }
    }
}

/// A page of stored events, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventListPage {
    /// The events.
    pub items: Vec<ListedMessage>,
    /// Sequence below which the next page begins; none if all were read.
    pub next: Option<u64>,
    /// Events that were read.
    pub scanned: u64,
    /// Messages that cannot be read, so that it is not known whether they fit.
    pub unreadable: u64,
    /// Up to which time of the past all events were examined, milliseconds since the epoch.
    pub examined_until_ms: Option<i64>,
    /// First sequence that the stream has, or will have if it is empty.
    pub first: u64,
    /// When that was stored, milliseconds since the epoch; none if the stream is empty.
    pub first_ms: Option<i64>,
    /// Last sequence of the stream.
    pub last: u64,
}

/// What a stored message is to a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listing {
    /// It fits.
    Fits(ListedMessage),
    /// It is another event.
    Other,
    /// It cannot be read, so that it is not known whether it fits.
    Unknown,
}

/// Selects events for a list.
#[derive(Debug)]
pub struct EventSelector<'q> {
    query: &'q EventListQuery,
    decoder: Decoder,
}

impl<'q> EventSelector<'q> {
    /// Selects the events that fit `query`, with bodies of at most `event_bytes_max` bytes.
    #[must_use]
    pub fn new(query: &'q EventListQuery, event_bytes_max: usize) -> Self {
        Self { query, decoder: Decoder::new(event_bytes_max, false) }
    }

    /// Says whether a message that was stored at a time, milliseconds since the epoch, fits.
    pub fn select(
        &mut self,
        (headers, address): (&impl HeaderLookup, AddressAttributes<'_>),
        body: Bytes,
        (sequence, stored_ms): (u64, i64),
    ) -> Listing {
        let mut site = address.cloud_id.map(CloudId::from);
        let mut id = None;
        // The attributes are enough, except of an event whose body has them.
        let decoded = Attributes::read(headers, address).and_then(|attributes| {
            site = attributes.cloud_id.as_deref().map(CloudId::from).or_else(|| site.clone());
            id = attributes.event_id.as_deref().map(EventId::from);
            self.decoder.decode_if_subscribed(attributes, body, sequence, |_| false)
        });
        match decoded {
            Ok(decoded) => self.of_event(decoded.into_event(), stored_ms),
            Err(error) => {
                let reason = error.to_string();
                self.of_unreadable(UnreadableEvent { sequence, stored_ms, site, id, reason })
            }
        }
    }

    fn of_event(&self, event: Event, stored_ms: i64) -> Listing {
        let envelope = &event.envelope;
        let is_other = self.query.site.as_ref().is_some_and(|site| *site != envelope.cloud_id)
            || self.query.event.as_ref().is_some_and(|one| *one != envelope.event_id)
            || self.query.event_type.as_ref().is_some_and(|one| *one != envelope.event_type);
        if is_other {
            return Listing::Other;
        }
        match self.query.entity.as_deref().map(|entity| is_about(&event, entity)) {
            Some(Some(false)) => Listing::Other,
            Some(None) => Listing::Unknown,
            Some(Some(true)) | None => {
                Listing::Fits(ListedMessage::Event(ListedEvent::of(event, stored_ms)))
            }
        }
    }

    fn of_unreadable(&self, event: UnreadableEvent) -> Listing {
        let EventListQuery { site, entity, event: id, event_type, .. } = self.query;
        let is_other = (site.is_some() && event.site.is_some() && *site != event.site)
            || (id.is_some() && *id != event.id);
        if is_other {
            Listing::Other
        } else if entity.is_some()
            || event_type.is_some()
            || (site.is_some() && event.site.is_none())
        {
            Listing::Unknown
        } else {
            Listing::Fits(ListedMessage::Unreadable(event))
        }
    }
}

impl ListedEvent {
    fn of(event: Event, stored_ms: i64) -> Self {
        let text = String::from_utf8_lossy(&event.body);
        let members = Members::parse(&text).ok();
        let members = members.as_ref();
        let entity = event.envelope.entity.clone();
        let entity = entity.or_else(|| members.and_then(identity::entity_key));
        let actor = members.and_then(|members| members.id("atlassianId"));
        let bytes = event.body.len();
        let envelope = event.envelope;
        Self {
            sequence: event.sequence,
            stored_ms,
            id: envelope.event_id,
            site: envelope.cloud_id,
            event_type: envelope.event_type,
            entity,
            time: envelope.time,
            bytes,
            origin_app: envelope.origin_app,
            actor: actor.map(String::into_boxed_str),
        }
    }
}

/// Whether an event is about an entity, by its attributes or else by its body; none if the body has its key
/// and cannot be read.
#[must_use]
pub fn is_about(event: &Event, entity: &str) -> Option<bool> {
    if let Some(named) = event.envelope.entity.as_deref() {
        return Some(named == entity);
    }
    // Reading a body takes much longer than finding that it does not have the key.
    let text = String::from_utf8_lossy(&event.body);
    if !text.contains(entity) {
        return Some(false);
    }
    let Cow::Borrowed(text) = text else { return None };
    let members = Members::parse(text).ok()?;
    Some(identity::entity_key(&members).as_deref() == Some(entity))
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

    const ISSUE: &str = r#"{"atlassianId":"acc-1","issue":{"id":"7","key":"A-1"}}"#;

    fn select(query: &EventListQuery, headers: &[(&'static str, &'static str)]) -> Listing {
        let address = AddressAttributes { cloud_id: Some("s"), event_type: Some("t") };
        let headers = Headers(headers.to_vec());
        let mut selector = EventSelector::new(query, 1_000);
        selector.select((&headers, address), Bytes::from(ISSUE), (7, 1_000))
    }

    #[test]
    fn event_is_listed_with_its_entity_and_actor_of_the_body() {
        let all = EventListQuery::default();
        let Listing::Fits(ListedMessage::Event(event)) = select(&all, &[("ce-id", "e")]) else {
            panic!("an event")
        };
        assert_eq!((event.sequence, event.stored_ms, event.bytes), (7, 1_000, ISSUE.len()));
        assert_eq!((event.id.as_str(), event.site.as_str()), ("e", "s"));
        assert_eq!((event.entity.as_deref(), event.actor.as_deref()), (Some("A-1"), Some("acc-1")));
        let named = [("ce-id", "e"), ("ce-subject", "B-2"), ("ce-originapp", "app")];
        let Listing::Fits(ListedMessage::Event(event)) = select(&all, &named) else {
            panic!("an event")
        };
        assert_eq!(event.entity.as_deref(), Some("B-2"), "of the header");
        assert_eq!(event.origin_app, Some("app".into()));
    }

    #[test]
    fn each_part_of_a_query_selects() {
        let site = |site: &str| EventListQuery { site: Some(site.into()), ..Default::default() };
        let of_type =
            |one: &str| EventListQuery { event_type: Some(one.into()), ..Default::default() };
        let entity = |one: &str| EventListQuery { entity: Some(one.into()), ..Default::default() };
        for (query, fits) in [
            (site("s"), true),
            (site("x"), false),
            (of_type("t"), true),
            (of_type("x"), false),
            (entity("A-1"), true),
            (entity("A-2"), false),
            (entity("acc-1"), false),
        ] {
            let found = select(&query, &[("ce-id", "e")]);
            assert_eq!(matches!(found, Listing::Fits(_)), fits, "{query:?}: {found:?}");
            assert!(fits || found == Listing::Other, "{query:?}: {found:?}");
        }
    }

    #[test]
    fn unreadable_message_is_listed_unless_only_its_content_could_say_that_it_fits() {
        let unreadable = [("ce-id", "e"), ("ce-subject", "%FF")];
        let all = select(&EventListQuery::default(), &unreadable);
        let Listing::Fits(ListedMessage::Unreadable(found)) = all else { panic!("{all:?}") };
        assert_eq!((found.sequence, found.site), (7, Some("s".into())));
        let of = |site: &str| EventListQuery { site: Some(site.into()), ..Default::default() };
        assert!(matches!(select(&of("s"), &unreadable), Listing::Fits(_)));
        assert_eq!(select(&of("x"), &unreadable), Listing::Other);
        let entity = EventListQuery { entity: Some("A-1".into()), ..Default::default() };
        assert_eq!(select(&entity, &unreadable), Listing::Unknown);
    }
}
