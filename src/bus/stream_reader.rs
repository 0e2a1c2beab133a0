//! Reads a stream in order through a consumer of its own, which is deleted with its reader; the broker deletes those of
//! processes that ended.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use thiserror::Error;
use tokio::runtime::Handle;

/// How long the broker keeps the consumer without its reader.
const CONSUMER_LIFE: Duration = Duration::from_secs(60);
/// Bytes of one request; more than the largest message of a managed broker.
const BYTES_MAX: usize = 8 << 20;

/// Reads forward from a sequence.
#[derive(Debug)]
pub(in crate::bus) struct StreamReader {
    context: jetstream::Context,
    consumer: PullConsumer,
    /// Messages that the consumer delivered.
    delivered: u64,
    /// The message after the last one that was read.
    next: u64,
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bus) enum Part {
    /// Headers alone.
    Headers,
    /// Headers and body.
    Whole,
}

/// A message of the stream.
#[derive(Debug)]
pub(in crate::bus) struct StoredMessage {
    pub(in crate::bus) sequence: u64,
    /// Wanted messages that the server of the consumer has after it.
    pub(in crate::bus) pending: u64,
    /// When the broker stored it, in milliseconds.
    pub(in crate::bus) stored_ms: i64,
    pub(in crate::bus) subject: String,
    pub(in crate::bus) headers: Option<HeaderMap>,
    pub(in crate::bus) body: Bytes,
}

/// Messages between the broker and this reader were lost: it must be opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("message {found} of the consumer came instead of {expected}")]
pub(in crate::bus) struct LostMessages {
    expected: u64,
    found: u64,
}

impl Drop for StreamReader {
    /// Deletes the consumer, so that the broker does not keep it until its life ends.
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (context, info) = (self.context.clone(), self.consumer.cached_info());
        let (stream, name) = (info.stream_name.clone(), info.name.clone());
        runtime.spawn(async move {
            if let Err(error) = context.delete_consumer_from_stream(&name, &stream).await {
                tracing::debug!(%error, "a consumer is left to the broker, which deletes it");
            }
        });
    }
}

impl StreamReader {
    /// Opens a reader of the messages whose subject `filter` matches, from the sequence `from` on.
    pub(in crate::bus) async fn open(
        context: &jetstream::Context,
        stream: &str,
        (from, filter): (u64, &str),
        part: Part,
    ) -> Result<Self, async_nats::Error> {
        let stream = context.get_stream_no_info(stream).await?;
        let consumer = stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
                filter_subject: filter.to_owned(),
                ack_policy: AckPolicy::None,
                headers_only: part == Part::Headers,
                inactive_threshold: CONSUMER_LIFE,
                memory_storage: true,
                num_replicas: 1,
                ..pull::Config::default()
            })
            .await?;
        Ok(Self { context: context.clone(), consumer, delivered: 0, next: from })
    }

    /// Returns the sequence from which the next read begins.
    pub(in crate::bus) fn next(&self) -> u64 {
        self.next
    }

    /// Reads up to `count` messages that are stored already; fewer, also none, if their bytes reach
    /// a bound or there are no more.
    ///
    /// # Errors
    /// The broker does not answer, or [`LostMessages`]; the reader must be opened again.
    pub(in crate::bus) async fn read(
        &mut self,
        count: usize,
    ) -> Result<Vec<StoredMessage>, async_nats::Error> {
        let fetch = self.consumer.fetch().max_messages(count).max_bytes(BYTES_MAX);
        let mut batch = fetch.messages().await?;
        let mut messages = Vec::new();
        while let Some(message) = batch.next().await {
            let message = match message {
                Ok(message) => message,
                // What does not fit into the bytes of a request ends it with an error. The next request begins
                // with it; another kind of error meets that one as well.
                Err(error) if !messages.is_empty() => {
                    tracing::debug!(%error, "a read ended early");
                    break;
                }
                Err(error) => return Err(error),
            };
            let info = message.info()?;
            let (sequence, found) = (info.stream_sequence, info.consumer_sequence);
            let stored_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000)?;
            let expected = self.delivered.saturating_add(1);
            if found != expected {
                return Err(LostMessages { expected, found }.into());
            }
            self.delivered = found;
            self.next = sequence.saturating_add(1);
            let pending = info.pending;
            let message = message.message;
            messages.push(StoredMessage {
                sequence,
                pending,
                stored_ms,
                subject: message.subject.to_string(),
                headers: message.headers,
                body: message.payload,
            });
        }
        Ok(messages)
    }
}
