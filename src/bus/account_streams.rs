//! The streams that the account is made of, as it reads them.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use super::batched_get::{DirectReader, ReadMessage, StartAt};
use super::connect::JetStreamClient;
use super::delivery_log::FLOOR_PREFIX;
use super::direct_get::{self, LastMessages};
use super::headers::MessageHeaders;
use super::subjects::{ROUTER_CONSUMER, Subjects};
use crate::clock;
use crate::domain::CloudId;
use crate::event::codec::HeaderLookup;
use crate::event::codec::names;
use crate::recovery::account::{
    AccountStreams, LogBatch, LogBounds, LogRecord, LogStart, ParkedIds, RecordNumber, SeriesFloor,
    StreamsError,
};

/// Due deliveries of one read.
const DUE_BATCH: usize = 500;
/// Most bytes of due deliveries that one look reads. Their ids are in headers, and the broker returns
/// the bodies, too.
const DUE_BYTES_MAX: usize = 64 << 20;

/// Reads the streams of the account.
#[derive(Debug)]
pub struct AccountStreamReader {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    log: DirectReader,
    parked: DirectReader,
}

impl AccountStreamReader {
    /// Reads over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        let log = DirectReader::new(jetstream_client.clone(), subjects.log_stream());
        let parked = DirectReader::new(jetstream_client.clone(), subjects.parked_stream());
        Self { jetstream_client, subjects, log, parked }
    }

    async fn bounds(&self) -> Result<LogBounds, StreamsError> {
        let stream = self.subjects.log_stream();
        let stream = self.jetstream_client.context.get_stream(stream).await.map_err(failed)?;
        let state = &stream.cached_info().state;
        let first_ms = match (state.messages, state.last_sequence) {
            (0, 0) => None,
            // All records were deleted.
            (0, _) => Some(clock::broker_now_ms()),
            _ => i64::try_from(state.first_timestamp.unix_timestamp_nanos() / 1_000_000).ok(),
        };
        Ok(LogBounds { first: state.first_sequence, last: state.last_sequence, first_ms })
    }

    async fn read(
        &self,
        start: LogStart,
        site: Option<&str>,
        max: usize,
    ) -> Result<LogBatch, StreamsError> {
        let site = site.map(CloudId::from);
        let filter = self.subjects.log_filter(None, site.as_ref(), None);
        let start = match start {
            LogStart::Sequence(sequence) => StartAt::Sequence(sequence),
            LogStart::Time(ms) => StartAt::Time(ms),
        };
        let batch = self.log.batch(start, &filter, max).await.map_err(StreamsError)?;
        let records = batch.messages.into_iter().map(record).collect();
        Ok(LogBatch { records, has_more: batch.has_more })
    }

    async fn read_parked(&self) -> Result<ParkedIds, StreamsError> {
        let stream = self.subjects.parked_stream();
        let stream = self.jetstream_client.context.get_stream_no_info(stream).await;
        let stream = stream.map_err(failed)?;
        let mut ids = Vec::new();
        count(&stream, self.subjects.retry_pattern(), |subject| {
            ids.extend(subject.rsplit('.').next().map(Box::from));
        })
        .await?;
        let due = count(&stream, self.subjects.due_pattern(), |_| {}).await?;
        if due == 0 {
            return Ok(ParkedIds { ids, unread: 0 });
        }
        let (mut sequence, mut bytes, mut read) = (1, 0, 0);
        loop {
            let start = StartAt::Sequence(sequence);
            let batch = self.parked.batch(start, &self.subjects.due_pattern(), DUE_BATCH).await;
            let batch = batch.map_err(StreamsError)?;
            let last = batch.messages.last().map(|last| last.sequence);
            for message in batch.messages {
                read += 1;
                bytes += message.payload.len();
                let headers = MessageHeaders::new(Some(message.headers));
                ids.extend(headers.get(names::DELIVERY_ID).map(Box::from));
            }
            match last.filter(|_| batch.has_more) {
                Some(_) if bytes > DUE_BYTES_MAX => {
                    return Ok(ParkedIds { ids, unread: due.saturating_sub(read).max(1) });
                }
                Some(last) => sequence = last.saturating_add(1),
                None => return Ok(ParkedIds { ids, unread: 0 }),
            }
        }
    }

    async fn read_floors(&self) -> Result<Vec<SeriesFloor>, StreamsError> {
        let prefix = format!("$KV.{}.{FLOOR_PREFIX}", self.subjects.state_bucket());
        let stream = self.subjects.state_stream();
        let pattern = [format!("{prefix}>")];
        let found = direct_get::last_of(&self.jetstream_client, &stream, &pattern).await;
        // Without floors, only the last records of processes are not examined.
        let LastMessages::All(messages) = found.map_err(StreamsError)? else {
            return Ok(Vec::new());
        };
        let floor = |message: &async_nats::jetstream::message::StreamMessage| {
            let series = message.subject.strip_prefix(&*prefix)?.into();
            let floor = std::str::from_utf8(&message.payload).ok()?.parse().ok()?;
            Some(SeriesFloor { series, floor })
        };
        Ok(messages.iter().filter_map(floor).collect())
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

/// Calls `each` with each subject of a pattern; returns the number of messages.
async fn count(
    stream: &Stream<()>,
    pattern: String,
    mut each: impl FnMut(&str),
) -> Result<u64, StreamsError> {
    let mut subjects = stream.info_with_subjects(pattern).await.map_err(failed)?;
    let mut total = 0_u64;
    while let Some(counted) = subjects.next().await {
        let (subject, messages) = counted.map_err(failed)?;
        total = total.saturating_add(u64::try_from(messages).unwrap_or(u64::MAX));
        each(&subject);
    }
    Ok(total)
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

    fn read_log<'a>(
        &'a self,
        start: LogStart,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<LogBatch, StreamsError>> {
        Box::pin(self.read(start, site, max))
    }

    fn parked(&self) -> BoxFuture<'_, Result<ParkedIds, StreamsError>> {
        Box::pin(self.read_parked())
    }

    fn floors(&self) -> BoxFuture<'_, Result<Vec<SeriesFloor>, StreamsError>> {
        Box::pin(self.read_floors())
    }

    fn in_flight(&self) -> BoxFuture<'_, Result<u64, StreamsError>> {
        Box::pin(self.unacknowledged())
    }
}
