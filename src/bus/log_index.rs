//! Reads the index of the delivery log: which records of its chunks are about an entity.

use std::collections::BTreeMap;

use super::batched_get::{DirectReader, ReadMessage, StartAt};
use super::connect::JetStreamClient;
use super::subjects::Subjects;
use crate::delivery::{CHUNK_RECORDS, ChunkKey, INDEX_BUCKETS, IndexKey, LogResult, sequences_in};
use crate::event::codec::names;

/// Messages of one read.
const BATCH: usize = 1_000;
/// Most records that are read one by one of a chunk.
const NAMED_OF_CHUNK_MAX: usize = 512;

/// Reads the index.
#[derive(Debug)]
pub(super) struct LogIndexReader {
    reader: DirectReader,
    subjects: Subjects,
}

/// Chunks of the log that are indexed, with the sequences of the records in each that may be about an entity,
/// in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct IndexedChunks(pub(super) BTreeMap<u64, Vec<u64>>);

/// What a message of the index is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IndexedPart {
    /// When the stream of the log was created, nanoseconds since the epoch.
    pub(super) created_ns: i128,
    /// Number of the chunk.
    pub(super) chunk: u64,
}

impl IndexedPart {
    /// Returns the value of the header [`names::INDEX_CHUNK`].
    pub(super) fn header(self) -> String {
        format!("{}-{}", self.created_ns, self.chunk)
    }

    pub(super) fn of(message: &ReadMessage) -> Option<Self> {
        let (created_ns, chunk) = text(message, names::INDEX_CHUNK)?.split_once('-')?;
        Some(Self { created_ns: created_ns.parse().ok()?, chunk: chunk.parse().ok()? })
    }
}

fn text<'m>(message: &'m ReadMessage, name: &str) -> Option<&'m str> {
    message.headers.get(name).map(async_nats::HeaderValue::as_str)
}

impl LogIndexReader {
    pub(super) fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        let reader = DirectReader::new(jetstream_client, subjects.log_index_stream());
        Self { reader, subjects }
    }

    /// Returns the chunks between two sequences that are indexed, of the log that was created at a time: with
    /// the records of a result, if one is named. A chunk that names very many is left out: they are read
    /// faster by subject.
    ///
    /// # Errors
    /// The broker does not answer, or there is no index; one sentence.
    pub(super) async fn chunks_of(
        &self,
        (key, result): (&IndexKey, Option<LogResult>),
        created_ns: i128,
        (first, last): (u64, u64),
    ) -> Result<IndexedChunks, String> {
        let range = first / CHUNK_RECORDS..=last / CHUNK_RECORDS;
        let filter = self.subjects.log_index(key.bucket());
        let (mut chunks, mut next) = (BTreeMap::new(), 1);
        loop {
            let batch = self.reader.batch(StartAt::Sequence(next), &filter, BATCH).await?;
            let Some(last) = batch.messages.last() else { break };
            next = last.sequence.saturating_add(1);
            for message in &batch.messages {
                let Some(part) = IndexedPart::of(message) else { continue };
                if part.created_ns != created_ns || !range.contains(&part.chunk) {
                    continue;
                }
                let chunk_key = text(message, names::INDEX_KEY).and_then(|text| text.parse().ok());
                let Some(chunk_key) = chunk_key.map(ChunkKey) else { continue };
                let found = sequences_in(&message.payload, (part.chunk, chunk_key), key, result);
                if found.len() <= NAMED_OF_CHUNK_MAX {
                    chunks.insert(part.chunk, found);
                }
            }
            if !batch.has_more {
                break;
            }
        }
        Ok(IndexedChunks(chunks))
    }

    /// Returns the last chunk whose index is complete, of the log that was created at a time; none if there is
    /// none.
    ///
    /// # Errors
    /// The broker does not answer, or there is no index; one sentence.
    pub(super) async fn last_chunk(&self, created_ns: i128) -> Result<Option<u64>, String> {
        let (_, last) = self.reader.bounds().await?;
        // Another server than the leader may not have the last message yet.
        let found = self.reader.next_on_leader(last, &self.subjects.log_index_pattern()).await?;
        let Some(message) = found else { return Ok(None) };
        let part = IndexedPart::of(&message).filter(|part| part.created_ns == created_ns);
        // The parts of a chunk are stored in order.
        let is_complete = *message.subject == *self.subjects.log_index(INDEX_BUCKETS - 1);
        Ok(part.and_then(
            |part| if is_complete { Some(part.chunk) } else { part.chunk.checked_sub(1) },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_is_named_by_a_header() {
        let part = IndexedPart { created_ns: 1_764_547_200_000_000_000, chunk: 305 };
        let mut message = ReadMessage::default();
        assert_eq!(IndexedPart::of(&message), None);
        message.headers.insert(names::INDEX_CHUNK, part.header().as_str());
        assert_eq!(IndexedPart::of(&message), Some(part));
        message.headers.insert(names::INDEX_CHUNK, "17-x");
        assert_eq!(IndexedPart::of(&message), None);
    }
}
