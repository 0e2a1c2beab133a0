//! The interface to the stream of the delivery log.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::record::LogResult;
use crate::domain::CloudId;

/// Stores records of deliveries; implemented in `bus`.
pub trait DeliveryLog: Send + Sync {
    /// Returns the name of this replica in records.
    fn router(&self) -> &str;

    /// Stores a record. Completes once the broker confirmed it, however long that takes: the same
    /// record is published again under the same id until then. Dropping the future stops waiting;
    /// the record may be stored nevertheless.
    fn store(&self, message: LogMessage) -> BoxFuture<'_, ()>;
}

/// A record, with the parts of its subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogMessage {
    /// Site of the event.
    pub site: CloudId,
    /// Whether its deliveries were delivered.
    pub result: LogResult,
    /// Bucket of the entity, see [`super::bucket`].
    pub bucket: u8,
    /// The record, JSON.
    pub body: Bytes,
}
