//! A stored message that cannot be read as an event.

use crate::domain::{CloudId, EventId};

/// A stored message that cannot be read as an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableEvent {
    /// Its sequence.
    pub sequence: u64,
    /// When the broker stored it, milliseconds since the epoch.
    pub stored_ms: i64,
    /// The site that its headers name, or else its address.
    pub site: Option<CloudId>,
    /// The event id that its headers name.
    pub id: Option<EventId>,
    /// Why it cannot be read.
    pub reason: String,
}
