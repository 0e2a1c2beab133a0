//! 1. What arrived: bytes and headers of one message become an [`Envelope`] and an [`Event`].
//!
//! Guarantee: whatever the bytes, decoding ends in an event or in a [`DecodeError`] with a reason;
//! it never panics and never recurses past the depth limit. This stage knows neither the broker
//! nor who is interested.

pub mod decode;
pub mod envelope;
pub mod identity;
pub mod incoming;
pub mod members;
pub mod metrics;
pub mod pick;
pub mod publish;
pub mod sample;
mod scan;
mod structure;
pub mod view;
pub mod webhook;

pub use decode::{Arrival, DecodeError, Decoder};
pub use envelope::{Envelope, Headers, Heading};
pub use incoming::{Incoming, Source};
pub use publish::{PublishError, Published, Publisher};
pub use sample::Sample;
pub use view::EventView;

use bytes::Bytes;

/// One decoded event: what the envelope says and the body as it arrived.
#[derive(Clone, Debug)]
pub struct Event {
    /// Id, type, site and time.
    pub envelope: Envelope,
    /// The event object, JSON, byte for byte as published.
    pub body: Bytes,
    /// Position in the event stream; rises strictly, 0 when the event did not come from a stream.
    pub sequence: u64,
}
