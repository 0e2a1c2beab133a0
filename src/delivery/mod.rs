//! 3. How it gets there: a match becomes a delivery, and each delivery is accounted for.
//!
//! ```text
//! Match -> plan -> lane -> attempt -> delivered
//!                   |         |- to be repeated -> parked (schedule)
//!                   |         `- hopeless       -> dead letter
//!                   `- full or late            -> parked (backlog)
//! ```
//!
//! Guarantee: [`Dispatcher::deliver`] ends only when nothing of the delivery is left to do for its
//! event. Bounds: so many attempts and waiting deliveries per endpoint, so many attempts in all.
//! This stage knows neither the broker (it asks through [`ParkingLot`], [`DeadLetterBox`] and
//! [`FunctionCaller`]) nor how subscriptions are stored ([`SubscriptionDirectory`]).

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

/// Headers to be sent: lower-case names and their values.
pub type HeaderList = Vec<(&'static str, String)>;
