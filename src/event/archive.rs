//! The interface to stored events, for questions about one event.

use futures_util::future::BoxFuture;

use super::Event;
use crate::domain::{CloudId, EventId};

/// Reads single events of the event stream; implemented by `bus`.
pub trait EventArchive: Send + Sync {
    /// Returns the event with a sequence; none if it is not stored any more, or is no event.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    fn by_sequence(&self, sequence: u64) -> BoxFuture<'_, Result<Option<StoredEvent>, String>>;

    /// Returns the sequence of an event, if its id is remembered.
    fn sequence_of(&self, site: &CloudId, id: &EventId) -> Option<u64>;
}

/// An event as it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// When the broker stored it, milliseconds since the epoch.
    pub stored_ms: i64,
}

/// An archive without events.
#[derive(Clone, Copy, Debug)]
pub struct NoEventArchive;

impl EventArchive for NoEventArchive {
    fn by_sequence(&self, _sequence: u64) -> BoxFuture<'_, Result<Option<StoredEvent>, String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn sequence_of(&self, _site: &CloudId, _id: &EventId) -> Option<u64> {
        None
    }
}
