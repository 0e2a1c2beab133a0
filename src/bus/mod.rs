//! The edge to NATS: events in, parked deliveries and dead letters out, functions of apps called.
//!
//! Guarantee: what a stage is told to be stored is stored; a publish that nobody answered is
//! repeated under the same id. Connections and pulls are set up again by themselves. Subjects,
//! streams, consumers, acks and naks are spoken of here and nowhere else.

pub mod acks;
mod confirmed_publish;
pub mod connect;
pub mod consume;
pub mod dead_letters;
pub mod event_publisher;
pub mod failed_webhooks;
pub mod functions;
pub mod gone_broadcast;
pub mod headers;
pub mod managed;
pub mod metrics;
pub mod parking;
pub mod stream_monitor;
pub mod streams;
pub mod subjects;

pub use connect::{ConnectError, Connections, JetStreamClient};
pub use consume::PullSubscription;
pub use dead_letters::DeadLetterStream;
pub use event_publisher::{BackpressureGate, EventPublisher};
pub use failed_webhooks::FailedWebhookStream;
pub use functions::FunctionClient;
pub use gone_broadcast::GoneBroadcast;
pub use managed::{ManagedError, ManagedServer};
pub use parking::{ParkingCapacity, ParkingStream};
pub use stream_monitor::StreamMonitor;
pub use subjects::Subjects;
