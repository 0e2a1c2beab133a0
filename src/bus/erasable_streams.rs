//! The streams as erasures read them, and remove from them.

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;

use super::batched_get::{DirectReader, ReadMessage, StartAt};
use super::confirmed_publish::{self, PublishRequest};
use super::connect::JetStreamClient;
use super::floor::{is_router_consumer, least_floor};
use super::headers;
use super::state_bucket::StateBucket;
use super::subjects::Subjects;
use crate::clock;
use crate::delivery::{StreamPosition, is_kept_when_erased};
use crate::event::codec::names::parked;
use crate::recovery::erase::{
    ClearedRecord, ErasableStreams, ErasedStore, SequenceRange, StoreBounds, StoredBatch,
    StoredMessage,
};
use crate::recovery::redrive::ReadError;

/// Reads and changes the streams.
#[derive(Debug)]
pub struct ErasableStreamsOnBroker {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
}

impl ErasableStreamsOnBroker {
    /// Works over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects }
    }

    fn name(&self, store: ErasedStore) -> String {
        match store {
            ErasedStore::Events => self.subjects.events_stream(),
            ErasedStore::Parked => self.subjects.parked_stream(),
            ErasedStore::DeadLetters => self.subjects.dead_letter_stream(),
            ErasedStore::Log => self.subjects.log_stream(),
            ErasedStore::Registry => self.subjects.registry_stream(),
            ErasedStore::Revisions => self.subjects.revisions_stream(),
        }
    }

    /// Returns the subjects that are read; where subjects name sites, those with the token of `site`.
    fn filter(&self, store: ErasedStore, site: Option<&str>) -> String {
        match (store, site) {
            (ErasedStore::Events, Some(site)) => self.subjects.stored_events_of(&site.into()),
            (ErasedStore::Log, Some(site)) => {
                self.subjects.log_filter(None, Some(&site.into()), None)
            }
            _ => ">".to_owned(),
        }
    }

    async fn stream(&self, store: ErasedStore) -> Result<Stream<()>, ReadError> {
        let name = self.name(store);
        self.jetstream_client.context.get_stream_no_info(name).await.map_err(failed)
    }

    async fn bounds_of(&self, store: ErasedStore) -> Result<Option<StoreBounds>, ReadError> {
        let found = self.jetstream_client.context.get_stream(self.name(store)).await;
        match found {
            Ok(stream) => {
                let info = stream.cached_info();
                let last = info.state.last_sequence;
                Ok(Some(StoreBounds { last, denies_delete: info.config.deny_delete }))
            }
            // Such as the delivery log of a router that never had one.
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(failed(error)),
            },
        }
    }

    async fn read_batch(
        &self,
        store: ErasedStore,
        range: SequenceRange,
        site: Option<&str>,
        max: usize,
    ) -> Result<StoredBatch, ReadError> {
        let filter = self.filter(store, site);
        let reader = DirectReader::new(self.jetstream_client.clone(), self.name(store));
        let batch = reader.batch(StartAt::Sequence(range.from), &filter, max).await;
        let read = batch.map_err(ReadError)?;
        let last = read.messages.last().map(|last| last.sequence);
        let is_within = |message: &ReadMessage| message.sequence <= range.to;
        let is_over = read.messages.iter().any(|message| !is_within(message));
        let within = read.messages.into_iter().filter(is_within);
        let mut messages: Vec<StoredMessage> = within.map(of_read).collect();
        if is_over {
            return Ok(StoredBatch { messages, next: None });
        }
        let after = last.map_or(range.from, |last| last.saturating_add(1));
        if read.has_more || after > range.to {
            return Ok(StoredBatch {
                messages,
                next: Some(after).filter(|next| *next <= range.to),
            });
        }
        // The server that answered may not have the last messages yet; the leader has.
        let leader = self.stream(store).await?;
        let next = match leader.get_first_raw_message_by_subject(&filter, after).await {
            Ok(found) if found.sequence <= range.to => {
                let next = found.sequence.saturating_add(1);
                messages.push(of_stored(found));
                Some(next)
            }
            Ok(_) => None,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => None,
            Err(error) => return Err(failed(error)),
        };
        Ok(StoredBatch { messages, next: next.filter(|next| *next <= range.to) })
    }

    /// Returns a message as the leader of the stream has it.
    async fn find(
        &self,
        store: ErasedStore,
        position: StreamPosition,
    ) -> Result<Option<StoredMessage>, ReadError> {
        match self.stream(store).await?.get_raw_message(position.sequence).await {
            Ok(found) => Ok(Some(of_stored(found)).filter(|found| found.position == position)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the least stored floor: a stream that begins above it would have lost events, so what is above
    /// must not be deleted although it is acknowledged.
    async fn acknowledged_events(&self) -> Result<u64, ReadError> {
        let stream = self.jetstream_client.context.get_stream(self.name(ErasedStore::Events)).await;
        let stream = stream.map_err(failed)?;
        let created_ns = stream.cached_info().created.unix_timestamp_nanos();
        let state = StateBucket::new(self.jetstream_client.clone(), self.subjects.state_bucket());
        let (mut consumers, mut floors) = (stream.consumers(), Vec::new());
        while let Some(consumer) = consumers.try_next().await.map_err(failed)? {
            if is_router_consumer(&consumer.name) {
                let stored = state.floor(&consumer.name).await.map_err(failed)?.checkpoint;
                let of_stream = stored.filter(|stored| i128::from(stored.stream) == created_ns);
                floors.push((consumer.name, of_stream.map_or(0, |stored| stored.sequence)));
            }
        }
        let least = least_floor(floors.iter().map(|(name, floor)| (name.as_str(), *floor)));
        Ok(least.unwrap_or(0))
    }

    /// Deletes a message that was read from the leader before; the broker overwrites it.
    async fn delete(
        &self,
        store: ErasedStore,
        position: StreamPosition,
    ) -> Result<bool, ReadError> {
        match self.stream(store).await?.delete_message(position.sequence).await {
            Ok(is_deleted) => Ok(is_deleted),
            Err(error) => match self.find(store, position).await? {
                // It is deleted, by this request or another one.
                None => Ok(false),
                Some(_) => Err(failed(error)),
            },
        }
    }

    /// Replaces a record by one without body, if it is still the last one of its subject: then it has not
    /// fired, and will not.
    async fn clear(&self, record: &StoredMessage) -> Result<ClearedRecord, ReadError> {
        if self.subjects.is_due(&record.subject) {
            return Ok(ClearedRecord::InFlight);
        }
        let message = PublishMessage::build()
            .headers(cleared_headers(record))
            .expected_last_subject_sequence(record.position.sequence);
        let context = &self.jetstream_client.context;
        let subject = record.subject.to_string();
        let stored = async { context.send_publish(subject, message).await?.await };
        match stored.await {
            Ok(_) => Ok(ClearedRecord::Replaced),
            // It fired, or was parked again.
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Ok(ClearedRecord::Absent)
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn replace(
        &self,
        record: &StoredMessage,
        body: Bytes,
        job: &str,
    ) -> Result<bool, ReadError> {
        let request = PublishRequest {
            stream: "log",
            subject: record.subject.to_string(),
            message_id: format!("erase/{job}/{}", record.position),
            headers: HeaderMap::new(),
            body,
        };
        confirmed_publish::once(&self.jetstream_client, &request).await.map_err(failed)?;
        self.delete(ErasedStore::Log, record.position).await
    }
}

/// Returns the headers of a record without body that is due now.
fn cleared_headers(record: &StoredMessage) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in &record.headers {
        let is_target = name.eq_ignore_ascii_case(headers::SCHEDULE_TARGET);
        if is_target || is_kept_when_erased(name) {
            kept.insert(&**name, &**value);
        }
    }
    kept.insert(parked::ERASED, record.body.len().to_string().as_str());
    kept.insert(headers::SCHEDULE, headers::schedule_at(clock::broker_now()).as_str());
    kept
}

fn of_read(message: ReadMessage) -> StoredMessage {
    StoredMessage {
        position: StreamPosition { sequence: message.sequence, stored_ms: message.stored_ms },
        subject: message.subject,
        headers: pairs(&message.headers),
        body: message.payload,
    }
}

fn of_stored(message: StreamMessage) -> StoredMessage {
    let stored_ms = i64::try_from(message.time.unix_timestamp_nanos() / 1_000_000);
    StoredMessage {
        position: StreamPosition {
            sequence: message.sequence,
            stored_ms: stored_ms.unwrap_or(i64::MAX),
        },
        subject: message.subject.as_str().into(),
        headers: pairs(&message.headers),
        body: message.payload,
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(Box<str>, Box<str>)> {
    let pairs = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name.into(), value.as_str().into()))
    });
    pairs.collect()
}

fn failed(error: impl std::fmt::Display) -> ReadError {
    ReadError(error.to_string())
}

impl ErasableStreams for ErasableStreamsOnBroker {
    fn bounds(&self, store: ErasedStore) -> BoxFuture<'_, Result<Option<StoreBounds>, ReadError>> {
        Box::pin(self.bounds_of(store))
    }

    fn read<'a>(
        &'a self,
        store: ErasedStore,
        range: SequenceRange,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<StoredBatch, ReadError>> {
        Box::pin(self.read_batch(store, range, site, max))
    }

    fn get(
        &self,
        store: ErasedStore,
        position: StreamPosition,
    ) -> BoxFuture<'_, Result<Option<StoredMessage>, ReadError>> {
        Box::pin(self.find(store, position))
    }

    fn acknowledged(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        Box::pin(self.acknowledged_events())
    }

    fn remove<'a>(
        &'a self,
        store: ErasedStore,
        message: &'a StoredMessage,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.delete(store, message.position))
    }

    fn clear_parked<'a>(
        &'a self,
        record: &'a StoredMessage,
    ) -> BoxFuture<'a, Result<ClearedRecord, ReadError>> {
        Box::pin(self.clear(record))
    }

    fn replace_record<'a>(
        &'a self,
        record: &'a StoredMessage,
        body: Bytes,
        job: &'a str,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.replace(record, body, job))
    }
}
