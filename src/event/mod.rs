//! Event decoding: turns the bytes and headers of one message into an [`Envelope`] and an
//! [`Event`].
//!
//! Cast: [`Decoder`] reads messages, [`Envelope`] holds the attributes, [`projection`] extracts the
//! JSON values that the index compares, [`webhook`] maps webhooks of the products to events and
//! back.
//!
//! Guarantee: for any bytes, decoding returns an event or a [`DecodeError`] with a reason; it never
//! panics and never recurses past the depth limit. This stage imports neither the broker client nor
//! the subscriptions.

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

/// One decoded event: its envelope and its original body.
#[derive(Clone, Debug)]
pub struct Event {
    /// Id, type, site and time.
    pub envelope: Envelope,
    /// The event object as JSON, byte for byte as published.
    pub body: Bytes,
    /// Sequence number in the event stream; strictly increasing, 0 for an event that did not come
    /// from a stream.
    pub sequence: u64,
}
