//! HTTP client for deliveries: one deadline per request, and only addresses that the guard allows.
//!
//! There is no proxy, no redirect and no connection shared between installations.

mod classify;
mod client;
mod connector;
mod sockets;

pub use client::{HttpClient, HttpSender};
pub use sockets::SocketBudget;
