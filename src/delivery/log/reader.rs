//! The interface to read the delivery log.

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::query::{LogPage, LogPosition, LogQuery, LoggedDelivery};
use crate::domain::{CloudId, EventId};

/// Reads the delivery log; implemented in `bus`. Each call ends within seconds, with what was found by
/// then.
pub trait DeliveryLogReader: Send + Sync {
    /// Lists deliveries, newest first: at most `limit`, after the position `after`.
    ///
    /// # Errors
    /// The log is off, or the broker does not answer.
    fn list<'a>(
        &'a self,
        query: &'a LogQuery,
        after: Option<LogPosition>,
        limit: usize,
    ) -> BoxFuture<'a, Result<LogPage, LogReadError>>;

    /// Lists all deliveries of an event, oldest first.
    ///
    /// # Errors
    /// The log is off, or the broker does not answer.
    fn history<'a>(
        &'a self,
        event: &'a EventKey,
    ) -> BoxFuture<'a, Result<EventHistory, LogReadError>>;
}

/// The log of a router that has none.
#[derive(Clone, Copy, Debug)]
pub struct NoDeliveryLog;

impl DeliveryLogReader for NoDeliveryLog {
    fn list<'a>(
        &'a self,
        _query: &'a LogQuery,
        _after: Option<LogPosition>,
        _limit: usize,
    ) -> BoxFuture<'a, Result<LogPage, LogReadError>> {
        Box::pin(std::future::ready(Err(LogReadError::Off)))
    }

    fn history<'a>(
        &'a self,
        _event: &'a EventKey,
    ) -> BoxFuture<'a, Result<EventHistory, LogReadError>> {
        Box::pin(std::future::ready(Err(LogReadError::Off)))
    }
}

/// An event whose deliveries are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventKey {
    /// Its site.
    pub site: CloudId,
    /// Its id.
    pub id: EventId,
    /// Key of its entity.
    pub entity: Option<Box<str>>,
    /// When the broker stored it, milliseconds since the epoch; none if that is not known.
    pub stored_ms: Option<i64>,
}

/// All deliveries of an event that were found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct EventHistory {
    /// The deliveries of its records, oldest first.
    pub items: Vec<LoggedDelivery>,
    /// Whether all records were read, and not only those until the time was used up.
    pub is_complete: bool,
    /// Records that were read.
    pub scanned: u64,
}

/// Why the log cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LogReadError {
    /// It is off.
    #[error("the delivery log is off (`delivery.log`)")]
    Off,
    /// The broker does not answer; one sentence.
    #[error("{0}")]
    Unavailable(String),
}
