//! The stream of blocks that replicas share.

use std::collections::BTreeSet;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::State;

use super::block::Block;
use super::metrics;
use crate::bus::confirmed_publish::{self, PublishRequest};
use crate::bus::connect::JetStreamClient;
use crate::bus::stream_reader::{Part, StreamReader};
use crate::bus::subjects::Subjects;
use crate::clock;

/// Blocks of one read.
const READ_MAX: usize = 256;

/// Reads the blocks of all replicas in order, and writes those of this one.
#[derive(Debug)]
pub(super) struct BlockStream {
    jetstream_client: JetStreamClient,
    name: String,
    subject: String,
    /// Names this replica in message ids.
    replica: String,
    written: u64,
    /// Sequences of own blocks that are not reached yet.
    own: BTreeSet<u64>,
    reader: Option<StreamReader>,
    /// The first block that was not read.
    next: u64,
    created_ns: Option<i128>,
    has_blocks: bool,
}

/// The result of one read.
#[derive(Debug)]
pub(super) enum ReadBlocks {
    /// The next blocks of other replicas.
    Next {
        blocks: Vec<Block>,
        /// Whether there are no more.
        is_last: bool,
    },
    /// The stream was emptied, or deleted and created again. What was read before says nothing.
    Emptied,
}

impl BlockStream {
    pub(super) fn new(jetstream_client: JetStreamClient, subjects: &Subjects) -> Self {
        let connection = jetstream_client.client.server_info().client_id;
        Self {
            name: subjects.repeats_stream(),
            subject: subjects.repeats(),
            replica: format!("{}-{connection}", clock::now().as_nanosecond()),
            jetstream_client,
            written: 0,
            own: BTreeSet::new(),
            reader: None,
            next: 1,
            created_ns: None,
            has_blocks: false,
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn read(&mut self) -> Result<ReadBlocks, async_nats::Error> {
        let stream = self.jetstream_client.context.get_stream(&self.name).await?;
        let info = stream.cached_info();
        let (created_ns, last) = (info.created.unix_timestamp_nanos(), info.state.last_sequence);
        let is_another = self.created_ns.is_some_and(|known| known != created_ns);
        let is_emptied = self.has_blocks && is_emptied(&info.state, self.next, &self.own);
        self.created_ns = Some(created_ns);
        if is_another || is_emptied {
            self.restart();
            return Ok(ReadBlocks::Emptied);
        }
        while self.own.remove(&self.next) {
            self.next = self.next.saturating_add(1);
        }
        if self.next > last || info.state.messages == 0 {
            return Ok(ReadBlocks::Next { blocks: Vec::new(), is_last: true });
        }
        let blocks = self.read_next(last).await.inspect_err(|_| self.reader = None)?;
        Ok(ReadBlocks::Next { blocks, is_last: self.next > last })
    }

    /// Reads all blocks again, own ones too.
    pub(super) fn restart(&mut self) {
        self.own.clear();
        self.reader = None;
        self.next = 1;
        self.has_blocks = false;
    }

    async fn read_next(&mut self, last: u64) -> Result<Vec<Block>, async_nats::Error> {
        let reader = match self.reader.take().filter(|reader| reader.next() == self.next) {
            Some(reader) => reader,
            None => {
                let (context, from) = (&self.jetstream_client.context, (self.next, ">"));
                StreamReader::open(context, &self.name, from, Part::Whole).await?
            }
        };
        let reader = self.reader.insert(reader);
        let messages = reader.read(READ_MAX).await?;
        if messages.is_empty() {
            // Blocks expired since the stream was asked for its state.
            self.next = last.saturating_add(1);
            self.reader = None;
        }
        let mut blocks = Vec::with_capacity(messages.len());
        for message in messages {
            self.next = message.sequence.saturating_add(1);
            self.has_blocks = true;
            if self.own.remove(&message.sequence) {
                continue;
            }
            match Block::decode(&message.body) {
                Ok(block) => blocks.push(block),
                // What it covers is read from the event stream, like what no block covers.
                Err(error) => {
                    metrics::block("unreadable");
                    tracing::warn!(%error, sequence = message.sequence, "block of ids is unreadable");
                }
            }
        }
        Ok(blocks)
    }

    /// Writes a block.
    ///
    /// # Errors
    /// It is not known to be stored; the same ids may be written again.
    pub(super) async fn write(&mut self, block: &Block) -> Result<(), async_nats::Error> {
        self.written = self.written.saturating_add(1);
        let request = PublishRequest {
            stream: "repeats",
            subject: self.subject.clone(),
            message_id: format!("{}/{}", self.replica, self.written),
            headers: HeaderMap::new(),
            body: block.encode().into(),
        };
        let ack = confirmed_publish::once(&self.jetstream_client, &request).await?;
        metrics::block("written");
        self.has_blocks = true;
        self.own.insert(ack.sequence);
        Ok(())
    }

    /// Deletes all blocks, so that all replicas read the ids of the event stream again.
    ///
    /// # Errors
    /// The broker does not answer.
    pub(super) async fn purge(&self) -> Result<(), async_nats::Error> {
        let stream = self.jetstream_client.context.get_stream_no_info(&self.name).await?;
        stream.purge().await?;
        Ok(())
    }
}

/// Whether none of the blocks before `next` is left, or one of the newer `own` ones is not. Another
/// replica may have written new ones since they were purged, so the stream need not be empty.
fn is_emptied(state: &State, next: u64, own: &BTreeSet<u64>) -> bool {
    let has_read = next > 1;
    let is_own_deleted = own.first().is_some_and(|own| *own < state.first_sequence);
    state.messages == 0
        || state.last_sequence.saturating_add(1) < next
        || is_own_deleted
        || (has_read && state.first_sequence >= next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(first_sequence: u64, last_sequence: u64) -> State {
        let messages = (last_sequence + 1).saturating_sub(first_sequence);
        let state = serde_json::json!({
            "messages": messages, "bytes": 0, "first_seq": first_sequence, "last_seq": last_sequence,
            "first_ts": "0001-01-01T00:00:00Z", "last_ts": "0001-01-01T00:00:00Z",
            "consumer_count": 0,
        });
        serde_json::from_value(state).unwrap()
    }

    #[test]
    fn a_purge_is_seen_although_a_block_was_written_after_it() {
        assert!(is_emptied(&state(61, 60), 61, &BTreeSet::new()), "purged");
        assert!(is_emptied(&state(61, 61), 61, &BTreeSet::new()), "purged, then written");
        assert!(
            is_emptied(&state(61, 61), 58, &BTreeSet::new()),
            "purged before all were read, then written"
        );
        assert!(is_emptied(&state(1, 3), 61, &BTreeSet::new()), "begins again");
        assert!(is_emptied(&state(2, 2), 1, &BTreeSet::from([1])), "the own first block");
    }

    #[test]
    fn blocks_that_expire_are_no_purge() {
        assert!(!is_emptied(&state(1, 60), 61, &BTreeSet::new()), "all are read");
        assert!(
            !is_emptied(&state(60, 70), 61, &BTreeSet::new()),
            "the last one that was read is stored"
        );
        assert!(!is_emptied(&state(1, 1), 1, &BTreeSet::from([1])), "own block, none is read yet");
        assert!(
            !is_emptied(&state(1_000, 1_020), 1, &BTreeSet::new()),
            "older ones expired before the start"
        );
    }
}
