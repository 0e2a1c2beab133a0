//! Ports through which channels reach handlers other than over HTTP, and their signing keys.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::event::codec::HeaderList;
use crate::jwt::KeyRing;

/// What all attempts share.
#[derive(Clone)]
pub struct ChannelPorts {
    /// Calls functions of apps.
    pub functions: Arc<dyn FunctionCaller>,
    /// Signs the tokens for remotes.
    pub keys: Arc<KeyRing>,
}

/// Calls functions of apps over the broker; implemented in `bus`.
pub trait FunctionCaller: Send + Sync {
    /// Sends a request to `subject` and waits at most `timeout` for the reply.
    fn call(
        &self,
        subject: &str,
        headers: HeaderList,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<FunctionReply, FunctionError>>;
}

/// The reply of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FunctionReply {
    /// Body of the reply.
    pub body: Bytes,
    /// Set when the function replied with an error (`Nats-Service-Error-Code`); read like an HTTP
    /// status.
    pub error_code: Option<u16>,
}

/// Why a function call got no reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FunctionError {
    /// The function's subject has no subscriber.
    NoSubscriber,
    /// No reply before the deadline.
    Timeout,
    /// The request exceeds the broker's message size.
    TooLarge,
    /// The broker could not transmit the request.
    Broker(String),
}
