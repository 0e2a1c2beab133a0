//! A pulled message and its acknowledgement.

use async_nats::jetstream::{self, AckKind, context::Context};
use async_nats::{Client, Subject};
use bytes::Bytes;

use super::acks::AckQueue;
use super::headers::MessageHeaders;
use super::subjects::subject_attributes;
use crate::event::{Attributes, DecodeError, Message};

/// The connections over which pulled messages are acknowledged.
#[derive(Clone, Debug)]
pub(super) struct AckSender {
    pub(super) acks: AckQueue,
    pub(super) outbound: Client,
    /// Parses the reply subjects of messages.
    pub(super) context: Context,
}

impl AckSender {
    /// Reads a message of a consumer; `None` if its reply subject is not one of a consumer.
    pub(super) fn wrap(&self, message: async_nats::Message) -> Option<PulledMessage> {
        let message = jetstream::Message { message, context: self.context.clone() };
        let info = message.info().ok()?;
        let stored_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).ok()?;
        let (sequence, delivered) = (info.stream_sequence, info.delivered);
        let message = message.message;
        Some(PulledMessage {
            acks: self.acks.clone(),
            outbound: self.outbound.clone(),
            reply: message.reply?,
            headers: MessageHeaders::new(message.headers),
            subject: message.subject,
            payload: message.payload,
            sequence,
            delivered,
            stored_ms,
        })
    }

    /// Extends the deadline of the message with this reply subject.
    pub(super) async fn in_progress(&self, reply: Subject) {
        if let Err(error) = self.outbound.publish(reply, AckKind::Progress.into()).await {
            tracing::debug!(%error, "deadline not extended");
        }
    }
}

/// A pulled message; acknowledged over the outbound connection.
#[derive(Debug)]
pub struct PulledMessage {
    acks: AckQueue,
    outbound: Client,
    reply: Subject,
    headers: MessageHeaders,
    subject: Subject,
    payload: Bytes,
    sequence: u64,
    delivered: i64,
    stored_ms: i64,
}

impl PulledMessage {
    /// The subject to which its acknowledgement is sent.
    pub(super) fn reply(&self) -> &Subject {
        &self.reply
    }

    async fn send_ack(&self, kind: AckKind) {
        if let Err(error) = self.outbound.publish(self.reply.clone(), kind.into()).await {
            tracing::debug!(%error, sequence = self.sequence, "acknowledgement not sent");
        }
    }
}

impl Message for PulledMessage {
    type Headers = MessageHeaders;

    fn attributes(&self) -> Result<Attributes<'_>, DecodeError> {
        Attributes::read(&self.headers, subject_attributes(&self.subject))
    }

    fn address(&self) -> &str {
        &self.subject
    }

    fn headers(&self) -> &MessageHeaders {
        &self.headers
    }

    fn payload(&self) -> Bytes {
        self.payload.clone()
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn delivery_count(&self) -> i64 {
        self.delivered
    }

    fn stored_ms(&self) -> i64 {
        self.stored_ms
    }

    fn ack(&self) -> impl Future<Output = ()> + Send {
        self.acks.ack(self.reply.clone())
    }

    fn in_progress(&self) -> impl Future<Output = ()> + Send {
        self.send_ack(AckKind::Progress)
    }

    fn release(&self) -> impl Future<Output = ()> + Send {
        self.send_ack(AckKind::Nak(None))
    }
}
