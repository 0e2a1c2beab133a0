//! Dead letters: listed, read, deleted, and redriven by jobs.
//!
//! A redrive parks the delivery of each letter, due now, with fresh attempts under the same delivery
//! id. The letter stays until that delivery is delivered, or is dead-lettered again as a new letter.
//! An event that could not be read is published to the event stream again.
//!
//! Items: [`DeadLetters`] is the port to the stream; [`StoredLetter`] is one letter, [`LetterQuery`]
//! selects some. [`newest_first`] lists them, [`plan`] counts what a redrive would do, and
//! [`RedriveWork`] does it.

mod letter;
mod list;
mod metrics;
mod plan;
mod query;
mod remove;
mod request;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod work;

pub use letter::{LetterId, LetterKind, StoredLetter};
pub use list::{LetterPage, newest_first};
pub use plan::{Plan, plan};
pub use query::{BadQuery, LetterQuery, LetterScope, time_of};
pub use remove::{RemoveError, remove};
pub use request::{IDS_MAX, RedriveRequest, Selection};
pub use store::{
    DeadLetters, LetterBatch, LetterRange, REPUBLISHED_PREFIX, ReadError, Republished, StreamBounds,
};
pub use work::RedriveWork;
