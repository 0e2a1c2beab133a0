//! Model of a delivery: event, progress, outcome. Plain data and pure functions; no I/O, no clock.

mod attempt;
mod body;
mod delivery;
mod evidence;
mod excerpt;
mod included_properties;
mod job_origin;
mod outcome;
mod retry_request;

pub use attempt::{AttemptClass, AttemptOutcome, NextStep, Transport};
pub use body::{BodyTemplate, DeliveryContext, NotAnObject, RetryContext};
pub use delivery::{Delivery, PreparedEvent, Progress};
pub use evidence::{AttemptEvidence, Phases};
pub use excerpt::ResponseExcerpt;
pub use job_origin::{JobOrigin, JobOutcome, NoPosition, StreamPosition};
pub use outcome::{DeadLetterReason, DeliveryOutcome, DropPolicy, ParkReason, Removal};
pub use retry_request::RequestedDelay;
