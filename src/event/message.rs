//! What the router needs of the broker: messages to work on, each with the means to settle it.

use std::future::Future;

use bytes::Bytes;

use super::HeaderLookup;

/// One message that was handed out and waits for its acknowledgement.
pub trait Message: Send + Sync + 'static {
    /// How its headers are read.
    type Headers: HeaderLookup + Send + Sync;

    /// The subject it is stored under.
    fn subject(&self) -> &str;

    /// Its headers.
    fn headers(&self) -> &Self::Headers;

    /// Its body; cheap, the bytes are shared.
    fn payload(&self) -> Bytes;

    /// Its position in the stream.
    fn sequence(&self) -> u64;

    /// How often it was handed out, this time included.
    fn delivery_count(&self) -> i64;

    /// When it was stored, milliseconds since the epoch.
    fn stored_ms(&self) -> i64;

    /// Says that it is done with. Lost acknowledgements only cause a redelivery.
    fn ack(&self) -> impl Future<Output = ()> + Send;

    /// Says that it is still being worked on, which moves its deadline.
    fn in_progress(&self) -> impl Future<Output = ()> + Send;

    /// Gives it back unfinished, to be handed out again at once.
    fn release(&self) -> impl Future<Output = ()> + Send;
}

/// Hands out messages, one after the other.
pub trait MessageStream: Send + 'static {
    /// What it hands out.
    type Item: Message;

    /// The next message, whenever it comes: faults of the broker are waited out in here. Dropping
    /// the future loses no message.
    fn next(&mut self) -> impl Future<Output = Self::Item> + Send;

    /// To be awaited while there is no room for another message: keeps those that were handed out
    /// already, and wait in here, from being handed out to others. Never ends; dropping the future
    /// loses no message.
    fn extend_deadlines(&mut self) -> impl Future<Output = ()> + Send;
}
