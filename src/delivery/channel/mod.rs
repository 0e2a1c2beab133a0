//! Channels: how each kind of handler is called, one file a kind.
//!
//! A kind of handler is a variant of [`Handler`](crate::domain::Handler) whose payload implements
//! [`Channel`]. [`channel_of`] is the only place that distinguishes the variants; everything else
//! uses the trait. A new kind is a file here, its variant, its line in [`channel_of`], and the
//! registration code that compiles a module to it.

mod contract;
mod forge_remote;
mod function;
mod http;
mod listener;
mod ports;
mod request;
mod table;
pub(super) mod webhook;

pub use contract::{Attempt, Channel, CoalesceKey, HandlerDescription};
pub use ports::{ChannelPorts, FunctionCaller, FunctionError, FunctionReply};
pub(super) use table::channel_of;
pub use table::describe;
