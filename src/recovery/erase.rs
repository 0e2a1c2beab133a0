//! Erasure: removes what is stored of an account or a site, by jobs.
//!
//! A job goes over the stores in the order in which a delivery moves through them, and again over what
//! it waited for, until nothing is left. It says of every message that it found what became of it.
//!
//! Items: [`ErasableStreams`] is the port to the streams. [`EraseSubject`] says whose data to remove, `selection`
//! which messages that are, `needle` finds an account in bytes, `progress` counts and says what is read next,
//! [`EraseReport`] is what it counted, and [`EraseWork`] does it.
//!
//! Design: `docs/design/erasure.md`.

#[cfg(test)]
mod attribution_tests;
mod cut;
mod needle;
#[cfg(test)]
mod pass_tests;
mod progress;
mod report;
mod request;
mod selection;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod work;

pub use progress::report_of;
pub use report::{EraseReport, KeptReason, StoreReport};
pub use request::{BadSubject, EraseSubject, new_job};
pub use store::{
    ClearedRecord, ErasableStreams, ErasedStore, SequenceRange, StoreBounds, StoredBatch,
    StoredMessage,
};
pub use work::EraseWork;
