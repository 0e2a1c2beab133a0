//! The streams that the account is made of, as it reads them.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use super::batched_get::{DirectReader, ReadMessage, StartAt};
use super::connect::JetStreamClient;
use super::delivery_log::FLOOR_PREFIX;
use super::direct_get::{self, LastMessages};
use super::headers::MessageHeaders;
use super::log_off_mark::LogOffMark;
use super::subjects::{ROUTER_CONSUMER, Subjects};
use crate::clock;
use crate::domain::CloudId;
use crate::event::codec::HeaderLookup;
use crate::event::codec::names;
use crate::recovery::account::{
    AccountStreams, IdSink, LetterOnLeader, LogBounds, LogRecord, RecordBatch, RecordNumber,
    SERIES_MAX, SeriesFloor, StreamsError,
};

/// Due deliveries of one read.
const DUE_BATCH: usize = 500;
/// Most bytes of due deliveries that one look reads. Their ids are in headers, and the broker returns
/// the bodies, too.
const DUE_BYTES_MAX: usize = 64 << 20;
/// Floors of one read; the broker returns 1,024 at once at most.
const FLOORS_BATCH: usize = 1_000;

/// Reads the streams of the account.
#[derive(Debug)]
pub struct AccountStreamReader {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    log: DirectReader,
    letters: DirectReader,
    parked: DirectReader,
    off_mark: LogOffMark,
}

impl AccountStreamReader {
    /// Reads over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        let log = DirectReader::new(jetstream_client.clone(), subjects.log_stream());
        let letters = DirectReader::new(jetstream_client.clone(), subjects.dead_letter_stream());
        let parked = DirectReader::new(jetstream_client.clone(), subjects.parked_stream());
        let off_mark = LogOffMark::new(jetstream_client.clone(), subjects.clone());
        Self { jetstream_client, subjects, log, letters, parked, off_mark }
    }

    async fn bounds(&self) -> Result<LogBounds, StreamsError> {
        let off_until_ms = self.off_mark.until_ms().await.map_err(StreamsError)?;
        let stream = self.subjects.log_stream();
        let stream = self.jetstream_client.context.get_stream(stream).await.map_err(failed)?;
        let state = &stream.cached_info().state;
        let ms = |nanos: i128| i64::try_from(nanos / 1_000_000).ok();
        let last_ms = ms(state.last_timestamp.unix_timestamp_nanos());
        let first_ms = match state.messages {
            0 => Some(clock::broker_now_ms()),
            _ => ms(state.first_timestamp.unix_timestamp_nanos()),
        };
        Ok(LogBounds {
            first: state.first_sequence,
            last: state.last_sequence,
            records: state.messages,
            times_ms: first_ms.zip(last_ms).filter(|_| state.last_sequence > 0),
            off_until_ms,
        })
    }

    async fn first_record_at(&self, time_ms: i64) -> Result<Option<u64>, StreamsError> {
        let filter = self.subjects.log_filter(None, None, None);
        let batch = self.log.batch(StartAt::Time(time_ms), &filter, 1).await;
        let batch = batch.map_err(StreamsError)?;
        Ok(batch.messages.first().map(|record| record.sequence))
    }

    async fn read(
        &self,
        from: u64,
        site: Option<&str>,
        max: usize,
    ) -> Result<RecordBatch, StreamsError> {
        let site = site.map(CloudId::from);
        let filter = self.subjects.log_filter(None, site.as_ref(), None);
        let batch = self
            .log
            .batch_to_end(StartAt::Sequence(from), &filter, max)
            .await
            .map_err(StreamsError)?;
        let records = batch.messages.into_iter().map(record).collect();
        Ok(RecordBatch { records, has_more: batch.has_more })
    }

    async fn next_letter(&self, from: u64) -> Result<Option<LetterOnLeader>, StreamsError> {
        let pattern = self.subjects.dead_letter_pattern();
        let found = self.letters.next_on_leader(from, &pattern).await.map_err(StreamsError)?;
        Ok(found.map(|letter| {
            let headers = MessageHeaders::new(Some(letter.headers));
            LetterOnLeader {
                sequence: letter.sequence,
                stored_ms: letter.stored_ms,
                delivery: headers.get(names::DELIVERY_ID).map(Box::from),
            }
        }))
    }

    async fn read_parked(&self, each: &mut IdSink<'_>) -> Result<u64, StreamsError> {
        let stream = self.subjects.parked_stream();
        let stream = self.jetstream_client.context.get_stream_no_info(stream).await;
        let stream = stream.map_err(failed)?;
        let mut takes_more = true;
        count(&stream, self.subjects.retry_pattern(), |subject| {
            takes_more = subject.rsplit('.').next().is_none_or(&mut *each);
            takes_more
        })
        .await?;
        let due = count(&stream, self.subjects.due_pattern(), |_| true).await?;
        if due == 0 || !takes_more {
            return Ok(0);
        }
        let (mut sequence, mut bytes, mut read) = (1, 0, 0);
        loop {
            let pattern = self.subjects.due_pattern();
            let batch =
                self.parked.batch_to_end(StartAt::Sequence(sequence), &pattern, DUE_BATCH).await;
            let batch = batch.map_err(StreamsError)?;
            let last = batch.messages.last().map(|last| last.sequence);
            for message in batch.messages {
                read += 1;
                bytes += message.payload.len();
                let headers = MessageHeaders::new(Some(message.headers));
                if !headers.get(names::DELIVERY_ID).is_none_or(&mut *each) {
                    return Ok(0);
                }
            }
            match last.filter(|_| batch.has_more) {
                Some(_) if bytes > DUE_BYTES_MAX => return Ok(due.saturating_sub(read).max(1)),
                Some(last) => sequence = last.saturating_add(1),
                None => return Ok(0),
            }
        }
    }

    async fn read_floors(&self) -> Result<Vec<SeriesFloor>, StreamsError> {
        let prefix = format!("$KV.{}.{FLOOR_PREFIX}", self.subjects.state_bucket());
        let name = self.subjects.state_stream();
        let stream = self.jetstream_client.context.get_stream_no_info(&name).await;
        let stream = stream.map_err(failed)?;
        let mut keys = Vec::new();
        count(&stream, format!("{prefix}>"), |subject| {
            keys.push(subject.to_owned());
            keys.len() <= SERIES_MAX
        })
        .await?;
        if keys.len() > SERIES_MAX {
            return Err(StreamsError(format!("more than {SERIES_MAX} floors of record numbers")));
        }
        let mut floors = Vec::with_capacity(keys.len());
        for keys in keys.chunks(FLOORS_BATCH) {
            let found = direct_get::last_of(&self.jetstream_client, &name, keys).await;
            let LastMessages::All(messages) = found.map_err(StreamsError)? else {
                return Err(StreamsError("the broker does not return the floors".to_owned()));
            };
            floors.extend(messages.iter().filter_map(|message| floor(message, &prefix)));
        }
        Ok(floors)
    }

    async fn unacknowledged(&self) -> Result<u64, StreamsError> {
        let stream = self.subjects.events_stream();
        let consumer: PullConsumer = self
            .jetstream_client
            .context
            .get_consumer_from_stream(ROUTER_CONSUMER, stream)
            .await
            .map_err(failed)?;
        let info = consumer.cached_info();
        let unacknowledged = u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX);
        Ok(info.num_pending.saturating_add(unacknowledged))
    }
}

/// Calls `each` with each subject of a pattern until it takes no more; returns the number of messages of
/// these.
async fn count(
    stream: &Stream<()>,
    pattern: String,
    mut each: impl FnMut(&str) -> bool,
) -> Result<u64, StreamsError> {
    let mut subjects = stream.info_with_subjects(pattern).await.map_err(failed)?;
    let mut total = 0_u64;
    while let Some(counted) = subjects.next().await {
        let (subject, messages) = counted.map_err(failed)?;
        total = total.saturating_add(u64::try_from(messages).unwrap_or(u64::MAX));
        if !each(&subject) {
            break;
        }
    }
    Ok(total)
}

fn floor(message: &StreamMessage, prefix: &str) -> Option<SeriesFloor> {
    let series = message.subject.strip_prefix(prefix)?.into();
    let floor = std::str::from_utf8(&message.payload).ok()?.parse().ok()?;
    Some(SeriesFloor { series, floor })
}

fn record(message: ReadMessage) -> LogRecord {
    let headers = MessageHeaders::new(Some(message.headers));
    let id = headers.get(names::MESSAGE_ID);
    let number = id.and_then(|id| RecordNumber::parse(id, headers.get(names::LOG_FLOOR)));
    LogRecord { sequence: message.sequence, number, body: message.payload }
}

fn failed(error: impl std::fmt::Display) -> StreamsError {
    StreamsError(error.to_string())
}

impl AccountStreams for AccountStreamReader {
    fn log_bounds(&self) -> BoxFuture<'_, Result<LogBounds, StreamsError>> {
        Box::pin(self.bounds())
    }

    fn record_at(&self, time_ms: i64) -> BoxFuture<'_, Result<Option<u64>, StreamsError>> {
        Box::pin(self.first_record_at(time_ms))
    }

    fn read_log<'a>(
        &'a self,
        from: u64,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<RecordBatch, StreamsError>> {
        Box::pin(self.read(from, site, max))
    }

    fn letter_from(
        &self,
        sequence: u64,
    ) -> BoxFuture<'_, Result<Option<LetterOnLeader>, StreamsError>> {
        Box::pin(self.next_letter(sequence))
    }

    fn parked<'a>(&'a self, each: &'a mut IdSink<'_>) -> BoxFuture<'a, Result<u64, StreamsError>> {
        Box::pin(self.read_parked(each))
    }

    fn floors(&self) -> BoxFuture<'_, Result<Vec<SeriesFloor>, StreamsError>> {
        Box::pin(self.read_floors())
    }

    fn in_flight(&self) -> BoxFuture<'_, Result<u64, StreamsError>> {
        Box::pin(self.unacknowledged())
    }
}
