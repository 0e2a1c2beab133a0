//! The interface between the router and the store of recorded crashes.
//!
//! Before a process examines (decodes and matches) redelivered events, it marks them in the store;
//! afterwards it clears the mark. A mark that outlives its process records a crash of each of its
//! events.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Identifies a stored event. The time distinguishes it from the event of another stream with the
/// same number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct EventPosition {
    /// Its sequence number in the stream.
    pub sequence: u64,
    /// When the broker stored it, in milliseconds since the epoch.
    #[serde(rename = "storedMs")]
    pub stored_ms: i64,
}

/// The crashes of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CrashRecord {
    /// The event.
    #[serde(flatten)]
    pub event: EventPosition,
    /// How many crashes are recorded if the process ends now.
    pub crashes: u32,
}

/// The store does not answer, or refuses.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CrashRecordError(pub String);

/// Stores recorded crashes; implemented by `bus`.
pub trait CrashRecords: Send + Sync {
    /// Returns the records that other processes left and those of caught panics of `events`; records
    /// of other events may be among them.
    ///
    /// # Errors
    /// The store does not answer.
    fn read<'a>(
        &'a self,
        events: &'a [EventPosition],
    ) -> BoxFuture<'a, Result<Vec<CrashRecord>, CrashRecordError>>;

    /// Marks the events that a worker of this process is about to examine, in place of those it
    /// marked before.
    ///
    /// # Errors
    /// The store does not answer.
    fn mark<'a>(
        &'a self,
        worker: usize,
        records: &'a [CrashRecord],
    ) -> BoxFuture<'a, Result<(), CrashRecordError>>;

    /// Clears the mark of a worker.
    ///
    /// # Errors
    /// The store does not answer.
    fn clear(&self, worker: usize) -> BoxFuture<'_, Result<(), CrashRecordError>>;

    /// Records a caught panic.
    ///
    /// # Errors
    /// The store does not answer.
    fn record(&self, record: CrashRecord) -> BoxFuture<'_, Result<(), CrashRecordError>>;
}
