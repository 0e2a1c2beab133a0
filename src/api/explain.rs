//! Explanations of stored events: for each subscription what was decided, by which stage and why, and what
//! became of the delivery. Operators ask about everything, an app about its own subscriptions.
//!
//! `request` reads what is asked and by whom, `answer` takes a turn and puts the answer together, `find`
//! finds the events, `subscriptions` what subscriptions were at their time, `decisions` decides and
//! renders, `hints` and `refusals` say what may help if nothing was found.
//!
//! Design: `docs/design/explain.md`.

mod answer;
mod decisions;
mod deliveries;
mod find;
mod hints;
mod refusals;
mod request;
mod subscriptions;
#[cfg(test)]
mod tests;

pub(super) use answer::{answer, progress_view};
pub(super) use request::{Asked, Question};
