//! The port to the streams that the account is made of; implemented in `bus`.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;

use super::numbers::RecordNumber;

/// The broker does not answer; one sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct StreamsError(pub String);

/// What the delivery log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogBounds {
    /// Sequence of its first record, or of the next one if it is empty.
    pub first: u64,
    /// Sequence of the last record that was stored; 0 if none ever was.
    pub last: u64,
    /// When the first one was stored, milliseconds since the epoch; none if the log is empty.
    pub first_ms: Option<i64>,
}

/// Where a batch of records begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogStart {
    /// At a sequence.
    Sequence(u64),
    /// At a time, milliseconds since the epoch.
    Time(i64),
}

/// A stored record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Its sequence.
    pub sequence: u64,
    /// Its number; none if its message id is not one of ours.
    pub number: Option<RecordNumber>,
    /// The record, JSON.
    pub body: Bytes,
}

/// Records in the order of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogBatch {
    /// The records.
    pub records: Vec<LogRecord>,
    /// Whether more follow.
    pub has_more: bool,
}

/// What the parking stream holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ParkedIds {
    /// Ids of the deliveries.
    pub ids: Vec<Box<str>>,
    /// Deliveries that are due and whose ids were not read, because there are too many.
    pub unread: u64,
}

/// The number of a series below which all records are stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeriesFloor {
    /// Name of the series.
    pub series: Box<str>,
    /// The number.
    pub floor: u64,
}

/// Reads the streams.
pub trait AccountStreams: Send + Sync {
    /// Returns what the log holds.
    ///
    /// # Errors
    /// The broker does not answer.
    fn log_bounds(&self) -> BoxFuture<'_, Result<LogBounds, StreamsError>>;

    /// Returns at most `max` records of a site, or of all sites, from `start` on.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read_log<'a>(
        &'a self,
        start: LogStart,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<LogBatch, StreamsError>>;

    /// Returns the deliveries in the parking stream.
    ///
    /// # Errors
    /// The broker does not answer.
    fn parked(&self) -> BoxFuture<'_, Result<ParkedIds, StreamsError>>;

    /// Returns, for each series of record numbers, the number below which all records are stored.
    ///
    /// # Errors
    /// The broker does not answer.
    fn floors(&self) -> BoxFuture<'_, Result<Vec<SeriesFloor>, StreamsError>>;

    /// Returns how many events are stored and not acknowledged.
    ///
    /// # Errors
    /// The broker does not answer.
    fn in_flight(&self) -> BoxFuture<'_, Result<u64, StreamsError>>;
}
