//! Reads a stream in order through a consumer of its own, which the broker deletes soon after its
//! reader ended.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use thiserror::Error;

/// How long the broker keeps the consumer without its reader.
const CONSUMER_LIFE: Duration = Duration::from_secs(60);
/// Bytes of one request; more than the largest message of a managed broker.
const BYTES_MAX: usize = 8 << 20;

/// Reads forward from a sequence.
#[derive(Debug)]
pub(super) struct StreamReader {
    consumer: PullConsumer,
    /// Messages that the consumer delivered.
    delivered: u64,
    /// The message after the last one that was read.
    next: u64,
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Headers alone.
    Headers,
    /// Headers and body.
    Whole,
}

/// A message of the stream.
#[derive(Debug)]
pub(super) struct StoredMessage {
    pub(super) sequence: u64,
    /// When the broker stored it, in milliseconds.
    pub(super) stored_ms: i64,
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) body: Bytes,
}

/// Messages between the broker and this reader were lost: it must be opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("message {found} of the consumer came instead of {expected}")]
pub(super) struct LostMessages {
    expected: u64,
    found: u64,
}

impl StreamReader {
    /// Opens a reader whose first message has at least the sequence `from`.
    pub(super) async fn open(
        context: &jetstream::Context,
        stream: &str,
        from: u64,
        part: Part,
    ) -> Result<Self, async_nats::Error> {
        let stream = context.get_stream_no_info(stream).await?;
        let consumer = stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
                ack_policy: AckPolicy::None,
                headers_only: part == Part::Headers,
                inactive_threshold: CONSUMER_LIFE,
                memory_storage: true,
                num_replicas: 1,
                ..pull::Config::default()
            })
            .await?;
        Ok(Self { consumer, delivered: 0, next: from })
    }

    /// Returns the sequence from which the next read begins.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Reads up to `count` messages that are stored already; fewer, also none, if their bytes reach
    /// a bound or there are no more.
    ///
    /// # Errors
    /// The broker does not answer, or [`LostMessages`]; the reader must be opened again.
    pub(super) async fn read(
        &mut self,
        count: usize,
    ) -> Result<Vec<StoredMessage>, async_nats::Error> {
        let fetch = self.consumer.fetch().max_messages(count).max_bytes(BYTES_MAX);
        let mut batch = fetch.messages().await?;
        let mut messages = Vec::new();
        while let Some(message) = batch.next().await {
            let message = message?;
            let info = message.info()?;
            let (sequence, found) = (info.stream_sequence, info.consumer_sequence);
            let stored_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000)?;
            let expected = self.delivered.saturating_add(1);
            if found != expected {
                return Err(LostMessages { expected, found }.into());
            }
            self.delivered = found;
            self.next = sequence.saturating_add(1);
            let message = message.message;
            messages.push(StoredMessage {
                sequence,
                stored_ms,
                subject: message.subject.to_string(),
                headers: message.headers,
                body: message.payload,
            });
        }
        Ok(messages)
    }
}
