//! Backtests: what a filter would have done on the events that are stored.
//!
//! Items: [`backtest`] reads the event stream in batches and has a thread of low priority decide on each
//! event with the functions of matching, for the filter that is tried and the one that is there now.
//! [`BacktestReport`] is what it counted, and which events are samples. [`BacktestTurns`] bounds how many
//! run at once.
//!
//! Design: `docs/design/backtest.md`.

mod counts;
mod progress;
mod query;
mod run;
#[cfg(test)]
mod tests;
mod turns;
mod worker;

pub use counts::{BacktestCounts, SampledEvents, StepCounts};
pub use progress::{BacktestProgress, BacktestStatus};
pub use query::{BacktestQuery, TestedFilter};
pub use run::{BacktestReport, backtest};
pub use turns::{BacktestTurn, BacktestTurns};
