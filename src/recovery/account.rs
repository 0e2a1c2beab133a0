//! The account: what became of every delivery, as numbers that must close.
//!
//! ```text
//! matched + replayed = delivered + dead + dropped + removed + pending + gap
//! ```
//!
//! Each record of the delivery log adds facts to the delivery that it is about; facts are a set, so the
//! order of records and their repetition after a crash do not matter. What the records leave open, the
//! parking stream and the dead-letter stream decide. What none of them explains is the *gap*. A record
//! that the log lost is found missing by its number: each process numbers its records.
//!
//! - `Fold` takes records and counts; `facts` says what they mean.
//! - `RecordNumbers` finds lost records.
//! - [`Accountant`] reads the streams through [`AccountStreams`]; its result is an [`Account`].
//! - [`AccountKeeper`] checks the account in the background, and sets the metric of the gap.
//!
//! Design: `docs/design/account.md`.

mod checks;
mod compute;
mod facts;
mod fold;
mod keeper;
mod limits;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;
mod numbers;
mod port;
mod presence;
mod record;
mod reported;
mod sequences;
mod sheet;
#[cfg(test)]
mod testing;

pub use checks::KeeperDocument;
pub use compute::{AccountError, AccountProgress, Accountant};
pub use fold::Scope;
pub use keeper::{AccountKeeper, KeeperStore, KeeperStoreError};
pub use limits::SERIES_MAX;
pub use numbers::{MissingRecords, RecordNumber};
pub use port::{
    AccountStreams, IdSink, LetterOnLeader, LogBounds, LogRecord, RecordBatch, SeriesFloor,
    StreamsError,
};
pub use sheet::{Account, DeliveryCounts, GapDelivery, SubscriptionCounts};
