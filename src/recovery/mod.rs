//! Recovery: what operators do with deliveries that failed, as jobs that survive restarts.
//!
//! Cast, lower files first:
//!
//! - `jobs/`: long work of operators, one document each: created, paused, resumed, cancelled, and
//!   executed by exactly one replica at a time.
//! - `account/`: what became of every delivery, as numbers that must close.
//! - `redrive/`: dead letters, and the jobs that deliver them again.
//!
//! Guarantee: a job continues after a restart or `kill -9` of its replica where its document says;
//! what its last step did is done again at most. The stage does not depend on the broker: it uses
//! [`jobs::JobStore`] and [`redrive::DeadLetters`].
//!
//! Design: `docs/design/redrive.md`.

pub mod account;
pub mod jobs;
pub mod redrive;
