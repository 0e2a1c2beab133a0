//! The port to the streams that an erasure goes over; implemented in `bus`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::delivery::StreamPosition;
use crate::event::codec::HeaderLookup;
use crate::recovery::redrive::ReadError;

/// A store, in the order in which a delivery moves through them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErasedStore {
    /// The event stream.
    Events,
    /// The parking stream.
    Parked,
    /// The dead-letter stream.
    DeadLetters,
    /// The delivery log.
    Log,
    /// The registry, which is only read.
    Registry,
    /// The revisions of modules, which are only read.
    Revisions,
}

impl ErasedStore {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Events, Self::Parked, Self::DeadLetters, Self::Log, Self::Registry, Self::Revisions];
}

/// What a store has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreBounds {
    /// Its last sequence; 0 if it never had a message.
    pub last: u64,
    /// Whether it forbids to delete messages.
    pub denies_delete: bool,
}

/// A range of sequences, ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceRange {
    /// The first one.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

/// One stored message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMessage {
    /// Where and when it was stored.
    pub position: StreamPosition,
    /// Its subject.
    pub subject: Box<str>,
    /// Its headers, values not decoded.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Its body.
    pub body: Bytes,
}

impl HeaderLookup for StoredMessage {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(at, _)| at.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }
}

/// Messages of a range, in the order of the stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredBatch {
    /// The messages.
    pub messages: Vec<StoredMessage>,
    /// Where the range continues; none if it has no more messages, as the leader of the stream says.
    pub next: Option<u64>,
}

/// What became of a parked record that was to be cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClearedRecord {
    /// It is replaced by a record without body, which the router accounts for.
    Replaced,
    /// It fired: its delivery is attempted, or will be at once.
    InFlight,
    /// There is none at this position any more.
    Absent,
}

/// Reads the streams, and removes from them.
pub trait ErasableStreams: Send + Sync {
    /// Returns what a store has; none if it does not exist.
    ///
    /// # Errors
    /// The broker does not answer.
    fn bounds(&self, store: ErasedStore) -> BoxFuture<'_, Result<Option<StoreBounds>, ReadError>>;

    /// Returns at most `max` messages of a range; where subjects name sites, only those whose subject has the
    /// token of `site`. A server may answer that lags behind the leader of the stream.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read<'a>(
        &'a self,
        store: ErasedStore,
        range: SequenceRange,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<StoredBatch, ReadError>>;

    /// Returns a message as the leader of the stream has it; none if there is none at this position.
    ///
    /// # Errors
    /// The broker does not answer.
    fn get(
        &self,
        store: ErasedStore,
        position: StreamPosition,
    ) -> BoxFuture<'_, Result<Option<StoredMessage>, ReadError>>;

    /// Returns the sequence up to which routers acknowledged every event, as it is stored; 0 if that is not
    /// known.
    ///
    /// # Errors
    /// The broker does not answer.
    fn acknowledged(&self) -> BoxFuture<'_, Result<u64, ReadError>>;

    /// Deletes a message that [`ErasableStreams::get`] returned, and overwrites it; returns whether it was still
    /// there.
    ///
    /// # Errors
    /// The broker does not answer; the message may be deleted nevertheless.
    fn remove<'a>(
        &'a self,
        store: ErasedStore,
        message: &'a StoredMessage,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Replaces a parked record that waits by one without body that is due now.
    ///
    /// # Errors
    /// The broker does not answer; the record may be replaced nevertheless.
    fn clear_parked<'a>(
        &'a self,
        record: &'a StoredMessage,
    ) -> BoxFuture<'a, Result<ClearedRecord, ReadError>>;

    /// Stores `body` as a record of the delivery log in place of `record`, under an id of `job` and its
    /// position, and removes `record`; returns whether it was still there.
    ///
    /// # Errors
    /// The broker does not answer; the copy may be stored nevertheless.
    fn replace_record<'a>(
        &'a self,
        record: &'a StoredMessage,
        body: Bytes,
        job: &'a str,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;
}
