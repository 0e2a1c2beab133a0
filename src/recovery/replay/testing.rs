//! Test double of the streams that a replay reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::examine::EventReader;
use super::parts::ReplayParts;
use super::past::NoPastSubscriptions;
use super::streams::{
    EventBatch, EventBounds, EventMessage, ForwardReader, LogBatch, LogBounds, ReplayStreams,
    StartAt,
};
use crate::delivery::{
    DeliveryLog, HandOver, JobOrigin, LogMessage, ParkError, ParkedRecord, ParkingLot, ShareLevel,
    ShareOwner, SubscriptionDirectory,
};
use crate::domain::{CloudId, DeliveryId};
use crate::matcher::Matcher;
use crate::recovery::jobs::testing::MemoryJobs;
use crate::recovery::redrive::ReadError;
use crate::recovery::redrive::testing::MemoryLetters;

/// Streams in memory. Events are stored `sequence` seconds after the epoch.
#[derive(Default)]
pub(crate) struct MemoryStreams {
    pub(crate) events: Mutex<BTreeMap<u64, EventMessage>>,
    /// When the event stream was created.
    pub(crate) created_ms: Mutex<i64>,
    /// Up to here events are acknowledged; none for all.
    pub(crate) settled: Mutex<Option<u64>>,
    /// Events before this sequence are deleted after they were read; none if none are.
    pub(crate) deleted_before: Mutex<Option<u64>>,
    pub(crate) log: Mutex<Vec<Bytes>>,
    pub(crate) log_from_ms: Mutex<i64>,
    /// Records of the log before this sequence are deleted; 0 for none.
    pub(crate) log_first: Mutex<u64>,
    /// Until then a replica stored no records.
    pub(crate) log_off_until_ms: Mutex<Option<i64>>,
    /// Parked deliveries with their records.
    pub(crate) parked: Mutex<BTreeMap<String, ParkedRecord>>,
    /// Every record that was parked, by its message id, in order.
    pub(crate) handed_over: Mutex<Vec<ParkedRecord>>,
    /// How many records the parking stream has room for; none for all.
    pub(crate) room: Mutex<Option<usize>>,
    /// Deliveries that a job parks just before they are handed over; the empty text for no job.
    pub(crate) parked_before: Mutex<BTreeMap<String, &'static str>>,
    /// How many forward readers were opened.
    pub(crate) forward_readers: AtomicUsize,
    /// How many reads of them fail.
    pub(crate) forward_failures: Arc<AtomicUsize>,
    /// How many records are stored whose confirmation is lost; each is found when it is stored again.
    pub(crate) unconfirmed: Mutex<usize>,
}

/// Creates an event of a site with a body.
pub(crate) fn event(sequence: u64, site: &str, event_type: &str, body: &str) -> EventMessage {
    EventMessage {
        sequence,
        stored_ms: i64::try_from(sequence).unwrap() * 1_000,
        site: Some(site.into()),
        event_type: Some(event_type.into()),
        headers: vec![("ce-id".into(), format!("e{sequence}").into())],
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

impl MemoryStreams {
    /// Returns the parts of a replay over these streams.
    pub(crate) fn parts(self, directory: Arc<dyn SubscriptionDirectory>) -> ReplayParts {
        Self::shared(&Arc::new(self), directory)
    }

    /// As [`MemoryStreams::parts`], for streams that the test looks into.
    pub(crate) fn shared(
        streams: &Arc<Self>,
        directory: Arc<dyn SubscriptionDirectory>,
    ) -> ReplayParts {
        ReplayParts {
            streams: Arc::clone(streams) as _,
            letters: MemoryLetters::of([]),
            parking: Arc::clone(streams) as _,
            log: Some(Arc::clone(streams) as _),
            directory,
            past: Arc::new(NoPastSubscriptions),
            reader: EventReader::new(Arc::new(Matcher::default()), 1 << 20, false),
            jobs: MemoryJobs::new(),
        }
    }

    pub(crate) fn add(&self, event: EventMessage) {
        self.events.lock().unwrap().insert(event.sequence, event);
    }

    fn batch(
        &self,
        from: StartAt,
        max: usize,
        is_wanted: impl Fn(&EventMessage) -> bool,
    ) -> EventBatch {
        let events = self.events.lock().unwrap();
        let is_after = |event: &&EventMessage| match from {
            StartAt::Sequence(sequence) => event.sequence >= sequence,
            StartAt::Time(ms) => event.stored_ms >= ms,
        };
        let wanted = events.values().filter(is_after).filter(|event| is_wanted(event));
        let mut found: Vec<_> = wanted.cloned().collect();
        let (has_more, after_first) = (found.len() > max, found.len().saturating_sub(1) as u64);
        found.truncate(max);
        EventBatch { events: found, after_first, has_more }
    }
}

impl ReplayStreams for MemoryStreams {
    fn event_bounds(&self) -> BoxFuture<'_, Result<EventBounds, ReadError>> {
        let events = self.events.lock().unwrap();
        let last = events.keys().next_back().copied().unwrap_or(0);
        let deleted_before = *self.deleted_before.lock().unwrap();
        let bounds = EventBounds {
            created_ms: *self.created_ms.lock().unwrap(),
            first: deleted_before.or_else(|| events.keys().next().copied()).unwrap_or(last + 1),
            first_ms: events.values().next().map(|event| event.stored_ms),
            last,
            settled: self.settled.lock().unwrap().unwrap_or(last),
        };
        Box::pin(async move { Ok(bounds) })
    }

    fn read_events<'a>(
        &'a self,
        site: &'a CloudId,
        from: StartAt,
        max: usize,
    ) -> BoxFuture<'a, Result<EventBatch, ReadError>> {
        let batch = self.batch(from, max, |event| event.site.as_deref() == Some(&*site.token()));
        Box::pin(async move { Ok(batch) })
    }

    fn read_events_of_all(
        &self,
        from: StartAt,
        max: usize,
    ) -> BoxFuture<'_, Result<EventBatch, ReadError>> {
        let batch = self.batch(from, max, |_| true);
        Box::pin(async move { Ok(batch) })
    }

    fn read_forward<'a>(
        &'a self,
        site: Option<&'a CloudId>,
        from: u64,
    ) -> BoxFuture<'a, Result<Box<dyn ForwardReader>, ReadError>> {
        let all = self.batch(StartAt::Sequence(from), usize::MAX, |event| {
            site.is_none_or(|site| event.site.as_deref() == Some(&*site.token()))
        });
        self.forward_readers.fetch_add(1, Ordering::Relaxed);
        let failures = Arc::clone(&self.forward_failures);
        let reader = MemoryForward { left: all.events.into(), failures };
        Box::pin(async move { Ok(Box::new(reader) as _) })
    }

    fn log_bounds(&self) -> BoxFuture<'_, Result<Option<LogBounds>, ReadError>> {
        let bounds = LogBounds {
            first: (*self.log_first.lock().unwrap()).max(1),
            last: self.log.lock().unwrap().len() as u64,
            kept_from_ms: *self.log_from_ms.lock().unwrap(),
            off_until_ms: *self.log_off_until_ms.lock().unwrap(),
        };
        Box::pin(async move { Ok(Some(bounds)) })
    }

    fn read_log<'a>(
        &'a self,
        _site: &'a CloudId,
        from: StartAt,
    ) -> BoxFuture<'a, Result<LogBatch, ReadError>> {
        let log = self.log.lock().unwrap();
        let from = match from {
            StartAt::Sequence(sequence) => sequence,
            StartAt::Time(_) => 1,
        };
        let from = from.max(*self.log_first.lock().unwrap());
        let records: Vec<Bytes> =
            log.iter().skip(usize::try_from(from - 1).unwrap()).take(3).cloned().collect();
        let last = (!records.is_empty()).then(|| from + records.len() as u64 - 1);
        let has_more = last.is_some_and(|last| last < log.len() as u64);
        Box::pin(async move { Ok(LogBatch { records, last, has_more }) })
    }

    fn parked<'a>(
        &'a self,
        ids: &'a [DeliveryId],
    ) -> BoxFuture<'a, Result<Vec<Option<String>>, ReadError>> {
        let parked = self.parked.lock().unwrap();
        let job = |record: &ParkedRecord| {
            let job = record.headers.iter().find(|(name, _)| *name == "switchyard-job");
            job.map(|(_, job)| job.clone()).unwrap_or_default()
        };
        let found = ids.iter().map(|id| parked.get(id.as_str()).map(job)).collect();
        Box::pin(async move { Ok(found) })
    }
}

/// What is left to read.
struct MemoryForward {
    left: VecDeque<EventMessage>,
    failures: Arc<AtomicUsize>,
}

impl ForwardReader for MemoryForward {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<EventBatch, ReadError>> {
        let after_first = self.left.len().saturating_sub(1) as u64;
        let events = self.left.drain(..max.min(self.left.len())).collect();
        let has_more = !self.left.is_empty();
        let fails = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        Box::pin(async move {
            match fails {
                Ok(_) => Err(ReadError("messages were lost".to_owned())),
                Err(_) => Ok(EventBatch { events, after_first, has_more }),
            }
        })
    }
}

/// Returns the job that handed a record over; none if none did.
fn origin_of(record: &ParkedRecord) -> Option<Box<JobOrigin>> {
    let job = record.headers.iter().find(|(name, _)| *name == "switchyard-job");
    let job = job.filter(|(_, job)| !job.is_empty());
    job.map(|(_, job)| Box::new(JobOrigin::replay(job, None)))
}

impl ParkingLot for MemoryStreams {
    fn park(&self, _record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkError>> {
        panic!("a replay replaces no record");
    }

    fn hand_over(&self, record: ParkedRecord) -> BoxFuture<'_, Result<HandOver, ParkError>> {
        Box::pin(async move {
            if let Some(room) = &mut *self.room.lock().unwrap() {
                if *room == 0 {
                    return Err(ParkError::ShareUsed(ShareLevel::Installation));
                }
                *room -= 1;
            }
            let (id, mut parked) = (record.id.to_string(), self.parked.lock().unwrap());
            if let Some(job) = self.parked_before.lock().unwrap().remove(&id) {
                let mut other = record.clone();
                other.headers.retain(|(name, _)| *name != "switchyard-job");
                other.headers.push(("switchyard-job", job.to_owned()));
                parked.insert(id.clone(), other);
            }
            if let Some(occupant) = parked.get(&id) {
                return Ok(HandOver::Occupied(origin_of(occupant)));
            }
            let mut handed_over = self.handed_over.lock().unwrap();
            if handed_over.iter().all(|known| known.message_id != record.message_id) {
                handed_over.push(record.clone());
                parked.insert(id, record.clone());
            }
            let mut unconfirmed = self.unconfirmed.lock().unwrap();
            if *unconfirmed > 0 {
                *unconfirmed -= 1;
                return Ok(HandOver::Occupied(origin_of(&record)));
            }
            Ok(HandOver::Stored)
        })
    }

    fn release(&self, _owner: &ShareOwner, _body_bytes: usize) {}
}

impl DeliveryLog for MemoryStreams {
    fn router(&self) -> &str {
        "r"
    }

    fn store(&self, message: LogMessage) -> BoxFuture<'_, ()> {
        self.log.lock().unwrap().push(message.body);
        Box::pin(std::future::ready(()))
    }
}
