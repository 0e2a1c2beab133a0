//! The applied state of this replica: what the store says, compiled and indexed.
//!
//! ```text
//! store -> watch -> fair turns of sites -> StateWriter -> ReplicaState (read by commands and the API)
//!                                                      -> Matcher
//! ```
//!
//! One task receives the events of the store and lets a few workers apply them with the
//! [`StateWriter`]: those of one document in order, those of different sites side by side.
//! [`ReplicaHandle`] gives everybody else the state to read, [`ApplyProgress`](progress) to wait for
//! a change, and the caches that save work.

mod fair_queue;
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
