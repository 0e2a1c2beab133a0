//! Channels: how each kind of handler is called.

pub(crate) mod attempt;
pub(crate) mod forge_remote;
pub(crate) mod webhook;
