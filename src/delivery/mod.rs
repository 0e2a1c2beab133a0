//! Turns matches into deliveries and accounts for each of them.
//!
//! ```text
//! Match -> plan -> lane -> attempt -> delivered
//!                   |         |- retryable  -> parked (schedule)
//!                   |         `- permanent  -> dead letter
//!                   `- full or late         -> parked (backlog)
//! ```
//!
//! Guarantee: [`Dispatcher::deliver`] returns only when the delivery is accounted for: delivered,
//! parked, dead-lettered or dropped by a counted policy. Bounds: concurrent attempts and waiting
//! deliveries per endpoint, concurrent attempts in total. The stage does not depend on the broker
//! (it uses [`ParkingLot`], [`DeadLetterBox`] and [`FunctionCaller`]) nor on how subscriptions are
//! stored ([`SubscriptionDirectory`]).

pub mod attempt;
pub mod body;
pub mod breaker;
pub mod dead_letter;
pub mod dispatch;
pub mod failed;
mod forge;
pub mod guard;
pub mod http;
pub mod lane;
pub mod metrics;
pub mod outcome;
pub mod parking;
pub mod plan;
pub mod retry;
pub mod signature;
#[cfg(test)]
mod testing;
pub mod webhook;

pub use attempt::{FunctionCaller, FunctionError, FunctionReply};
pub use dead_letter::{DeadLetter, DeadLetterBox};
pub use dispatch::{DeliveryOutcome, Dispatcher, EndpointGoneReport, Ports};
pub use failed::{FailedWebhook, FailedWebhooks};
pub use guard::EgressGuard;
pub use parking::{ParkingLot, SubscriptionDirectory};
pub use plan::{Delivery, PreparedEvent};
pub use webhook::{PlannedDelivery, coalesce};

/// Headers to send: lower-case names and their values.
pub type HeaderList = Vec<(&'static str, String)>;
