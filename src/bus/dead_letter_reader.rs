//! The dead-letter stream, as operators read and change it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::confirmed_publish::{self, PublishRequest, Refusal, refusal};
use super::connect::JetStreamClient;
use super::headers;
use super::subjects::{Subjects, subject_attributes};
use crate::delivery::{Shares, StreamPosition};
use crate::event::codec::forwarded_headers;
use crate::event::codec::names::{self, dead_letter};
use crate::event::identity;
use crate::recovery::redrive::{
    DeadLetters, LetterBatch, LetterId, LetterKind, LetterRange, LetterScope, REPUBLISHED_PREFIX,
    ReadError, Republished, StoredLetter, StreamBounds,
};

/// Maximum number of concurrent reads of ranges.
const READING_MAX: usize = 4;
/// How long the broker keeps a consumer without a reader.
const CONSUMER_LIFE: Duration = Duration::from_secs(30);
/// Header with the size of a body that is not sent.
const BODY_SIZE: &str = "Nats-Msg-Size";
/// Start of the headers that the broker adds.
const BROKER_PREFIX: &str = "nats-";

/// What the broker does with a message that is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deletion {
    /// It notes that the message is deleted, and frees its place later.
    Marked,
    /// It overwrites the message on its disk at once, which rewrites up to a block of some megabytes.
    Overwritten,
}

/// Reads, deletes and republishes dead letters.
#[derive(Debug)]
pub struct DeadLetterReader {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    shares: Arc<Shares>,
    reading: Semaphore,
}

impl DeadLetterReader {
    /// Reads over `jetstream_client`; deleted letters leave their owners' `shares`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects, shares: Arc<Shares>) -> Self {
        Self { jetstream_client, subjects, shares, reading: Semaphore::new(READING_MAX) }
    }

    async fn stream(&self) -> Result<Stream<()>, ReadError> {
        let stream = self.subjects.dead_letter_stream();
        self.jetstream_client.context.get_stream_no_info(stream).await.map_err(failed)
    }

    async fn read_bounds(&self) -> Result<StreamBounds, ReadError> {
        let stream = self.subjects.dead_letter_stream();
        let stream = self.jetstream_client.context.get_stream(stream).await.map_err(failed)?;
        let state = &stream.cached_info().state;
        Ok(StreamBounds { first: state.first_sequence, last: state.last_sequence })
    }

    /// Reads a letter from the leader of the stream: another server may not have it yet, or may still have it.
    async fn find(&self, id: LetterId) -> Result<Option<StoredLetter>, ReadError> {
        match self.stream().await?.get_raw_message(id.0.sequence).await {
            Ok(message) => Ok(self.letter(message).filter(|letter| letter.id == id)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn letter(&self, message: StreamMessage) -> Option<StoredLetter> {
        let stored_ms = to_ms(message.time.unix_timestamp_nanos());
        Some(StoredLetter {
            id: LetterId(StreamPosition { sequence: message.sequence, stored_ms }),
            kind: self.subjects.kind_of_dead_letter(&message.subject)?,
            headers: own_headers(&message.headers),
            body_bytes: message.payload.len(),
            body: message.payload,
        })
    }

    async fn read_range(
        &self,
        range: LetterRange,
        scope: &LetterScope,
        max: usize,
    ) -> Result<LetterBatch, ReadError> {
        if max == 0 || range.from > range.to {
            return Ok(LetterBatch::default());
        }
        let _turn = self.reading.acquire().await.map_err(failed)?;
        let subjects = self.subjects.dead_letters_within(scope);
        let config = pull::Config {
            filter_subjects: subjects.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: range.from.max(1) },
            ack_policy: AckPolicy::None,
            headers_only: true,
            inactive_threshold: CONSUMER_LIFE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let stream = self.stream().await?;
        let consumer = stream.create_consumer(config).await.map_err(failed)?;
        let batch = self.read_batch(&consumer, range.to, max).await;
        // Otherwise each page would leave a consumer.
        if let Err(error) = stream.delete_consumer(&consumer.cached_info().name).await {
            tracing::debug!(%error, "consumer of dead letters not deleted; it expires");
        }
        let (mut batch, has_whole_range) = batch?;
        if batch.next.is_none() && !has_whole_range {
            self.add_from_leader(&stream, &subjects, range, &mut batch).await?;
        }
        Ok(batch)
    }

    /// Adds the first letter after those of a batch that ended early: the server with the consumer may not have the
    /// last letters of the range yet; the leader of the stream has.
    async fn add_from_leader(
        &self,
        stream: &Stream<()>,
        subjects: &[String],
        range: LetterRange,
        batch: &mut LetterBatch,
    ) -> Result<(), ReadError> {
        let last = batch.letters.last().map(|letter| letter.id.0.sequence);
        let after = last.map_or(range.from, |last| last.saturating_add(1)).max(1);
        if after > range.to {
            return Ok(());
        }
        let mut first: Option<StreamMessage> = None;
        for subject in subjects {
            match stream.get_first_raw_message_by_subject(subject, after).await {
                Ok(found) if first.as_ref().is_none_or(|one| found.sequence < one.sequence) => {
                    first = Some(found);
                }
                Ok(_) => {}
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let Some(found) = first.filter(|found| found.sequence <= range.to) else { return Ok(()) };
        batch.next = found.sequence.checked_add(1).filter(|next| *next <= range.to);
        let letter = self.letter(found);
        batch.letters.extend(letter.map(|letter| StoredLetter { body: Bytes::new(), ..letter }));
        Ok(())
    }

    /// Reads a batch; returns whether the server with the consumer has letters after the range, too.
    async fn read_batch(
        &self,
        consumer: &PullConsumer,
        to: u64,
        max: usize,
    ) -> Result<(LetterBatch, bool), ReadError> {
        let mut batch = LetterBatch::default();
        let (mut came, mut last) = (0, 0);
        let messages = consumer.fetch().max_messages(max).messages().await;
        let mut messages = messages.map_err(failed)?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(failed)?;
            came += 1;
            let info = message.info().map_err(failed)?;
            last = info.stream_sequence;
            if last > to {
                return Ok((batch, true));
            }
            let stored_ms = to_ms(info.published.unix_timestamp_nanos());
            let id = LetterId(StreamPosition { sequence: last, stored_ms });
            let headers = message.headers.as_ref();
            let size = headers.and_then(|all| all.get(BODY_SIZE)?.as_str().parse().ok());
            let kind = self.subjects.kind_of_dead_letter(&message.subject);
            batch.letters.extend(kind.map(|kind| StoredLetter {
                id,
                kind,
                headers: headers.map(own_headers).unwrap_or_default(),
                body: Bytes::new(),
                body_bytes: size.unwrap_or(0),
            }));
        }
        batch.next = (came == max && last < to).then_some(last.saturating_add(1));
        Ok((batch, false))
    }

    /// Deletes a letter whose delivery ended, or whose event is stored again. What it says is stored elsewhere, so the
    /// broker need not overwrite it on its disk at once.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn delete_ended(&self, id: LetterId) -> Result<bool, ReadError> {
        self.remove(id, Deletion::Marked).await
    }

    async fn delete_at(&self, sequence: u64, deletion: Deletion) -> Result<(), ReadError> {
        if deletion == Deletion::Overwritten {
            let stream = self.stream().await?;
            return stream.delete_message(sequence).await.map(drop).map_err(failed);
        }
        let subject = format!("STREAM.MSG.DELETE.{}", self.subjects.dead_letter_stream());
        let request = json!({ "seq": sequence, "no_erase": true });
        let context = &self.jetstream_client.context;
        match context.request(subject, &request).await.map_err(failed)? {
            Response::<Value>::Ok(_) => Ok(()),
            Response::Err { error } => Err(failed(error)),
        }
    }

    /// Deletes a letter; another one of its sequence, in a stream that was created again, stays.
    async fn remove(&self, id: LetterId, deletion: Deletion) -> Result<bool, ReadError> {
        let (stream, sequence) = (self.stream().await?, id.0.sequence);
        // From the leader of the stream: another server may not have the letter yet.
        let message = match stream.get_raw_message(sequence).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        if to_ms(message.time.unix_timestamp_nanos()) != id.0.stored_ms {
            return Ok(false);
        }
        if let Err(error) = self.delete_at(sequence, deletion).await {
            return match stream.get_raw_message(sequence).await {
                // It is deleted, by this request or another one.
                Err(found) if found.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
                _ => Err(error),
            };
        }
        if let Some(owner) = self.subjects.owner_of_dead_letter(&message.subject) {
            self.shares.remove_dead_letter(&owner, message.payload.len());
        }
        Ok(true)
    }

    async fn republish_event(
        &self,
        letter: &StoredLetter,
        job: &str,
    ) -> Result<Republished, ReadError> {
        let request = PublishRequest {
            stream: "events",
            subject: self.intake_of(letter),
            message_id: format!("{REPUBLISHED_PREFIX}{job}/{}", letter.id.0),
            headers: event_headers(letter),
            body: letter.body.clone(),
        };
        match confirmed_publish::once(&self.jetstream_client, &request).await {
            Ok(_) => {
                self.delete_ended(letter.id).await?;
                Ok(Republished::Stored)
            }
            Err(error) => match refusal(&error) {
                Some(Refusal::TooLarge) => Ok(Republished::TooLarge),
                Some(Refusal::StreamFull | Refusal::StorageFull) => {
                    Ok(Republished::Full(format!("the event stream is full: {error}")))
                }
                None => Err(failed(error)),
            },
        }
    }

    /// Returns the subject that the event of a letter is published to.
    fn intake_of(&self, letter: &StoredLetter) -> String {
        let stored = letter.text(dead_letter::SUBJECT).unwrap_or_default();
        let stored = subject_attributes(&stored);
        let site = match (&letter.kind, stored.cloud_id) {
            (_, Some(site)) => site,
            (LetterKind::Event { site }, None) => &**site,
            _ => "",
        };
        let event_type = letter.text(names::EVENT_TYPE);
        let event_type = stored.event_type.or(event_type.as_deref()).unwrap_or_default();
        let entity = letter.text(names::EVENT_ENTITY).unwrap_or_default();
        self.subjects.intake_again(site, event_type, &entity)
    }
}

/// Returns the headers that the event of a letter is published with. Publishers that send no `ce-id`
/// gave it its message id; the event keeps that id, so that its deliveries keep theirs.
fn event_headers(letter: &StoredLetter) -> HeaderMap {
    let mut forwarded = forwarded_headers(letter);
    if let (None, Some(id)) = (letter.text(names::EVENT_ID), letter.text(dead_letter::MESSAGE_ID)) {
        let site = letter.site().unwrap_or_default();
        let escaped = identity::escaped_site(&site);
        let own = id.strip_prefix(&*escaped).and_then(|rest| rest.strip_prefix('/'));
        forwarded.push((names::EVENT_ID, own.unwrap_or(&id).to_owned()));
    }
    headers::write(&forwarded)
}

/// Returns the headers of a message without those that the broker adds.
fn own_headers(headers: &HeaderMap) -> Vec<(Box<str>, Box<str>)> {
    let own = headers.iter().filter(|(name, _)| {
        let name: &str = name.as_ref();
        !name
            .get(..BROKER_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(BROKER_PREFIX))
    });
    let pairs = own.filter_map(|(name, values)| {
        let name: &str = name.as_ref();
        Some((name.into(), values.first()?.as_str().into()))
    });
    pairs.collect()
}

fn to_ms(nanos: i128) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
}

fn failed(error: impl std::fmt::Display) -> ReadError {
    ReadError(error.to_string())
}

impl DeadLetters for DeadLetterReader {
    fn bounds(&self) -> BoxFuture<'_, Result<StreamBounds, ReadError>> {
        Box::pin(self.read_bounds())
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<StoredLetter>, ReadError>> {
        Box::pin(self.find(id))
    }

    fn read<'a>(
        &'a self,
        range: LetterRange,
        scope: &'a LetterScope,
        max: usize,
    ) -> BoxFuture<'a, Result<LetterBatch, ReadError>> {
        Box::pin(self.read_range(range, scope, max))
    }

    fn delete(&self, id: LetterId) -> BoxFuture<'_, Result<bool, ReadError>> {
        Box::pin(self.remove(id, Deletion::Overwritten))
    }

    fn republish<'a>(
        &'a self,
        letter: &'a StoredLetter,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Republished, ReadError>> {
        Box::pin(self.republish_event(letter, job))
    }
}
