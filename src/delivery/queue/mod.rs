//! Queues of endpoints: lanes, circuit breakers, retry schedules.

pub(crate) mod breaker;
pub(crate) mod lane;
pub(crate) mod retry;
