//! The interface to the event stream for the APIs that accept events.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;

use super::Envelope;

/// Publishes events to the event stream; implemented by `bus`.
pub trait Publisher: Send + Sync {
    /// Stores one event. The same event identity is stored once: within the deduplication window of
    /// the broker, and longer if its source chose the id, see [`Publisher::repeats`].
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

    /// Returns how far the router is behind the event stream, as measured last; none before the first
    /// measurement.
    fn backlog(&self) -> Option<InputBacklog> {
        None
    }

    /// Returns what is remembered of stored events, so that late repetitions are recognised; `None`
    /// if nothing is.
    fn repeats(&self) -> Option<RepeatStatus> {
        None
    }
}

/// How far routers are behind the event stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InputBacklog {
    /// Events that no router received yet.
    pub pending: u64,
    /// Events that a router received and did not acknowledge yet.
    pub unacknowledged: u64,
    /// Age of the oldest event that is not acknowledged, in seconds.
    pub lag_s: u64,
    /// When it was measured, milliseconds of monotonic time.
    pub measured_ms: i64,
}

/// The remembered ids of stored events.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RepeatStatus {
    /// Ids that are remembered.
    pub ids: usize,
    /// Most ids that are remembered.
    pub ids_max: usize,
    /// How long an id is remembered, in milliseconds.
    pub memory_ms: i64,
    /// Ids that were forgotten earlier because of [`RepeatStatus::ids_max`], since the start.
    pub forgotten: u64,
    /// How long the oldest event that is not remembered yet has been stored, in milliseconds.
    pub behind_ms: u64,
    /// Whether that is so long that repetitions may be stored again.
    pub is_behind: bool,
    /// Sequence up to which all events are remembered; `None` before the first reading.
    pub covered_to: Option<u64>,
    /// The sites with the most ids.
    pub sites: Vec<SiteRepeats>,
}

/// The remembered ids of one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteRepeats {
    /// Token of the site.
    pub site: Arc<str>,
    /// Its ids.
    pub ids: usize,
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
    #[error(
        "the broker did not confirm the event within {waited_ms} ms; it may be stored, so send it again with the same id"
    )]
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
