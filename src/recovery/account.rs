//! The account: what became of every delivery, as numbers that must close.
//!
//! ```text
//! matched + replayed = delivered + dead + dropped + removed + pending + gap
//! ```
//!
//! Each record of the delivery log adds facts to the delivery that it is about; facts are a set, so the
//! order of records and their repetition after a crash do not matter. What the records leave open, the
//! parking stream and the dead-letter stream decide. What none of them explains is the *gap*. A record
//! that the log lost is missed by its number: each process numbers its records.
//!
//! Cast: [`Fold`] takes records and counts ([`decide`] says what facts mean), [`RecordNumbers`] finds lost
//! records, [`Accountant`] reads the streams through [`AccountStreams`]; its result is an [`Account`]. [`AccountKeeper`] has it checked in the background, and sets the metric of the gap.
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
mod sequences;
mod sheet;

pub use checks::{Check, CheckKind, DueCheck, KeeperDocument};
pub use compute::{AccountError, AccountProgress, Accountant};
pub use facts::{Facts, Letter, RecordedOutcome, State, decide, for_subscription};
pub use fold::{Fold, Scope};
pub use keeper::{AccountKeeper, KeeperStore, KeeperStoreError};
pub use limits::{INSTANCES_MAX, NAMED_MAX, SUBSCRIPTIONS_MAX, TooLarge};
pub use numbers::{MissingRecords, RecordNumber, RecordNumbers};
pub use port::{
    AccountStreams, LogBatch, LogBounds, LogRecord, LogStart, ParkedIds, SeriesFloor, StreamsError,
};
pub use presence::{IdHash, Presence, Suspects};
pub use record::{AccountRecord, RecordedDelivery, RecordedEvent};
pub use sheet::{Account, Counts, GapDelivery, SubscriptionCounts};
