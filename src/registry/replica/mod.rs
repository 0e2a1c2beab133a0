//! The applied state of this replica: what the store says, compiled and indexed.
//!
//! ```text
//! store -> watch -> StateWriter -> ReplicaState (read by commands and the API)
//!                               -> Matcher
//! ```
//!
//! One task owns the [`StateWriter`] and applies watch events in the order of their revisions;
//! [`ReplicaHandle`] gives everybody else the state to read, [`ApplyProgress`](progress) to wait for a
//! revision, and the caches that save work. So there is one writer by construction.

mod handle;
mod installation_sets;
mod load;
mod own_write_cache;
mod parallel;
mod progress;
mod read_barrier;
mod state;
mod timer_queue;
mod unreadable;
mod watch;
mod writer;

pub(crate) use handle::{ReplicaHandle, Replicated};
#[cfg(test)]
pub(crate) use load::DocumentWrite;
pub(crate) use read_barrier::ReadBarrier;
pub(crate) use state::ReplicaState;
pub use unreadable::{UnreadableDocument, WaitingInstallation};
pub(crate) use watch::run;
pub(crate) use writer::StateWriter;
