//! Model of a delivery: the event, its progress, the outcome of an attempt. No I/O, no clock.

mod body;
mod delivery;
mod headers;
mod outcome;

pub use body::{BodyTemplate, DeliveryContext, NotAnObject, RetryContext};
pub use delivery::{Delivery, PreparedEvent, Progress};
pub use headers::HeaderList;
pub use outcome::{AttemptClass, AttemptOutcome, DeadLetterReason, NextStep, RequestedDelay};
