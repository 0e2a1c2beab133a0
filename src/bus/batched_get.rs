//! Reads stored messages in batches, without a consumer.
//!
//! **Source:** NATS ADR-31, JetStream direct get: batches.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Serialize;

use super::connect::JetStreamClient;

/// Time limit of the next message of a batch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of one batch.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Looks at a server that has nothing yet of what the leader has.
pub(super) const BEHIND_LOOKS: usize = 20;
/// Pause between them.
pub(super) const BEHIND_PAUSE: Duration = Duration::from_millis(100);
/// Status of the end of a batch.
const END: u16 = 204;
/// Status if no message is left.
const NOT_FOUND: u16 = 404;

/// Reads one stream.
#[derive(Clone, Debug)]
pub(super) struct DirectReader {
    jetstream_client: JetStreamClient,
    stream: String,
}

/// What a stream has.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamBounds {
    /// Its first sequence.
    pub(super) first: u64,
    /// When that was stored, milliseconds since the epoch; none if it is empty.
    pub(super) first_ms: Option<i64>,
    /// Its last sequence.
    pub(super) last: u64,
    /// When it was created, nanoseconds since the epoch: sequences of another stream of its name are others.
    pub(super) created_ns: i128,
}

/// Where a batch begins.
#[derive(Clone, Debug)]
pub(super) enum StartAt {
    /// At a sequence.
    Sequence(u64),
    /// At a time, milliseconds since the epoch.
    Time(i64),
}

/// One stored message.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadMessage {
    pub(super) subject: Box<str>,
    pub(super) sequence: u64,
    /// Milliseconds since the epoch.
    pub(super) stored_ms: i64,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// Messages in the order of the stream.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadBatch {
    pub(super) messages: Vec<ReadMessage>,
    /// Matching messages after the first one, when the batch was read.
    pub(super) after_first: u64,
    /// Whether matching messages follow the last one.
    pub(super) has_more: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: usize,
}

impl DirectReader {
    /// Reads `stream` over `jetstream_client`.
    pub(super) fn new(jetstream_client: JetStreamClient, stream: String) -> Self {
        Self { jetstream_client, stream }
    }

    /// Returns the first and the last sequence of the stream.
    pub(super) async fn bounds(&self) -> Result<(u64, u64), String> {
        self.stream_bounds().await.map(|bounds| (bounds.first, bounds.last))
    }

    /// Returns what the stream has.
    pub(super) async fn stream_bounds(&self) -> Result<StreamBounds, String> {
        let stream = self.jetstream_client.context.get_stream(&self.stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let info = stream.cached_info();
        let first_ms = info.state.first_timestamp.unix_timestamp_nanos() / 1_000_000;
        let is_empty = info.state.messages == 0;
        Ok(StreamBounds {
            first: info.state.first_sequence,
            first_ms: i64::try_from(first_ms).ok().filter(|_| !is_empty),
            last: info.state.last_sequence,
            created_ns: info.created.unix_timestamp_nanos(),
        })
    }

    /// Reads the message with a sequence; none if it is deleted.
    pub(super) async fn one(&self, sequence: u64) -> Result<Option<ReadMessage>, String> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        let request = serde_json::json!({ "seq": sequence }).to_string();
        let answer = self.jetstream_client.client.request(subject, request.into());
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        let answer = answer.map_err(|_| "no answer in time".to_owned())?;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status.map(|status| status.as_u16()) {
            None => of_answer(answer).map(Some),
            Some(NOT_FOUND) => Ok(None),
            Some(status) => Err(format!("{}: status {status}", self.stream)),
        }
    }

    /// Reads up to `messages_max` messages with a subject that `filter` matches.
    pub(super) async fn batch(
        &self,
        from: StartAt,
        filter: &str,
        messages_max: usize,
    ) -> Result<ReadBatch, String> {
        let (seq, start_time) = match from {
            StartAt::Sequence(sequence) => (Some(sequence.max(1)), None),
            StartAt::Time(ms) => {
                // Nothing is stored before the epoch, and the broker reads no years before 0.
                let time = Timestamp::from_millisecond(ms.max(0));
                let time = time.map_err(|error| error.to_string())?;
                (None, Some(time.to_string()))
            }
        };
        let request = Request {
            seq,
            start_time,
            next_by_subj: filter,
            batch: messages_max,
            max_bytes: BATCH_BYTES_MAX,
        };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let client = &self.jetstream_client.client;
        let inbox = client.new_inbox();
        let mut answers =
            client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        client
            .publish_with_reply(subject, inbox, request.into())
            .await
            .map_err(|error| error.to_string())?;
        let mut batch = ReadBatch::default();
        loop {
            let next = tokio::time::timeout(ANSWER_TIMEOUT, answers.next()).await;
            let message = next.map_err(|_| "no answer in time".to_owned())?;
            let message = message.ok_or("the connection is closed")?;
            match message.status.map(|status| status.as_u16()) {
                None => batch.add(message)?,
                Some(END) => {
                    batch.has_more = number(&message, "Nats-Num-Pending")? > 0;
                    return Ok(batch);
                }
                Some(NOT_FOUND) => return Ok(batch),
                Some(status) => {
                    let reason = message.description.as_deref().unwrap_or_default();
                    return Err(format!("{}: status {status} {reason}", self.stream));
                }
            }
        }
    }
}

impl DirectReader {
    /// Reads as [`DirectReader::batch`], but nothing more follows only if the leader of the stream has nothing
    /// more: another server may not have the last messages yet. At the end of what that server has, the
    /// next message of the leader is added.
    ///
    /// # Errors
    /// The broker does not answer, or the server that answers lacks all messages from a time on, also after
    /// [`BEHIND_LOOKS`]; one sentence.
    pub(super) async fn batch_to_end(
        &self,
        from: StartAt,
        filter: &str,
        messages_max: usize,
    ) -> Result<ReadBatch, String> {
        for _ in 0..BEHIND_LOOKS {
            let mut batch = self.batch(from.clone(), filter, messages_max).await?;
            let last = batch.messages.last().map(|last| last.sequence.saturating_add(1));
            let next = match (&from, last) {
                (_, Some(_)) if batch.has_more => return Ok(batch),
                (_, Some(next)) => next,
                (StartAt::Sequence(next), None) => *next,
                (StartAt::Time(ms), None) => {
                    let newest = self.last_on_leader(filter).await?;
                    if newest.is_none_or(|newest| newest.stored_ms < *ms) {
                        return Ok(batch);
                    }
                    // Where the leader continues is not known: the other server has it soon.
                    tokio::time::sleep(BEHIND_PAUSE).await;
                    continue;
                }
            };
            let found = self.next_on_leader(next, filter).await?;
            batch.has_more = found.is_some();
            if batch.messages.len() < messages_max {
                batch.messages.extend(found);
            }
            return Ok(batch);
        }
        Err(format!("{}: a server of the broker does not have its last messages yet", self.stream))
    }

    /// Returns the last matching message, as the leader of the stream has it.
    async fn last_on_leader(&self, filter: &str) -> Result<Option<ReadMessage>, String> {
        let stream = self.jetstream_client.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        match stream.get_last_raw_message_by_subject(filter).await {
            Ok(found) => Ok(Some(of_leader(found))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Returns the first matching message from a sequence on, as the leader of the stream has it.
    pub(super) async fn next_on_leader(
        &self,
        from: u64,
        filter: &str,
    ) -> Result<Option<ReadMessage>, String> {
        let stream = self.jetstream_client.context.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        match stream.get_first_raw_message_by_subject(filter, from.max(1)).await {
            Ok(found) => Ok(Some(of_leader(found))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn of_leader(message: StreamMessage) -> ReadMessage {
    let stored_ms = i64::try_from(message.time.unix_timestamp_nanos() / 1_000_000);
    ReadMessage {
        subject: message.subject.as_str().into(),
        sequence: message.sequence,
        stored_ms: stored_ms.unwrap_or(i64::MAX),
        headers: message.headers,
        payload: message.payload,
    }
}

impl ReadBatch {
    fn add(&mut self, message: async_nats::Message) -> Result<(), String> {
        if self.messages.is_empty() {
            self.after_first = number(&message, "Nats-Num-Pending")?;
        }
        self.messages.push(of_answer(message)?);
        Ok(())
    }
}

/// Returns the message of an answer to a direct get.
fn of_answer(message: async_nats::Message) -> Result<ReadMessage, String> {
    let time = text(&message, "Nats-Time-Stamp")?;
    let time: Timestamp = time.parse().map_err(|error: jiff::Error| error.to_string())?;
    Ok(ReadMessage {
        subject: text(&message, "Nats-Subject")?.into(),
        sequence: number(&message, "Nats-Sequence")?,
        stored_ms: time.as_millisecond(),
        headers: message.headers.unwrap_or_default(),
        payload: message.payload,
    })
}

fn text<'m>(message: &'m async_nats::Message, name: &str) -> Result<&'m str, String> {
    let value = message.headers.as_ref().and_then(|headers| headers.get(name));
    value.map(async_nats::HeaderValue::as_str).ok_or_else(|| format!("an answer without {name}"))
}

fn number(message: &async_nats::Message, name: &str) -> Result<u64, String> {
    text(message, name)?.parse().map_err(|_| format!("an answer with an invalid {name}"))
}
