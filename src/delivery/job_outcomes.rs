//! The port that records what became of deliveries that jobs handed over.

use futures_util::future::BoxFuture;

use super::model::{JobOrigin, JobOutcome};

/// Records outcomes; implemented in `bus`.
pub trait JobOutcomes: Send + Sync {
    /// Deletes the dead letters that the delivery redrove, unless it was dropped, and counts its
    /// outcome for its job. Completes once the broker confirmed the deletion, however long that takes:
    /// only then may the parked record be acknowledged.
    fn record<'a>(&'a self, origin: &'a JobOrigin, outcome: JobOutcome) -> BoxFuture<'a, ()>;
}
