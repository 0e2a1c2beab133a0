//! Reads the delivery log: newest first in windows of sequences, or all records of one event.
//!
//! The broker has no index of what is not in a subject. Entities have [an index](super::log_index); other
//! questions read until the time is used up, and continue at the cursor.
//!
//! Design: `docs/design/delivery-log.md`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aho_corasick::AhoCorasick;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::batched_get::{DirectReader, ReadBatch, ReadMessage, StartAt};
use super::connect::JetStreamClient;
use super::log_index::{IndexedChunks, LogIndexReader};
use super::log_records::{NewestRecords, read_named};
use super::log_windows::BATCH_MAX;
use super::subjects::Subjects;
use crate::clock;
use crate::delivery::{
    DeliveryLogReader, EventHistory, EventKey, IndexKey, LogPage, LogPosition, LogQuery,
    LogReadError, LogResult, LoggedDelivery, StoredRecord, bucket,
};
use crate::domain::{InstallationId, ModuleKey};

/// Maximum number of concurrent reads.
const READING_MAX: usize = 4;
/// Time after which a read ends with what it found.
const READ_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest time to read the index.
const INDEX_TIME_MAX: Duration = Duration::from_secs(1);
/// Records of the first batch of the history of an event: they are close together.
const HISTORY_BATCH_MIN: usize = 8;
/// Most deliveries of the history of an event.
const HISTORY_MAX: usize = 20_000;
/// Most bytes of the records of a history.
const HISTORY_BYTES_MAX: usize = 16 << 20;
/// How long after its last record an event is over, once all of its deliveries are over: longer than an
/// event is worked on, and than the broker waits before it redelivers one.
const EVENT_OVER_AFTER: Duration = Duration::from_secs(120);

/// Reads the delivery log.
#[derive(Debug)]
pub struct DeliveryLogStreamReader {
    reader: DirectReader,
    index: LogIndexReader,
    subjects: Subjects,
    reading: Semaphore,
    event_over_after: Duration,
}

/// A time by which a read ends.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn start() -> Self {
        Self(clock::tick())
    }

    fn is_over(self) -> bool {
        clock::since(self.0) >= READ_TIME_MAX
    }
}

impl DeliveryLogStreamReader {
    /// Reads over `jetstream_client`.
    #[must_use]
    pub fn new(jetstream_client: JetStreamClient, subjects: Subjects) -> Self {
        let reader = DirectReader::new(jetstream_client.clone(), subjects.log_stream());
        let index = LogIndexReader::new(jetstream_client, subjects.clone());
        let reading = Semaphore::new(READING_MAX);
        Self { reader, index, subjects, reading, event_over_after: EVENT_OVER_AFTER }
    }

    /// Sets how long after its last record an event is over, once all of its deliveries are over; for
    /// logs that are written faster than events arrive.
    #[must_use]
    pub fn with_event_over_after(self, event_over_after: Duration) -> Self {
        Self { event_over_after, ..self }
    }

    async fn list_page(
        &self,
        query: &LogQuery,
        after: Option<LogPosition>,
        limit: usize,
    ) -> Result<LogPage, String> {
        let _turn = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let deadline = Deadline::start();
        let filter = self.subjects.log_filter(query.result(), query.site.as_ref(), query.bucket());
        let Some(bounds) = self.bounds(query, after, &filter).await? else {
            return Ok(LogPage::default());
        };
        let indexed = match (&query.site, query.entity.as_deref()) {
            (Some(site), entity @ Some(_)) => {
                let key = IndexKey::new(site, entity, "");
                self.indexed((&key, query.result()), bounds).await
            }
            _ => IndexedChunks::default(),
        };
        let mut records = NewestRecords::new(&self.reader, &filter, bounds, indexed);
        let mut page = PageBuilder::new(query, after, limit);
        loop {
            let Some(next) = records.next().await? else { return Ok(page.finish(None)) };
            for message in next.into_iter().rev() {
                if page.take(&message) {
                    return Ok(page.finish_full());
                }
            }
            if deadline.is_over() && records.has_more() {
                return Ok(page.finish(Some(records.continue_at())));
            }
        }
    }

    /// Returns what the index names between two sequences; nothing if it cannot be read in time: then the log
    /// is read without it.
    async fn indexed(
        &self,
        wanted: (&IndexKey, Option<LogResult>),
        bounds: (u64, u64),
    ) -> IndexedChunks {
        let read = async {
            let log = self.reader.stream_bounds().await?;
            self.index.chunks_of(wanted, log.created_ns, bounds).await
        };
        let read = tokio::time::timeout(INDEX_TIME_MAX, read).await;
        read.unwrap_or_else(|_| Err("not in time".to_owned())).unwrap_or_else(|error| {
            tracing::debug!(error, "index of the delivery log not read");
            IndexedChunks::default()
        })
    }

    /// Returns the lowest and the highest sequence that can answer; none if there is none.
    async fn bounds(
        &self,
        query: &LogQuery,
        after: Option<LogPosition>,
        filter: &str,
    ) -> Result<Option<(u64, u64)>, String> {
        let (mut first, mut last) = self.reader.bounds().await?;
        first = first.max(1);
        if let Some(after) = after {
            last = last.min(after.sequence);
        }
        let at = async |ms| {
            let found = self.reader.batch(StartAt::Time(ms), filter, 1).await?;
            Ok::<_, String>(found.messages.first().map(|message| message.sequence))
        };
        if let Some(until_ms) = query.until_ms
            && let Some(sequence) = at(until_ms).await?
        {
            last = last.min(sequence.saturating_sub(1));
        }
        if let Some(since_ms) = query.since_ms {
            match at(since_ms).await? {
                Some(sequence) => first = first.max(sequence),
                None => return Ok(None),
            }
        }
        Ok((first <= last).then_some((first, last)))
    }

    async fn read_history(&self, event: &EventKey) -> Result<EventHistory, String> {
        let _turn = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let deadline = Deadline::start();
        let bucket = bucket(event.entity.as_deref(), event.id.as_str());
        let filter = self.subjects.log_filter(None, Some(&event.site), Some(bucket));
        let query = LogQuery {
            site: Some(event.site.clone()),
            event: Some(event.id.clone()),
            ..LogQuery::default()
        };
        let matcher = RecordMatcher::new(&query);
        let over_ms = i64::try_from(self.event_over_after.as_millis()).unwrap_or(i64::MAX);
        let mut history = HistoryBuilder::default();
        let mut from = event.stored_ms.map_or(StartAt::Sequence(1), StartAt::Time);
        let mut size = HISTORY_BATCH_MIN;
        // Most histories are over after a few records; the index is read for others.
        let mut indexed: Option<IndexedChunks> = None;
        loop {
            let at = if let StartAt::Sequence(at) = from { Some(at) } else { None };
            let named = at.and_then(|at| indexed.as_ref()?.named_from(at));
            let (messages, next) = match named {
                Some((named, next)) => (read_named(&self.reader, named).await?, Some(next)),
                None => {
                    let batch = self.reader.batch(from, &filter, size).await?;
                    let ReadBatch { messages, has_more, .. } = batch;
                    let next = messages.last().map(|last| last.sequence.saturating_add(1));
                    (messages, next.filter(|_| has_more))
                }
            };
            for message in &messages {
                if history.is_over_at(message.stored_ms, over_ms) {
                    return Ok(history.finish(true));
                }
                history.take(message, matcher.answers(message));
            }
            let Some(next) = next else { return Ok(history.finish(true)) };
            if deadline.is_over() || history.is_full() {
                return Ok(history.finish(false));
            }
            if size > HISTORY_BATCH_MIN && indexed.is_none() {
                let key = IndexKey::new(&event.site, event.entity.as_deref(), event.id.as_str());
                indexed = Some(self.indexed((&key, None), (next, u64::MAX)).await);
            }
            from = StartAt::Sequence(next);
            size = (size * 2).min(BATCH_MAX);
        }
    }
}

/// Parses the records that can answer a query.
struct RecordMatcher<'q> {
    query: &'q LogQuery,
    needles: Vec<AhoCorasick>,
}

/// What a message is to a query.
enum Answer {
    /// A record with deliveries that answer, by their places.
    Record(Arc<StoredRecord>, Vec<usize>),
    /// A record without such deliveries.
    Other,
    /// No record that this release can read.
    Unreadable,
}

impl<'q> RecordMatcher<'q> {
    fn new(query: &'q LogQuery) -> Self {
        let needles = query.needles();
        let needles = needles.iter().filter_map(|needle| AhoCorasick::new([needle]).ok());
        Self { query, needles: needles.collect() }
    }

    fn answers(&self, message: &ReadMessage) -> Answer {
        if !self.needles.iter().all(|needle| needle.is_match(&message.payload)) {
            return Answer::Other;
        }
        let Ok(record) = serde_json::from_slice::<StoredRecord>(&message.payload) else {
            return Answer::Unreadable;
        };
        let entries = record.deliveries.iter().enumerate();
        let accepted = entries.filter(|(_, one)| self.query.accepts(&record.event, one));
        let accepted: Vec<usize> = accepted.map(|(entry, _)| entry).collect();
        match accepted.is_empty() {
            true => Answer::Other,
            false => Answer::Record(Arc::new(record), accepted),
        }
    }
}

/// Collects a page, newest first.
struct PageBuilder<'q> {
    matcher: RecordMatcher<'q>,
    after: Option<LogPosition>,
    limit: usize,
    page: LogPage,
}

impl<'q> PageBuilder<'q> {
    fn new(query: &'q LogQuery, after: Option<LogPosition>, limit: usize) -> Self {
        Self { matcher: RecordMatcher::new(query), after, limit, page: LogPage::default() }
    }

    /// Takes the deliveries of a record that answer; returns whether there are more than fit.
    fn take(&mut self, message: &ReadMessage) -> bool {
        self.page.scanned += 1;
        self.page.examined_until_ms = Some(message.stored_ms);
        let (record, entries) = match self.matcher.answers(message) {
            Answer::Record(record, entries) => (record, entries),
            Answer::Other => return false,
            Answer::Unreadable => {
                self.page.unreadable += 1;
                return false;
            }
        };
        for entry in entries {
            let position = LogPosition { sequence: message.sequence, entry };
            let is_earlier = |after: LogPosition| {
                after.sequence == position.sequence && position.entry <= after.entry
            };
            if self.after.is_some_and(is_earlier) {
                continue;
            }
            if self.page.items.len() >= self.limit {
                return true;
            }
            let recorded_ms = record.recorded_ms.unwrap_or(message.stored_ms);
            let record = Arc::clone(&record);
            self.page.items.push(LoggedDelivery { position, recorded_ms, record });
        }
        false
    }

    fn finish(self, next: Option<LogPosition>) -> LogPage {
        LogPage { next, ..self.page }
    }

    /// Finishes a page that others follow.
    fn finish_full(self) -> LogPage {
        let next = self.page.items.last().map(|last| last.position);
        self.finish(next)
    }
}

/// Collects the deliveries of an event, oldest first.
#[derive(Default)]
struct HistoryBuilder {
    items: Vec<LoggedDelivery>,
    scanned: u64,
    /// Bytes of the records that were taken.
    bytes: usize,
    /// Whether each delivery is over.
    over: HashMap<(InstallationId, ModuleKey), bool>,
    last_ms: Option<i64>,
}

impl HistoryBuilder {
    /// Whether all deliveries are over, and the last record is more than `over_ms` older than a time.
    fn is_over_at(&self, ms: i64, over_ms: i64) -> bool {
        self.last_ms.is_some_and(|last| ms.saturating_sub(last) > over_ms)
            && self.over.values().all(|over| *over)
    }

    fn take(&mut self, message: &ReadMessage, answer: Answer) {
        self.scanned += 1;
        let Answer::Record(record, entries) = answer else { return };
        self.last_ms = Some(message.stored_ms);
        self.bytes += message.payload.len();
        for entry in entries {
            if let Some(delivery) = record.deliveries.get(entry) {
                let key = (delivery.installation.clone(), delivery.key.clone());
                self.over.insert(key, delivery.is_over());
            }
            let position = LogPosition { sequence: message.sequence, entry };
            let recorded_ms = record.recorded_ms.unwrap_or(message.stored_ms);
            let record = Arc::clone(&record);
            self.items.push(LoggedDelivery { position, recorded_ms, record });
        }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= HISTORY_MAX || self.bytes >= HISTORY_BYTES_MAX
    }

    fn finish(self, is_complete: bool) -> EventHistory {
        EventHistory { items: self.items, is_complete, scanned: self.scanned }
    }
}

impl DeliveryLogReader for DeliveryLogStreamReader {
    fn list<'a>(
        &'a self,
        query: &'a LogQuery,
        after: Option<LogPosition>,
        limit: usize,
    ) -> BoxFuture<'a, Result<LogPage, LogReadError>> {
        Box::pin(async move {
            self.list_page(query, after, limit).await.map_err(LogReadError::Unavailable)
        })
    }

    fn history<'a>(
        &'a self,
        event: &'a EventKey,
    ) -> BoxFuture<'a, Result<EventHistory, LogReadError>> {
        Box::pin(async move { self.read_history(event).await.map_err(LogReadError::Unavailable) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, json: &str) -> ReadMessage {
        let payload = json.to_owned().into();
        ReadMessage { sequence, stored_ms: 1, payload, ..ReadMessage::default() }
    }

    fn record(event: &str, installations: &[&str]) -> String {
        let entry = |id: &&str| {
            format!(
                r#"{{"installation":"{id}","key":"k","from":"new","outcome":"delivered","attempt":1}}"#
            )
        };
        let entries: Vec<String> = installations.iter().map(entry).collect();
        format!(
            r#"{{"v":1,"event":{{"id":"{event}","site":"s","type":"t","sequence":1}},"router":"r","started_ms":1,"source":"event","later":1,"deliveries":[{}]}}"#,
            entries.join(",")
        )
    }

    #[test]
    fn a_history_goes_on_while_a_delivery_is_parked_or_dead() {
        let query = LogQuery { event: Some("e".into()), ..LogQuery::default() };
        let matcher = RecordMatcher::new(&query);
        for (outcome, is_over) in
            [("delivered", true), ("dropped", true), ("parked", false), ("dead", false)]
        {
            let text = record("e", &["i"]).replace(r#""delivered""#, &format!(r#""{outcome}""#));
            let first = message(1, &text);
            let mut history = HistoryBuilder::default();
            history.take(&first, matcher.answers(&first));
            assert_eq!(history.is_over_at(1 + 120_001, 120_000), is_over, "{outcome}");
            assert!(!history.is_over_at(1 + 120_000, 120_000), "{outcome}");
        }
    }

    #[test]
    fn a_page_continues_in_the_middle_of_a_record() {
        let query = LogQuery::default();
        let text = record("e", &["i1", "i2", "i3"]);
        let mut after = None;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut page = PageBuilder::new(&query, after, 1);
            let is_full = page.take(&message(7, &text));
            let page = if is_full { page.finish_full() } else { page.finish(None) };
            seen.extend(page.items.iter().map(|item| item.position.entry));
            after = page.next;
        }
        assert_eq!((seen, after), (vec![0, 1, 2], None));
    }

    #[test]
    fn records_of_others_and_unreadable_ones_are_counted_and_skipped() {
        let query = LogQuery { installation: Some("i2".into()), ..LogQuery::default() };
        let mut page = PageBuilder::new(&query, None, 10);
        page.take(&message(3, &record("e", &["i1", "i2"])));
        page.take(&message(2, &record("e", &["i1"])));
        page.take(&message(1, r#"{"installation":"i2""#));
        let page = page.finish(None);
        assert_eq!((page.items.len(), page.scanned, page.unreadable), (1, 3, 1));
        assert_eq!(page.items[0].position, LogPosition { sequence: 3, entry: 1 });
    }
}
