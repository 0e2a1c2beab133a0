//! What the doors need of the broker: events go into the event stream, each under its own id.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;

use super::Envelope;

/// Puts events into the event stream; implemented at the broker's edge.
pub trait Publisher: Send + Sync {
    /// Stores one event. The same event identity within the broker's window is stored once.
    ///
    /// # Errors
    /// The broker did not confirm the event in time, or has no room; nothing may be assumed stored,
    /// the same call may be repeated.
    fn publish(
        &self,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Published, PublishError>>;

    /// Whether the stream may take more: `Some(seconds)` tells doors to answer 503 with
    /// `Retry-After`, since unread events would be evicted soon.
    fn refuse_for_s(&self) -> Option<u64>;
}

/// How the stream took an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// Position in the stream.
    pub sequence: u64,
    /// The stream held this event id already; nothing new was stored.
    pub duplicate: bool,
}

/// Why an event is not known to be stored.
#[derive(Debug, Error)]
pub enum PublishError {
    /// No confirmation within the time limit, after repeats under the same id.
    #[error("the broker did not confirm the event within {waited_ms} ms")]
    Unconfirmed {
        /// Milliseconds waited in all.
        waited_ms: u64,
    },
    /// The broker refused it.
    #[error("the broker refused the event: {reason}")]
    Refused {
        /// What the broker said.
        reason: String,
    },
}
