//! HTTP edge: the connections of the listener, before any route is known.
//!
//! It serves HTTP/1.1, with or without TLS (`tls`). Everything that a stranger can make it hold has a bound: connections in all and
//! from one address (`admission`), the time for a request's head, between requests, for a body and for
//! a client that does not read (`progress`), and the bytes of bodies in memory in all, by address and
//! by site (`intake`). `client` says who a request comes from, also through trusted proxies;
//! `failures` limits clients that fail to authenticate.

mod accept;
mod admission;
mod client;
mod connection;
mod failures;
mod intake;
mod metrics;
mod progress;
mod shares;
mod tls;

pub use accept::{Listener, serve};
pub use client::{Client, TrustedProxies};
pub use failures::AuthFailures;
pub use intake::{BodyError, BodyIntake, ReceivedBody};
pub use shares::ShareLevel;
pub use tls::TlsError;
