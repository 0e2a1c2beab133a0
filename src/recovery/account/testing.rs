//! Test doubles of the streams.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use serde_json::{Value, json};

use super::numbers::RecordNumber;
use super::port::{
    AccountStreams, IdSink, LetterOnLeader, LogBounds, LogRecord, RecordBatch, SeriesFloor,
    StreamsError,
};
use crate::event::codec::names;
use crate::recovery::redrive::testing::MemoryLetters;
use crate::recovery::redrive::{
    DeadLetters, LetterBatch, LetterId, LetterRange, LetterScope, ReadError, Republished,
    StoredLetter, StreamBounds,
};

/// A record, and when it was stored.
pub(super) struct MemoryRecord {
    pub(super) stored_ms: i64,
    pub(super) message_id: String,
    pub(super) body: Value,
}

/// Streams in memory.
#[derive(Default)]
pub(super) struct MemoryStreams {
    pub(super) log: Mutex<BTreeMap<u64, MemoryRecord>>,
    pub(super) last: AtomicU64,
    pub(super) parked: Mutex<Vec<String>>,
    /// Due records whose ids are not read.
    pub(super) unread: AtomicU64,
    /// Records that are deleted at the next looks at the parking stream.
    pub(super) deleted_at_looks: Mutex<VecDeque<u64>>,
    /// How often the server that is asked for the start of a window does not have it.
    pub(super) start_lags: AtomicU64,
    pub(super) letters: Arc<LaggingLetters>,
    pub(super) log_off_until_ms: Mutex<Option<i64>>,
    /// Whether the broker never answers.
    pub(super) hangs: bool,
}

impl MemoryStreams {
    /// Stores a record; returns its sequence.
    pub(super) fn store(&self, record: MemoryRecord) -> u64 {
        let sequence = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.log.lock().unwrap().insert(sequence, record);
        sequence
    }

    pub(super) fn delete(&self, sequence: u64) {
        self.log.lock().unwrap().remove(&sequence);
    }

    fn bounds(&self) -> LogBounds {
        let (log, last) = (self.log.lock().unwrap(), self.last.load(Ordering::Relaxed));
        let first = log.keys().next().copied().unwrap_or(last + 1);
        let times = log.values().next().zip(log.values().next_back());
        LogBounds {
            first,
            last,
            records: log.len() as u64,
            times_ms: times.map(|(first, last)| (first.stored_ms, last.stored_ms)),
            off_until_ms: *self.log_off_until_ms.lock().unwrap(),
        }
    }

    fn read(&self, from: u64, site: Option<&str>, max: usize) -> RecordBatch {
        let log = self.log.lock().unwrap();
        let is_of = |record: &MemoryRecord| {
            let has_deliveries = record.body["erased"].is_null();
            let of = if has_deliveries {
                record.body["event"]["site"].as_str()
            } else {
                Some("~erased")
            };
            site.is_none() || site == of
        };
        let mut found = log.range(from..).filter(|(_, record)| is_of(record));
        let read = found.by_ref().take(max).map(|(sequence, record)| LogRecord {
            sequence: *sequence,
            number: RecordNumber::parse(&record.message_id, None),
            body: record.body.to_string().into(),
        });
        RecordBatch { records: read.collect(), has_more: found.next().is_some() }
    }
}

/// Returns the body of a record with one delivery, of a site `s`; `started_ms` is when work on it began.
pub(super) fn delivery(
    event: u64,
    (stored_ms, started_ms): (i64, i64),
    what: (&str, &str),
) -> Value {
    json!({
        "event": { "id": format!("e{event}"), "site": "s", "sequence": event, "stored_ms": stored_ms },
        "router": "r",
        "started_ms": started_ms,
        "deliveries": [{
            "installation": "i", "key": "k", "id": format!("dlv_{event}"),
            "from": what.0, "outcome": what.1,
        }],
    })
}

/// Returns the body of a record of an erasure.
pub(super) fn erasure(message_ids: &[&str]) -> Value {
    json!({
        "event": { "id": "", "site": "", "sequence": 0 },
        "router": "r", "started_ms": 0, "erased": message_ids, "deliveries": [],
    })
}

impl AccountStreams for MemoryStreams {
    fn log_bounds(&self) -> BoxFuture<'_, Result<LogBounds, StreamsError>> {
        future::ready(Ok(self.bounds())).boxed()
    }

    fn record_at(&self, time_ms: i64) -> BoxFuture<'_, Result<Option<u64>, StreamsError>> {
        let lags = self.start_lags.load(Ordering::Relaxed);
        self.start_lags.store(lags.saturating_sub(1), Ordering::Relaxed);
        let log = self.log.lock().unwrap();
        let found = log.iter().find(|(_, record)| record.stored_ms >= time_ms);
        let found = found.map(|(sequence, _)| *sequence).filter(|_| lags == 0);
        future::ready(Ok(found)).boxed()
    }

    fn read_log<'a>(
        &'a self,
        from: u64,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<RecordBatch, StreamsError>> {
        future::ready(Ok(self.read(from, site, max))).boxed()
    }

    fn letter_from(
        &self,
        sequence: u64,
    ) -> BoxFuture<'_, Result<Option<LetterOnLeader>, StreamsError>> {
        let letters = self.letters.leader.letters.lock().unwrap();
        let found = letters.range(sequence..).next().map(|(sequence, letter)| LetterOnLeader {
            sequence: *sequence,
            stored_ms: letter.id.0.stored_ms,
            delivery: letter.text(names::DELIVERY_ID).map(|id| Box::from(&*id)),
        });
        future::ready(Ok(found)).boxed()
    }

    fn parked<'a>(&'a self, each: &'a mut IdSink<'_>) -> BoxFuture<'a, Result<u64, StreamsError>> {
        let _ = self.parked.lock().unwrap().iter().all(|id| each(id));
        if let Some(sequence) = self.deleted_at_looks.lock().unwrap().pop_front() {
            self.delete(sequence);
        }
        future::ready(Ok(self.unread.load(Ordering::Relaxed))).boxed()
    }

    fn floors(&self) -> BoxFuture<'_, Result<Vec<SeriesFloor>, StreamsError>> {
        future::ready(Ok(Vec::new())).boxed()
    }

    fn in_flight(&self) -> BoxFuture<'_, Result<u64, StreamsError>> {
        match self.hangs {
            true => future::pending().boxed(),
            false => future::ready(Ok(0)).boxed(),
        }
    }
}

/// Dead letters that are read from a server which has the first ones only.
#[derive(Default)]
pub(super) struct LaggingLetters {
    pub(super) leader: Arc<MemoryLetters>,
    /// How many of the last ones that server does not have.
    pub(super) lag: AtomicU64,
    /// The ranges that were read.
    pub(super) reads: Mutex<Vec<u64>>,
}

impl DeadLetters for LaggingLetters {
    fn bounds(&self) -> BoxFuture<'_, Result<StreamBounds, ReadError>> {
        self.leader.bounds()
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<StoredLetter>, ReadError>> {
        self.leader.get(id)
    }

    fn read<'a>(
        &'a self,
        range: LetterRange,
        scope: &'a LetterScope,
        max: usize,
    ) -> BoxFuture<'a, Result<LetterBatch, ReadError>> {
        self.reads.lock().unwrap().push(range.from);
        let to = range.to.saturating_sub(self.lag.load(Ordering::Relaxed));
        if range.from > to {
            return future::ready(Ok(LetterBatch::default())).boxed();
        }
        self.leader.read(LetterRange { to, ..range }, scope, max)
    }

    fn delete(&self, id: LetterId) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.leader.delete(id)
    }

    fn republish<'a>(
        &'a self,
        letter: &'a StoredLetter,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Republished, ReadError>> {
        self.leader.republish(letter, job)
    }
}
