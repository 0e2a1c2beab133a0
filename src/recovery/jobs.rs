//! Jobs: long work of operators that survives restarts.
//!
//! The state of a job is one document in a [`JobStore`]. Every change is compare-and-set, so an
//! operator who pauses a job and the replica that executes it never overwrite each other. A replica
//! executes a job while it holds the *lease* in the document; it renews the lease with each step,
//! and another replica takes the job over once the lease has expired.
//!
//! [`Jobs`] creates and changes jobs. [`JobRunner`] executes them in steps of a [`JobWork`]: one
//! implementation for each [`JobKind`].

mod control;
mod document;
mod pacer;
mod progress;
mod runner;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use control::{DoOverlap, JobStatus, Jobs, JobsError, NewJob};
pub use document::{BadRate, Job, JobCounts, JobId, JobKind, JobRate, JobState, Lease};
pub use pacer::Pacer;
pub use runner::{JobFailure, JobRunner, JobStep, JobWork, part};
pub use store::{JobStore, JobStoreError, StoredJob};
