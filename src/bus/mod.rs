//! The edge to NATS: events in, parked deliveries and dead letters out, functions of apps called.
//!
//! Guarantee: what a stage is told to be stored is stored; a publish that nobody answered is
//! repeated under the same id. Connections and pulls are set up again by themselves. Subjects,
//! streams, consumers, acks and naks are spoken of here and nowhere else.

pub mod acks;
pub mod connect;
pub mod consume;
pub mod dead_letters;
pub mod failed;
pub mod functions;
pub mod gone;
pub mod headers;
pub mod managed;
pub mod metrics;
pub mod parking;
pub mod publish;
mod store;
pub mod streams;
pub mod subjects;
pub mod watch;

pub use connect::{ConnectError, Connections, Jet};
pub use consume::Pull;
pub use dead_letters::DeadStream;
pub use failed::FailedStream;
pub use functions::Functions;
pub use gone::GoneBroadcast;
pub use managed::{ManagedError, ManagedServer};
pub use parking::{ParkedStream, Room};
pub use publish::{EventPublisher, Gate};
pub use subjects::Subjects;
pub use watch::Watch;
