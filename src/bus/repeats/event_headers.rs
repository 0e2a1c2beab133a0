//! Reads the ids of stored events from the headers of the event stream.

use async_nats::jetstream::stream::Stream;

use super::block::{Block, StoredId};
use super::id::RepeatId;
use super::metrics;
use super::stream_reader::{Part, StoredMessage, StreamReader};
use crate::bus::connect::JetStreamClient;
use crate::bus::headers::MessageHeaders;
use crate::bus::subjects::Subjects;
use crate::bus::trimmer::probe;
use crate::clock;
use crate::event::codec::{HeaderLookup, names};

/// Most sequences of one block.
pub(super) const BLOCK_SEQUENCES: usize = 4_096;
/// Reads without a message after which the sequences of a range count as deleted. A single one may
/// come from a server that has not caught up.
const EMPTY_READS_MAX: u32 = 3;

/// The event stream in one answer of the broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventStream {
    pub(super) created_ns: i64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Reads the event stream.
#[derive(Debug)]
pub(super) struct EventHeaders {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    reader: Option<StreamReader>,
    empty_reads: u32,
}

/// The result of one read.
#[derive(Debug)]
pub(super) enum ReadHeaders {
    /// The ids of the next events.
    Block(Block),
    /// There are no such events.
    Deleted,
    /// No events came, and the server may lag.
    Nothing,
}

impl EventHeaders {
    pub(super) fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        Self { jetstream_client, subjects, reader: None, empty_reads: 0 }
    }

    /// Returns the state of the stream.
    pub(super) async fn state(&self) -> Result<EventStream, async_nats::Error> {
        let name = self.subjects.events_stream();
        let stream = self.jetstream_client.context.get_stream(name).await?;
        let info = stream.cached_info();
        let created_ns = i64::try_from(info.created.unix_timestamp_nanos())?;
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        Ok(EventStream { created_ns, first, last })
    }

    /// Returns the sequence of the first event that is younger than `age_ms`.
    pub(super) async fn first_younger(
        &self,
        events: EventStream,
        age_ms: i64,
    ) -> Result<u64, async_nats::Error> {
        let name = self.subjects.events_stream();
        let stream: Stream<()> = self.jetstream_client.context.get_stream_no_info(name).await?;
        let oldest_ms = clock::broker_now_ms().saturating_sub(age_ms);
        let (mut low, mut high) = (events.first, events.last.saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            match probe(&stream, middle).await? {
                Some(event) if event.stored_ms < oldest_ms => {
                    low = event.sequence.max(middle).saturating_add(1);
                }
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Reads events from a sequence on, if there are any up to another one.
    pub(super) async fn read(
        &mut self,
        events: EventStream,
        (from, to): (u64, u64),
    ) -> Result<ReadHeaders, async_nats::Error> {
        let count = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let messages = self.messages(from, count.saturating_add(1).min(BLOCK_SEQUENCES)).await?;
        let Some(last) = messages.last() else {
            self.empty_reads += 1;
            if self.empty_reads < EMPTY_READS_MAX {
                return Ok(ReadHeaders::Nothing);
            }
            self.empty_reads = 0;
            return Ok(ReadHeaders::Deleted);
        };
        self.empty_reads = 0;
        metrics::read(messages.len());
        Ok(ReadHeaders::Block(Block {
            created_ns: events.created_ns,
            newest_ms: last.stored_ms,
            covered: vec![(from, last.sequence)],
            ids: messages.iter().filter_map(|message| self.stored_id(message)).collect(),
        }))
    }

    /// Opens the stream again at the next read.
    pub(super) fn restart(&mut self) {
        self.reader = None;
        self.empty_reads = 0;
    }

    /// Returns whether the last read found nothing.
    pub(super) fn may_lag(&self) -> bool {
        self.empty_reads > 0
    }

    async fn messages(
        &mut self,
        from: u64,
        count: usize,
    ) -> Result<Vec<StoredMessage>, async_nats::Error> {
        let mut reader = match self.reader.take().filter(|reader| reader.next() == from) {
            Some(reader) => reader,
            None => {
                let (context, name) =
                    (&self.jetstream_client.context, self.subjects.events_stream());
                StreamReader::open(context, &name, from, Part::Headers).await?
            }
        };
        // A reader that failed is not kept.
        let messages = reader.read(count).await?;
        self.reader = Some(reader);
        Ok(messages)
    }

    fn stored_id(&self, message: &StoredMessage) -> Option<StoredId> {
        let headers = MessageHeaders::new(message.headers.clone());
        let id = RepeatId::of(headers.get(names::MESSAGE_ID)?)?;
        let site = self.subjects.site_of(&message.subject).into();
        Some(StoredId { id, sequence: message.sequence, site })
    }
}
