//! The interface to the event stream for the APIs that accept events.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;

use super::Envelope;

/// Publishes events to the event stream; implemented by `bus`.
pub trait Publisher: Send + Sync {
    /// Stores one event. Within the broker's deduplication window the same event identity is stored
    /// once.
    ///
    /// # Errors
    /// The broker did not confirm the event in time or has no capacity. The event may or may not be
    /// stored; the same call can be repeated.
    fn publish(
        &self,
        envelope: Envelope,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Published, PublishError>>;

    /// The largest message that the broker stores, headers included, in bytes.
    fn message_bytes_max(&self) -> usize;

    /// Whether to refuse new events: `Some(seconds)` makes the APIs answer 503 with `Retry-After`,
    /// because the stream is nearly full of events that are not acknowledged. An early warning: the
    /// broker refuses what it cannot store in any case.
    fn refuse_for_s(&self) -> Option<u64>;
}

/// The broker's confirmation of a stored event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// Sequence number in the stream.
    pub sequence: u64,
    /// The stream already has this event id; nothing new was stored.
    pub duplicate: bool,
}

/// Why an event is not known to be stored.
#[derive(Debug, Error)]
pub enum PublishError {
    /// No confirmation within the time limit, including repeats under the same id.
    #[error("the broker did not confirm the event within {waited_ms} ms")]
    Unconfirmed {
        /// Total wait in milliseconds.
        waited_ms: u64,
    },
    /// The broker has no space for it; it is not stored.
    #[error("the event stream is full, and the event is not stored: {reason}")]
    Full {
        /// The broker's reason.
        reason: String,
    },
    /// The broker refused it: it is larger than a limit.
    #[error("the broker refused the event: {reason}")]
    Refused {
        /// The broker's reason.
        reason: String,
    },
}
