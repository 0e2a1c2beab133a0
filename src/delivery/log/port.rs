//! The interface to the stream of the delivery log.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::record::{self, LogResult};
use crate::domain::CloudId;

/// Site of the records that say what was removed of the log on purpose: no id of a site, and a token that
/// no site has.
pub const ERASED_SITE: &str = "~erased";

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

impl LogMessage {
    /// Returns a record without deliveries that says which records, by their message ids, are removed on
    /// purpose. It belongs to no site.
    #[must_use]
    pub fn of_erased(router: &str, message_ids: &[&str], now: Timestamp) -> Self {
        Self {
            site: ERASED_SITE.into(),
            result: LogResult::Ok,
            bucket: 0,
            body: record::of_erased(router, message_ids, now).into(),
        }
    }
}
