//! Queues of endpoints: when a delivery may be attempted, and when it is attempted again.
//!
//! [`Lanes`] admits attempts: by the shares of their owners (`fair`), by the circuit breakers of the
//! endpoint and its host (`breakers`), and plans the parked backlog of each endpoint.
//! [`RetrySchedules`] plans the attempts after a failed one. Fair queue, breakers, backlog, latency
//! window, lane and schedules are pure: time and randomness are arguments.

mod backlog;
mod breaker;
mod breakers;
mod fair;
mod lane;
mod lanes;
mod latency;
mod permits;
mod random;
mod retry;

pub use breaker::{Admission, Breaker, BreakerChange, BreakerState, Tripped};
pub use breakers::{AppHostBreaker, BreakerReport, BreakerScope, EndpointBreakers, host_breaker};
pub use fair::{
    EndpointId, EndpointOwners, EventShareId, FairLimits, FairQueue, Patience, PermitUse,
    RequestId, Response, WaitingLimit,
};
pub use lane::{Lane, LaneFailure, LaneStatus};
pub use lanes::OpenEndpoint;
pub(super) use lanes::{Lanes, shown_endpoint};
pub(super) use permits::AdmissionError;
pub use permits::EventShare;
pub use random::Random;
pub(super) use retry::RetrySchedules;
pub use retry::{RetryDelay, RetrySchedule};
