//! Explanations of stored events: which events are asked about, and the decisions on them.
//!
//! Items: [`find_events`] reads the event stream and returns where the events are that a question is
//! about; [`decide`] has the matcher decide on one of them and explain. Both work off the threads that
//! route events, and end at a [`Deadline`]. [`ExplainTurns`] bounds how many questions a router answers.
//!
//! Design: `docs/design/explain.md`.

mod decide;
mod search;
#[cfg(test)]
mod tests;
mod turns;

pub use decide::{DecisionQuery, OwnedSubscriber, decide};
pub use search::{Deadline, EventSearch, FoundEvent, SearchReport, find_events};
pub use turns::{ExplainTurn, ExplainTurns, TurnError};
