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
    /// How many records it has.
    pub records: u64,
    /// When the first and the last one were stored, milliseconds since the epoch; none if none ever was.
    /// If all were deleted, the first one is one that is stored now.
    pub times_ms: Option<(i64, i64)>,
    /// Until when a router whose log is off stored no records, milliseconds since the epoch; none if that never
    /// happened.
    pub off_until_ms: Option<i64>,
}

impl LogBounds {
    /// Returns how many records were deleted.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.last.saturating_sub(self.records)
    }

    /// Returns how many records were deleted after its first one.
    #[must_use]
    pub fn holes(&self) -> u64 {
        self.deleted().saturating_sub(self.first.saturating_sub(1))
    }
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
pub struct RecordBatch {
    /// The records.
    pub records: Vec<LogRecord>,
    /// Whether more follow. If not, the leader of the log has no more.
    pub has_more: bool,
}

/// A dead letter, as the leader of its stream has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LetterOnLeader {
    /// Its sequence.
    pub sequence: u64,
    /// When it was stored, milliseconds since the epoch.
    pub stored_ms: i64,
    /// Id of its delivery; none if it is one of an event.
    pub delivery: Option<Box<str>>,
}

/// Takes the id of a delivery; returns whether it takes more.
pub type IdSink<'a> = dyn FnMut(&str) -> bool + Send + 'a;

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

    /// Returns the sequence of the first record that was stored at a time, milliseconds since the epoch, or
    /// later; none if the server that answers has none, which need not be the leader.
    ///
    /// # Errors
    /// The broker does not answer.
    fn record_at(&self, time_ms: i64) -> BoxFuture<'_, Result<Option<u64>, StreamsError>>;

    /// Returns at most `max` records of a site, or of all sites, from a sequence on; one more at the end of
    /// what the server that answers has.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read_log<'a>(
        &'a self,
        from: u64,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<RecordBatch, StreamsError>>;

    /// Returns the first dead letter from a sequence on.
    ///
    /// # Errors
    /// The broker does not answer.
    fn letter_from(
        &self,
        sequence: u64,
    ) -> BoxFuture<'_, Result<Option<LetterOnLeader>, StreamsError>>;

    /// Calls `each` with the ids of the deliveries in the parking stream, until it takes no more. Returns
    /// how many due deliveries were left out, because there are too many to read their ids.
    ///
    /// # Errors
    /// The broker does not answer.
    fn parked<'a>(&'a self, each: &'a mut IdSink<'_>) -> BoxFuture<'a, Result<u64, StreamsError>>;

    /// Returns, for each series of record numbers, the number below which all records are stored; those of
    /// 65,536 series at most.
    ///
    /// # Errors
    /// The broker does not answer, or there are more.
    fn floors(&self) -> BoxFuture<'_, Result<Vec<SeriesFloor>, StreamsError>>;

    /// Returns how many events are stored and not acknowledged.
    ///
    /// # Errors
    /// The broker does not answer.
    fn in_flight(&self) -> BoxFuture<'_, Result<u64, StreamsError>>;
}
