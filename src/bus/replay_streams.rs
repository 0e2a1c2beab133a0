//! Reads what replays need: events, the delivery log, and the schedules of parked deliveries. Without a
//! consumer, unless many events are read.

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::StreamMessage;
use futures_util::future::BoxFuture;

use super::batched_get::{BEHIND_LOOKS, BEHIND_PAUSE, DirectReader, ReadMessage, StartAt as Start};
use super::connect::JetStreamClient;
use super::direct_get::{self, LastMessages};
use super::headers::MessageHeaders;
use super::log_off_mark::LogOffMark;
use super::stream_reader::{Part, StoredMessage, StreamReader};
use super::subjects::{ROUTER_CONSUMER, Subjects, subject_attributes};
use crate::domain::{CloudId, DeliveryId};
use crate::event::codec::{decoded, names};
use crate::recovery::redrive::ReadError;
use crate::recovery::replay::{
    EventBatch, EventBounds, EventMessage, ForwardReader, LogBatch, LogBounds, ReplayStreams,
    StartAt,
};

/// How much the clocks of two servers of the broker may differ, in milliseconds.
const SKEW_MS: i64 = 5_000;
/// How names of headers begin that the broker adds to its answers, among others: half of all.
const OF_BROKER: &str = "Nats-";
/// Records of the delivery log of one read.
const RECORDS_MAX: usize = 1_000;

/// Reads the streams.
#[derive(Clone, Debug)]
pub struct ReplayStreamReader {
    jetstream_client: JetStreamClient,
    subjects: Subjects,
    events: DirectReader,
    /// None if the delivery log is off.
    log: Option<DirectReader>,
    off_mark: LogOffMark,
}

impl ReplayStreamReader {
    /// Reads over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects, has_log: bool) -> Self {
        let reader = |stream| DirectReader::new(jetstream_client.clone(), stream);
        let events = reader(subjects.events_stream());
        let log = has_log.then(|| reader(subjects.log_stream()));
        let off_mark = LogOffMark::new(jetstream_client.clone(), subjects.clone());
        Self { jetstream_client, subjects, events, log, off_mark }
    }

    async fn bounds(&self) -> Result<EventBounds, ReadError> {
        let context = &self.jetstream_client.context;
        let stream = context.get_stream(self.subjects.events_stream()).await.map_err(failed)?;
        let router: PullConsumer = stream.get_consumer(ROUTER_CONSUMER).await.map_err(failed)?;
        let state = &stream.cached_info().state;
        let is_empty = state.messages == 0;
        let first_ms = i64::try_from(state.first_timestamp.unix_timestamp_nanos() / 1_000_000);
        Ok(EventBounds {
            created_ms: milliseconds(stream.cached_info().created.unix_timestamp_nanos()),
            first: state.first_sequence.max(1),
            first_ms: first_ms.ok().filter(|_| !is_empty),
            last: state.last_sequence,
            settled: router.cached_info().ack_floor.stream_sequence,
        })
    }

    async fn events_matching(
        &self,
        filter: &str,
        from: StartAt,
        max: usize,
    ) -> Result<EventBatch, ReadError> {
        let batch = self.events.batch_to_end(start(from), filter, max).await.map_err(ReadError)?;
        let events = batch.messages.into_iter().map(event).collect();
        Ok(EventBatch { events, after_first: batch.after_first, has_more: batch.has_more })
    }

    async fn bounds_of_log(&self) -> Result<Option<LogBounds>, ReadError> {
        if self.log.is_none() {
            return Ok(None);
        }
        let off_until_ms = self.off_mark.until_ms().await.map_err(ReadError)?;
        let context = &self.jetstream_client.context;
        let stream = context.get_stream(self.subjects.log_stream()).await.map_err(failed)?;
        let info = stream.cached_info();
        let state = &info.state;
        let is_empty = state.messages == 0;
        let edge = if is_empty { state.last_timestamp } else { state.first_timestamp };
        let kept_from_ms = kept_from_ms(
            (state.first_sequence, state.last_sequence),
            milliseconds(info.created.unix_timestamp_nanos()),
            milliseconds(edge.unix_timestamp_nanos()),
        );
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        Ok(Some(LogBounds { first, last, kept_from_ms, off_until_ms }))
    }

    async fn log_of(&self, site: &CloudId, from: StartAt) -> Result<LogBatch, ReadError> {
        let Some(log) = &self.log else { return Ok(LogBatch::default()) };
        let filter = self.subjects.log_filter(None, Some(site), None);
        // A record that is not read would make a delivery seem to be missing.
        let batch = log.batch_to_end(start(from), &filter, RECORDS_MAX).await.map_err(ReadError)?;
        let last = batch.messages.last().map(|message| message.sequence);
        let records = batch.messages.into_iter().map(|message| message.payload).collect();
        Ok(LogBatch { records, last, has_more: batch.has_more })
    }

    async fn schedules_of(&self, ids: &[DeliveryId]) -> Result<Vec<Option<String>>, ReadError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let subjects: Vec<String> = ids.iter().map(|id| self.subjects.retry(id.as_str())).collect();
        let stream = self.subjects.parked_stream();
        let found = direct_get::last_of(&self.jetstream_client, &stream, &subjects).await;
        let LastMessages::All(found) = found.map_err(ReadError)? else {
            return Err(ReadError("too many schedules at once".to_owned()));
        };
        let of = |subject: &String| {
            let message = found.iter().find(|message| *message.subject == **subject)?;
            Some(job_of(message))
        };
        Ok(subjects.iter().map(of).collect())
    }
}

/// Returns since when no record of an event was deleted. `edge_ms` is when the oldest record was stored,
/// or, in a log that was emptied, the newest one that it had.
fn kept_from_ms((first, last): (u64, u64), created_ms: i64, edge_ms: i64) -> i64 {
    // It never deleted a record, or never had one.
    if first <= 1 || last == 0 {
        return created_ms;
    }
    // The times of events and of their records are those of the servers that lead the two streams.
    edge_ms.saturating_add(SKEW_MS).max(created_ms)
}

fn milliseconds(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}

/// Returns the job that handed a parked delivery over; the empty text if none did.
fn job_of(message: &StreamMessage) -> String {
    let headers = MessageHeaders::new(Some(message.headers.clone()));
    let job = decoded(&headers, names::JOB).ok().flatten();
    job.map(std::borrow::Cow::into_owned).unwrap_or_default()
}

fn start(from: StartAt) -> Start {
    match from {
        StartAt::Sequence(sequence) => Start::Sequence(sequence),
        StartAt::Time(ms) => Start::Time(ms),
    }
}

fn event(message: ReadMessage) -> EventMessage {
    let address = subject_attributes(&message.subject);
    let (site, event_type) = (address.cloud_id.map(Into::into), address.event_type.map(Into::into));
    let headers = message.headers.iter().filter_map(|(name, values)| {
        let name: &str = name.as_ref();
        let is_of_event =
            !name.starts_with(OF_BROKER) || name.eq_ignore_ascii_case(names::MESSAGE_ID);
        Some((name.into(), values.first().filter(|_| is_of_event)?.as_str().into()))
    });
    EventMessage {
        sequence: message.sequence,
        stored_ms: message.stored_ms,
        site,
        event_type,
        headers: headers.collect(),
        body: message.payload,
    }
}

fn failed(error: impl std::fmt::Display) -> ReadError {
    ReadError(error.to_string())
}

impl ReplayStreams for ReplayStreamReader {
    fn event_bounds(&self) -> BoxFuture<'_, Result<EventBounds, ReadError>> {
        Box::pin(self.bounds())
    }

    fn read_events<'a>(
        &'a self,
        site: &'a CloudId,
        from: StartAt,
        max: usize,
    ) -> BoxFuture<'a, Result<EventBatch, ReadError>> {
        Box::pin(async move {
            self.events_matching(&self.subjects.stored_events_of(site), from, max).await
        })
    }

    fn read_events_of_all(
        &self,
        from: StartAt,
        max: usize,
    ) -> BoxFuture<'_, Result<EventBatch, ReadError>> {
        Box::pin(
            // The stream has no other subjects; the broker need not compare each one.
            async move { self.events_matching(">", from, max).await },
        )
    }

    fn read_forward<'a>(
        &'a self,
        site: Option<&'a CloudId>,
        from: u64,
    ) -> BoxFuture<'a, Result<Box<dyn ForwardReader>, ReadError>> {
        let filter = match site {
            Some(site) => self.subjects.stored_events_of(site),
            None => ">".to_owned(),
        };
        Box::pin(async move {
            let (context, stream) = (&self.jetstream_client.context, self.subjects.events_stream());
            let opened = StreamReader::open(context, &stream, (from, &filter), Part::Whole).await;
            let reader = opened.map_err(failed)?;
            Ok(Box::new(EventForwardReader { reader, events: self.events.clone(), filter }) as _)
        })
    }

    fn log_bounds(&self) -> BoxFuture<'_, Result<Option<LogBounds>, ReadError>> {
        Box::pin(self.bounds_of_log())
    }

    fn read_log<'a>(
        &'a self,
        site: &'a CloudId,
        from: StartAt,
    ) -> BoxFuture<'a, Result<LogBatch, ReadError>> {
        Box::pin(self.log_of(site, from))
    }

    fn parked<'a>(
        &'a self,
        ids: &'a [DeliveryId],
    ) -> BoxFuture<'a, Result<Vec<Option<String>>, ReadError>> {
        Box::pin(self.schedules_of(ids))
    }
}

/// Reads events forward through a consumer.
struct EventForwardReader {
    reader: StreamReader,
    /// Asks the leader of the stream what follows the last message of the server that has the consumer.
    events: DirectReader,
    filter: String,
}

impl ForwardReader for EventForwardReader {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<EventBatch, ReadError>> {
        Box::pin(async move {
            for _ in 0..BEHIND_LOOKS {
                let messages = self.reader.read(max).await.map_err(failed)?;
                let pending =
                    |message: Option<&StoredMessage>| message.map_or(0, |one| one.pending);
                let (after_first, after_last) =
                    (pending(messages.first()), pending(messages.last()));
                let has_more = after_last > 0 || {
                    let next = self.events.next_on_leader(self.reader.next(), &self.filter).await;
                    next.map_err(ReadError)?.is_some()
                };
                if has_more && messages.is_empty() {
                    // Another server has the next one already.
                    tokio::time::sleep(BEHIND_PAUSE).await;
                    continue;
                }
                let events = messages.into_iter().map(ReadMessage::from).map(event).collect();
                return Ok(EventBatch { events, after_first, has_more });
            }
            Err(ReadError("a server of the broker does not have the last events yet".to_owned()))
        })
    }
}

impl From<StoredMessage> for ReadMessage {
    fn from(message: StoredMessage) -> Self {
        Self {
            subject: message.subject.into(),
            sequence: message.sequence,
            stored_ms: message.stored_ms,
            headers: message.headers.unwrap_or_default(),
            payload: message.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_complete_from_the_first_record_that_it_kept() {
        assert_eq!(kept_from_ms((1, 0), 100, i64::MIN), 100, "it never had a record");
        assert_eq!(kept_from_ms((1, 7), 100, 200), 100, "it has all that it ever had");
        assert_eq!(kept_from_ms((5, 7), 100, 900_000), 905_000);
        assert_eq!(kept_from_ms((8, 7), 100, 900_000), 905_000, "it was emptied");
        assert_eq!(kept_from_ms((8, 7), 2_000_000, 900_000), 2_000_000, "it was created again");
    }
}
