//! Reads the ids of stored events from the headers of the event stream.

use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};

use super::block::{Block, StoredId};
use super::id::RepeatId;
use super::metrics;
use crate::bus::connect::JetStreamClient;
use crate::bus::headers::MessageHeaders;
use crate::bus::stream_reader::{Part, StoredMessage, StreamReader};
use crate::bus::subjects::Subjects;
use crate::bus::trimmer::probe;
use crate::clock;
use crate::domain::token;
use crate::event::codec::{HeaderLookup, decoded, names};
use crate::event::identity;

/// Most sequences of one block.
pub(super) const BLOCK_SEQUENCES: usize = 4_096;
/// Messages of one request. Their headers are read within milliseconds, which live events wait for.
const MESSAGES_AT_ONCE: usize = 64;
/// Rest after each request, as a multiple of the time that it took.
const REST_FACTOR: u32 = 2;
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
    /// Whether live events flow, which go first.
    rests: bool,
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
        Self { jetstream_client, subjects, reader: None, empty_reads: 0, rests: false }
    }

    /// Leaves most of the time to live events from now on.
    pub(super) fn rest_between_reads(&mut self) {
        self.rests = true;
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
        let Some((last, newest_ms)) =
            messages.last().map(|message| (message.sequence, message.stored_ms))
        else {
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
            newest_ms,
            covered: vec![(from, last)],
            ids: messages.into_iter().filter_map(|message| self.stored_id(message)).collect(),
        }))
    }

    /// Returns the id of the event with this sequence, if it has one that is remembered; `None` if there
    /// is no such event.
    pub(super) async fn id_at(
        &self,
        sequence: u64,
    ) -> Result<Option<Option<RepeatId>>, async_nats::Error> {
        let name = self.subjects.events_stream();
        let stream: Stream<()> = self.jetstream_client.context.get_stream_no_info(name).await?;
        let event = match stream.direct_get_next_for_subject(">", Some(sequence)).await {
            Ok(event) if event.sequence == sequence => event,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let headers = MessageHeaders::new(Some(event.headers));
        Ok(Some(self.remembered_id(&event.subject, &headers)))
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
                StreamReader::open(context, &name, (from, ">"), Part::Headers).await?
            }
        };
        let mut messages = Vec::new();
        while messages.len() < count {
            let started = clock::tick();
            // A reader that failed is not kept.
            let read = reader.read(MESSAGES_AT_ONCE.min(count - messages.len())).await?;
            let is_last = read.is_empty();
            messages.extend(read);
            if is_last {
                break;
            }
            if self.rests {
                tokio::time::sleep(clock::since(started).saturating_mul(REST_FACTOR)).await;
            }
        }
        self.reader = Some(reader);
        Ok(messages)
    }

    fn stored_id(&self, message: StoredMessage) -> Option<StoredId> {
        let headers = MessageHeaders::new(message.headers);
        let id = self.remembered_id(&message.subject, &headers)?;
        let site = self.subjects.site_of(&message.subject).into();
        Some(StoredId { id, sequence: message.sequence, site })
    }

    /// Returns the id of an event, if the site that it names is that of its subject. A publisher that may
    /// publish events of one site must not make those of another look like repetitions.
    fn remembered_id(&self, subject: &str, headers: &MessageHeaders) -> Option<RepeatId> {
        let message_id = headers.get(names::MESSAGE_ID)?;
        let identity = decoded(headers, names::MESSAGE_ID).ok()??;
        let (site, _) = identity::split(&identity)?;
        RepeatId::of(message_id).filter(|_| token(&site) == self.subjects.site_of(subject))
    }
}
