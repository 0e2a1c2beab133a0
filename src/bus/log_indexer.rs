//! Writes the index of the delivery log: each chunk once it is full.
//!
//! Every replica looks for chunks that are not indexed. Two may write the same one: both write the same records,
//! and the broker drops what it has by the message id. The last part of a chunk is stored once the others are: a
//! chunk without it is written again.
//! A chunk is indexed once it is some minutes old: a broker that loses power may lose the last records of a
//! stream, and gives their sequences to other records.

use std::time::Duration;

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use futures_util::future::try_join_all;
use metrics::gauge;
use serde::Deserialize;
use uuid::Uuid;

use super::batched_get::{DirectReader, StartAt, StreamBounds};
use super::connect::JetStreamClient;
use super::log_index::{IndexedPart, LogIndexReader};
use super::streams;
use super::subjects::Subjects;
use crate::clock;
use crate::config::Config;
use crate::delivery::{CHUNK_RECORDS, ChunkIndex, ChunkKey, INDEX_BUCKETS, IndexKey};
use crate::domain::CloudId;
use crate::event::codec::names;

/// Shortest pause between two looks for a full chunk.
const PAUSE_MIN: Duration = Duration::from_secs(10);
/// It is longer by up to this, so that replicas do not look at the same time.
const PAUSE_SPREAD_MS: u64 = 10_000;
/// Pause after a chunk, in times of what it took: the index uses at most a fifth of the time.
const PAUSE_FACTOR: u32 = 4;
/// Age from which on records are on the disk of the broker, whose `sync_interval` is two minutes by default.
const STABLE_AFTER: Duration = Duration::from_secs(300);
/// Records of one read.
const BATCH: usize = 10_000;

/// Writes the index of the delivery log.
pub struct LogIndexer {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    config: Config,
    log: DirectReader,
    index: LogIndexReader,
    stable_after: Duration,
    pause_factor: u32,
}

/// The parts of a chunk, with its key; none for a part without index.
type ChunkParts = (ChunkKey, Vec<Option<Bytes>>);

/// What the index needs of a record; strings are borrowed where they have no escapes.
#[derive(Deserialize)]
struct Head<'r> {
    #[serde(borrow)]
    event: EventHead<'r>,
}

#[derive(Deserialize)]
struct EventHead<'r> {
    #[serde(borrow)]
    id: std::borrow::Cow<'r, str>,
    #[serde(borrow)]
    site: std::borrow::Cow<'r, str>,
    #[serde(borrow, default)]
    entity: Option<std::borrow::Cow<'r, str>>,
}

impl LogIndexer {
    /// Indexes the log of `config` over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects, config: Config) -> Self {
        let log = DirectReader::new(jetstream_client.clone(), subjects.log_stream());
        let index = LogIndexReader::new(jetstream_client.clone(), subjects.clone());
        let (stable_after, pause_factor) = (STABLE_AFTER, PAUSE_FACTOR);
        Self { jetstream_client, subjects, config, log, index, stable_after, pause_factor }
    }

    /// Indexes records of any age, and one chunk directly after the other: for tests and benches.
    #[must_use]
    pub fn without_pauses(self) -> Self {
        Self { stable_after: Duration::ZERO, pause_factor: 0, ..self }
    }

    /// Indexes chunks until the future is dropped. Without an index questions take longer, and have the same
    /// answers, so that what fails is tried again and is no reason to stop.
    pub async fn run(self) {
        let mut is_ensured = false;
        let mut was_failing = false;
        loop {
            let started = clock::tick();
            let indexed = self.index_next(&mut is_ensured).await;
            if let Err(error) = &indexed {
                is_ensured = false;
                if !was_failing {
                    tracing::warn!(%error, "the delivery log is not indexed; questions about an entity take longer");
                }
            }
            was_failing = indexed.is_err();
            match indexed {
                Ok(true) => tokio::time::sleep(clock::since(started) * self.pause_factor).await,
                Ok(false) | Err(_) => tokio::time::sleep(pause()).await,
            }
        }
    }

    /// Indexes the next full chunk; returns whether there was one.
    async fn index_next(&self, is_ensured: &mut bool) -> Result<bool, String> {
        if !*is_ensured {
            let context = &self.jetstream_client.context;
            let ensured = streams::ensure_log_index(context, &self.subjects, &self.config).await;
            ensured.map_err(|error| error.to_string())?;
            *is_ensured = true;
        }
        let bounds = self.log.stream_bounds().await?;
        let indexed = self.index.last_chunk(bounds.created_ns).await?;
        let next = indexed.map_or(0, |chunk| chunk.saturating_add(1));
        let chunk = next.max(bounds.first / CHUNK_RECORDS);
        let end = chunk.saturating_add(1).saturating_mul(CHUNK_RECORDS);
        report_unindexed(chunk, &bounds);
        if bounds.last < end || !self.is_stable(end).await? {
            return Ok(false);
        }
        let Some(parts) = self.read_chunk(chunk).await? else { return Ok(false) };
        let part = IndexedPart { created_ns: bounds.created_ns, chunk };
        self.store(part, parts).await?;
        Ok(true)
    }

    /// Whether a record at or after a sequence is old enough.
    async fn is_stable(&self, sequence: u64) -> Result<bool, String> {
        let filter = self.subjects.log_filter(None, None, None);
        let batch = self.log.batch(StartAt::Sequence(sequence), &filter, 1).await?;
        let Some(record) = batch.messages.first() else { return Ok(false) };
        let age_ms = clock::broker_now_ms().saturating_sub(record.stored_ms);
        Ok(u128::try_from(age_ms).is_ok_and(|age_ms| age_ms >= self.stable_after.as_millis()))
    }

    /// Reads a chunk; none if the server that answers does not have all of it yet.
    async fn read_chunk(&self, chunk: u64) -> Result<Option<ChunkParts>, String> {
        let end = chunk.saturating_add(1).saturating_mul(CHUNK_RECORDS);
        let filter = self.subjects.log_filter(None, None, None);
        let (random, _) = Uuid::new_v4().as_u64_pair();
        let mut index = ChunkIndex::new(ChunkKey(random));
        let mut next = chunk.saturating_mul(CHUNK_RECORDS);
        loop {
            let batch = self.log.batch(StartAt::Sequence(next), &filter, BATCH).await?;
            let Some(last) = batch.messages.last() else { return Ok(None) };
            next = last.sequence.saturating_add(1);
            for message in batch.messages.iter().filter(|message| message.sequence < end) {
                // What cannot be read answers no question about an entity.
                let Ok(Head { event }) = serde_json::from_slice(&message.payload) else { continue };
                let site = CloudId::from(&*event.site);
                let key = IndexKey::new(&site, event.entity.as_deref(), &event.id);
                let result = self.subjects.result_of_record(&message.subject);
                index.add(&key, message.sequence, result);
            }
            // A server without the end of the chunk may lack more than that record.
            if next > end {
                return Ok(Some((ChunkKey(random), index.into_bodies())));
            }
            tokio::task::yield_now().await;
        }
    }

    async fn store(&self, part: IndexedPart, (key, bodies): ChunkParts) -> Result<(), String> {
        let context = &self.jetstream_client.context;
        let (header, key) = (part.header(), key.0.to_string());
        let mut confirmations = Vec::with_capacity(bodies.len());
        for (bucket, body) in (0_u8..).zip(bodies) {
            if bucket == INDEX_BUCKETS - 1 {
                confirmed(std::mem::take(&mut confirmations)).await?;
            }
            let mut message = PublishMessage::build()
                .header(names::INDEX_CHUNK, header.as_str())
                .message_id(format!("index/{header}/{bucket}"));
            // A part without a key has no index.
            if let Some(body) = body {
                message = message.payload(body).header(names::INDEX_KEY, key.as_str());
            }
            let sent = context.send_publish(self.subjects.log_index(bucket), message).await;
            confirmations.push(sent.map_err(|error| error.to_string())?.into_future());
        }
        confirmed(confirmations).await
    }
}

async fn confirmed(
    publishes: Vec<impl Future<Output = Result<PublishAck, PublishError>>>,
) -> Result<(), String> {
    try_join_all(publishes).await.map(drop).map_err(|error| error.to_string())
}

/// Sets the metric of how many records no full chunk of the index has yet.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn report_unindexed(next_chunk: u64, bounds: &StreamBounds) {
    let from = next_chunk.saturating_mul(CHUNK_RECORDS).max(bounds.first);
    let records = bounds.last.saturating_add(1).saturating_sub(from);
    gauge!("switchyard_log_unindexed_records").set(records as f64);
}

fn pause() -> Duration {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    PAUSE_MIN + Duration::from_millis(random % PAUSE_SPREAD_MS)
}
