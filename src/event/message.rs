//! The interface between the router and a message broker: a stream of messages that can be
//! acknowledged.

use std::future::Future;

use bytes::Bytes;

use super::codec::{Attributes, HeaderLookup};
use super::decode_error::DecodeError;

/// One delivered message that waits for its acknowledgement.
pub trait Message: Send + Sync + 'static {
    /// The type of its headers.
    type Headers: HeaderLookup + Send + Sync;

    /// The attributes of its event, from headers and address.
    ///
    /// # Errors
    /// A header does not decode to UTF-8 text.
    fn attributes(&self) -> Result<Attributes<'_>, DecodeError>;

    /// Its address in the broker, such as a subject; kept in dead letters.
    fn address(&self) -> &str;

    /// Its headers; kept in dead letters.
    fn headers(&self) -> &Self::Headers;

    /// Its body. Cheap: the bytes are shared.
    fn payload(&self) -> Bytes;

    /// Its sequence number in the stream.
    fn sequence(&self) -> u64;

    /// How many times the broker delivered it, including this time.
    fn delivery_count(&self) -> i64;

    /// When the broker stored it, in milliseconds since the epoch.
    fn stored_ms(&self) -> i64;

    /// Acknowledges the message. A lost acknowledgement only causes a redelivery.
    fn ack(&self) -> impl Future<Output = ()> + Send;

    /// Extends the acknowledgement deadline of the message.
    fn in_progress(&self) -> impl Future<Output = ()> + Send;

    /// Returns the message unprocessed (NAK), so that the broker redelivers it at once.
    fn release(&self) -> impl Future<Output = ()> + Send;
}

/// An endless stream of messages.
///
/// It extends the deadlines of all messages that it has received, so that the broker redelivers
/// none: of those not yet returned, and of those returned since the last call of
/// [`MessageStream::next`], which the caller is examining.
pub trait MessageStream: Send + 'static {
    /// The message type.
    type Item: Message;

    /// Waits for the next message; broker failures are retried inside. Cancel-safe: dropping the
    /// future loses no message.
    fn next(&mut self) -> impl Future<Output = Self::Item> + Send;

    /// Returns the next message if it was received already.
    fn take_ready(&mut self) -> Option<Self::Item>;

    /// Drops the messages that were received and not returned, unacknowledged; their deadlines may
    /// have passed.
    fn discard(&mut self);
}
