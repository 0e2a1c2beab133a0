//! The environment of an evaluation.

use crate::limits::STEPS_MAX;

/// The inputs of an evaluation other than the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Env {
    /// The value of `new Date()`, in milliseconds since 1970-01-01T00:00Z.
    pub now_ms: i64,
    /// The largest number of steps an evaluation may use.
    pub steps_max: u32,
}

impl Env {
    /// The documented limits, with `new Date()` set to `now_ms`.
    pub fn at(now_ms: i64) -> Env {
        Env { now_ms, steps_max: STEPS_MAX }
    }
}
