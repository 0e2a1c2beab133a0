//! The port to the streams that a replay reads; implemented in `bus`.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::domain::{CloudId, DeliveryId};
use crate::event::codec::AddressAttributes;
use crate::event::{Attributes, DecodeError, HeaderLookup};
use crate::recovery::redrive::ReadError;

/// Schedules that are looked up at once. The answer has their bodies.
const LOOKED_UP_MAX: usize = 64;

/// Where a read begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartAt {
    /// At a sequence.
    Sequence(u64),
    /// At a time, milliseconds since the epoch.
    Time(i64),
}

/// What the event stream has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventBounds {
    /// When the stream was created, milliseconds since the epoch: another one has other sequences.
    pub created_ms: i64,
    /// Sequence of its first event, or of the next one if it is empty.
    pub first: u64,
    /// When that was stored, milliseconds since the epoch; none if it is empty.
    pub first_ms: Option<i64>,
    /// Sequence of the last event that was stored; 0 if none ever was.
    pub last: u64,
    /// Up to this sequence, all events are acknowledged: what became of their deliveries is recorded.
    pub settled: u64,
}

/// A message of the event stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventMessage {
    /// Its sequence.
    pub sequence: u64,
    /// When it was stored, milliseconds since the epoch.
    pub stored_ms: i64,
    /// The site that its subject names.
    pub site: Option<Box<str>>,
    /// The event type that its subject names.
    pub event_type: Option<Box<str>>,
    /// Its headers, values not decoded.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Its body.
    pub body: Bytes,
}

impl HeaderLookup for EventMessage {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(at, _)| at.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }
}

impl EventMessage {
    /// Reads the attributes of the event, as the router does.
    ///
    /// # Errors
    /// A header does not decode to UTF-8 text.
    pub fn attributes(&self) -> Result<Attributes<'_>, DecodeError> {
        let address = AddressAttributes {
            cloud_id: self.site.as_deref(),
            event_type: self.event_type.as_deref(),
        };
        Attributes::read(self, address)
    }
}

/// Events in the order of the stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EventBatch {
    /// The events.
    pub events: Vec<EventMessage>,
    /// Events that were asked for and follow the first one, whatever the size of the batch.
    pub after_first: u64,
    /// Whether events that were asked for follow the last one.
    pub has_more: bool,
}

/// What the delivery log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBounds {
    /// Sequence of its first record, or of the next one if it is empty.
    pub first: u64,
    /// Sequence of the last record that was stored; 0 if none ever was.
    pub last: u64,
    /// No record of an event that was stored from then on was deleted, milliseconds since the epoch.
    pub kept_from_ms: i64,
    /// Until then a replica stored no records; none if that never happened.
    pub off_until_ms: Option<i64>,
}

impl LogBounds {
    /// Returns since when the log knows everything, milliseconds since the epoch. Of deliveries of earlier
    /// events it may know nothing although they were made.
    #[must_use]
    pub fn complete_from_ms(&self) -> i64 {
        self.off_until_ms.map_or(self.kept_from_ms, |off_ms| off_ms.max(self.kept_from_ms))
    }
}

/// Records of the delivery log, in the order of the stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogBatch {
    /// The records as they are stored.
    pub records: Vec<Bytes>,
    /// Sequence of the last one; none if there is none.
    pub last: Option<u64>,
    /// Whether records of the site follow the last one.
    pub has_more: bool,
}

/// Reads events in the order of the stream.
pub trait ForwardReader: Send + Sync {
    /// Returns the next events, at most `max`.
    ///
    /// # Errors
    /// The broker does not answer, or messages were lost on the way. What to read next is not known then: begin again.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<EventBatch, ReadError>>;
}

/// Reads events, the delivery log and the schedules of parked deliveries.
pub trait ReplayStreams: Send + Sync {
    /// Returns what the event stream has.
    ///
    /// # Errors
    /// The broker does not answer.
    fn event_bounds(&self) -> BoxFuture<'_, Result<EventBounds, ReadError>>;

    /// Returns at most `max` events of a site.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read_events<'a>(
        &'a self,
        site: &'a CloudId,
        from: StartAt,
        max: usize,
    ) -> BoxFuture<'a, Result<EventBatch, ReadError>>;

    /// Returns at most `max` events of all sites.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read_events_of_all(
        &self,
        from: StartAt,
        max: usize,
    ) -> BoxFuture<'_, Result<EventBatch, ReadError>>;

    /// Begins to read the events of a site, or of all sites, forward from a sequence on: for a long way quicker than
    /// single reads.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read_forward<'a>(
        &'a self,
        site: Option<&'a CloudId>,
        from: u64,
    ) -> BoxFuture<'a, Result<Box<dyn ForwardReader>, ReadError>>;

    /// Returns what the delivery log has; none if it is off.
    ///
    /// # Errors
    /// The broker does not answer.
    fn log_bounds(&self) -> BoxFuture<'_, Result<Option<LogBounds>, ReadError>>;

    /// Returns some records of the deliveries of a site.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read_log<'a>(
        &'a self,
        site: &'a CloudId,
        from: StartAt,
    ) -> BoxFuture<'a, Result<LogBatch, ReadError>>;

    /// Returns for each delivery whether it is parked, and then which job handed it over; the empty text
    /// if no job did.
    ///
    /// # Errors
    /// The broker does not answer.
    fn parked<'a>(
        &'a self,
        ids: &'a [DeliveryId],
    ) -> BoxFuture<'a, Result<Vec<Option<String>>, ReadError>>;
}

/// As [`ReplayStreams::parked`], for any number of deliveries.
///
/// # Errors
/// The broker does not answer.
pub(super) async fn parked(
    streams: &dyn ReplayStreams,
    ids: &[DeliveryId],
) -> Result<Vec<Option<String>>, ReadError> {
    let mut parked = Vec::with_capacity(ids.len());
    for ids in ids.chunks(LOOKED_UP_MAX) {
        parked.extend(streams.parked(ids).await?);
    }
    Ok(parked)
}
