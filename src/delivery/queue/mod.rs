//! Queues of endpoints: when a delivery may be attempted, and when it is attempted again.
//!
//! [`Lanes`] admits attempts: concurrency and queue of each endpoint ([`Lane`]), its circuit
//! breaker ([`Breaker`]) and the schedule of its parked backlog. [`RetrySchedules`] plans the
//! attempts after a failed one. Breaker, backlog, latency window and schedules are pure: time and
//! randomness are arguments.

mod backlog;
mod breaker;
mod lane;
mod lanes;
mod latency;
mod permits;
mod random;
mod retry;

pub use backlog::Backlog;
pub use breaker::{Admission, Breaker, BreakerState};
pub(super) use lane::Lane;
pub(super) use lanes::Lanes;
pub(super) use permits::AdmissionError;
pub use random::Random;
pub use retry::RetrySchedule;
pub(super) use retry::RetrySchedules;
