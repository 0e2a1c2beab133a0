//! Shadow filters: what they would deliver, compared with the filters in force over the stored events.
//!
//! [`ShadowFollower`] counts: for a request, or in the background on every replica. It reads the events of
//! a site after those that are counted, the matcher decides on both filters of a [`Comparison`], and the
//! [`Tally`] is replaced together with its position, by compare-and-set. So each event is counted once,
//! by whichever replica.
//!
//! Bounds: one shadow at a time, at most a third of the time of a thread, [`DIFFERENCES_KEPT`] events listed
//! of each kind.
//!
//! Design: `docs/design/shadow.md`.

mod compare;
mod follower;
mod port;
mod tally;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use compare::Comparison;
pub use follower::{CountError, Counted, ShadowFollower};
pub use port::{NoShadows, ShadowDirectory, TallyStore, TallyStoreError};
pub use tally::{DIFFERENCES_KEPT, Difference, Side, Tally};
