//! Recovery: what operators do with deliveries that failed, as jobs that survive restarts.
//!
//! Cast, lower files first:
//!
//! - `jobs/`: long work of operators, one document each: created, paused, resumed, cancelled, and
//!   executed by exactly one replica at a time.
//! - `account/`: what became of every delivery, as numbers that must close.
//! - `redrive/`: dead letters, and the jobs that deliver them again.
//! - `replay/`: stored events that are matched and delivered again.
//! - `explain/`: why stored events reached subscriptions, or not.
//! - `backtest/`: what a filter would have done on stored events.
//! - `shadow/`: what shadow filters would deliver, counted over the stored events.
//! - `doctor`: what is wrong with the broker or may go wrong, and what to do about it.
//! - `erase/`: removes what is stored of an account or a site.
//! - `retention`: deletes dead letters whose bodies may not be kept any longer.
//!
//! Guarantee: a job continues after a restart or `kill -9` of its replica where its document says;
//! what its last step did is done again at most. The stage does not depend on the broker: it uses
//! [`jobs::JobStore`], [`redrive::DeadLetters`], [`replay::ReplayStreams`], [`shadow::TallyStore`] and
//! [`erase::ErasableStreams`].
//!
//! Design: `docs/design/redrive.md`, `docs/design/replay.md`, `docs/design/erasure.md`, `docs/design/shadow.md`.

pub mod account;
pub mod backtest;
pub mod doctor;
pub mod erase;
pub mod explain;
pub mod jobs;
mod metrics;
pub mod redrive;
pub mod replay;
pub mod retention;
pub mod shadow;
