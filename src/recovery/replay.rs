//! Replays: stored events matched again, and their deliveries handed over again, by jobs.
//!
//! A replay walks the event stream, matches each event of the site again for the subscriptions that it
//! is for, and decides by the delivery log which deliveries are handed over: those that failed, those
//! that are missing, or all. Each becomes a parked record that is due now. Everything after that is the
//! ordinary path.
//!
//! Items: [`ReplayStreams`] is the port to the streams, [`EventScan`] reads a long part of one. [`Walk`] reads events and what the log knows of
//! their deliveries ([`LogView`]); [`plan`] counts what a replay would do, [`ReplayWork`] does it, and
//! [`check_ledger`] finds deliveries that the log does not know.
//!
//! Design: `docs/design/replay.md`.

mod choose;
mod decide;
mod examine;
mod fates;
mod hand_over;
mod handed_over;
mod ledger;
mod letter_view;
mod log_view;
mod pace;
mod parts;
mod past;
mod plan;
mod request;
mod scan;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod walk;
mod work;

pub use decide::{BEFORE_LOG, Fate, ReplayMode, UNMATCHED};
pub use examine::EventReader;
pub(in crate::recovery) use examine::rest_after;
pub use handed_over::HandedOver;
pub use ledger::{Gap, LedgerQuery, LedgerReport, check_ledger};
pub use log_view::LogView;
pub use parts::ReplayParts;
pub use past::{NoPastSubscriptions, PastSubscriptions};
pub use plan::{ReplayPlan, check_as_of, plan};
pub use request::{
    BadWindow, Coverage, ReplayRequest, Window, WindowRequest, coverage, do_overlap,
};
pub use scan::EventScan;
pub use streams::{
    EventBatch, EventBounds, EventMessage, ForwardReader, LogBatch, LogBounds, ReplayStreams,
    StartAt,
};
pub use walk::Walk;
pub use work::ReplayWork;
