//! 1. What arrived: bytes and headers of one message become an [`Envelope`] and an [`Event`].
//!
//! Guarantee: whatever the bytes, decoding ends in an event or in a [`DecodeError`] with a reason;
//! it never panics and never recurses past the depth limit. This stage knows neither the broker
//! nor who is interested.

pub mod decode;
pub mod envelope;
pub mod identity;
pub mod members;
pub mod message;
pub mod metrics;
pub mod projection;
pub mod publish;
pub mod sample;
mod scan;
mod structural_index;
pub mod view;
pub mod webhook;

pub use decode::{DecodeError, DecodedMessage, Decoder};
pub use envelope::{Envelope, HeaderLookup, RoutingKey};
pub use message::{Message, MessageStream};
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
