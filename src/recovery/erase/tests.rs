//! Erasures over streams in memory: what is found, counted, waited for and removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::report::{EraseReport, KeptReason, StoreReport};
use super::report_of;
use super::request::{EraseSubject, new_job};
use super::store::{
    ClearedRecord, ErasableStreams, ErasedStore, SequenceRange, StoreBounds, StoredBatch,
    StoredMessage,
};
use super::work::EraseWork;
use crate::delivery::StreamPosition;
use crate::recovery::jobs::testing::MemoryJobs;
use crate::recovery::jobs::{Job, JobFailure, JobState, JobWork, Jobs};
use crate::recovery::redrive::ReadError;
use crate::recovery::redrive::testing::MemoryLetters;

const ID: &str = "557058:f58131cb";

/// Streams in memory.
#[derive(Default)]
struct MemoryStreams {
    stores: Mutex<BTreeMap<ErasedStore, BTreeMap<u64, StoredMessage>>>,
    acknowledged: Mutex<u64>,
    denies_delete: Mutex<bool>,
    /// How many removals are done before the broker stops to answer.
    removals: Mutex<Option<usize>>,
}

impl MemoryStreams {
    fn add(&self, store: ErasedStore, subject: &str, headers: &[(&str, &str)], body: &str) {
        let mut stores = self.stores.lock().unwrap();
        let messages = stores.entry(store).or_default();
        let sequence = messages.keys().next_back().map_or(1, |last| last + 1);
        let message = StoredMessage {
            position: StreamPosition { sequence, stored_ms: 1 },
            subject: subject.into(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        messages.insert(sequence, message);
    }

    fn left(&self, store: ErasedStore) -> Vec<u64> {
        let stores = self.stores.lock().unwrap();
        stores.get(&store).map(|messages| messages.keys().copied().collect()).unwrap_or_default()
    }

    fn take(&self, store: ErasedStore, position: StreamPosition) -> Result<bool, ReadError> {
        if let Some(left) = &mut *self.removals.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| ReadError("no answer".into()))?;
        }
        let mut stores = self.stores.lock().unwrap();
        Ok(stores.entry(store).or_default().remove(&position.sequence).is_some())
    }
}

impl ErasableStreams for MemoryStreams {
    fn bounds(&self, store: ErasedStore) -> BoxFuture<'_, Result<Option<StoreBounds>, ReadError>> {
        let last = self.left(store).last().copied().unwrap_or(0);
        let denies_delete = *self.denies_delete.lock().unwrap();
        Box::pin(async move { Ok(Some(StoreBounds { last, denies_delete })) })
    }

    fn read<'a>(
        &'a self,
        store: ErasedStore,
        range: SequenceRange,
        site: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<StoredBatch, ReadError>> {
        let stores = self.stores.lock().unwrap();
        let all = stores.get(&store).cloned().unwrap_or_default();
        let has_sites = matches!(store, ErasedStore::Events | ErasedStore::Log);
        let within =
            all.range(range.from..=range.to).map(|(_, message)| message).filter(|message| {
                !has_sites
                    || site.is_none_or(|site| message.subject.split('.').any(|one| one == site))
            });
        let messages: Vec<_> = within.take(max).cloned().collect();
        let last = messages.last().map(|last| last.position.sequence);
        let next = last.filter(|_| messages.len() == max).map(|last| last + 1);
        Box::pin(async move { Ok(StoredBatch { messages, next }) })
    }

    fn get(
        &self,
        store: ErasedStore,
        position: StreamPosition,
    ) -> BoxFuture<'_, Result<Option<StoredMessage>, ReadError>> {
        let stores = self.stores.lock().unwrap();
        let found = stores.get(&store).and_then(|all| all.get(&position.sequence)).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn acknowledged(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        let acknowledged = *self.acknowledged.lock().unwrap();
        Box::pin(async move { Ok(acknowledged) })
    }

    fn remove<'a>(
        &'a self,
        store: ErasedStore,
        message: &'a StoredMessage,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        let taken = self.take(store, message.position);
        Box::pin(async move { taken })
    }

    fn clear_parked<'a>(
        &'a self,
        record: &'a StoredMessage,
    ) -> BoxFuture<'a, Result<ClearedRecord, ReadError>> {
        let cleared = match record.subject.contains(".due.") {
            true => Ok(ClearedRecord::InFlight),
            false => {
                self.take(ErasedStore::Parked, record.position).map(|is_taken| match is_taken {
                    true => ClearedRecord::Replaced,
                    false => ClearedRecord::Absent,
                })
            }
        };
        Box::pin(async move { cleared })
    }

    fn replace_record<'a>(
        &'a self,
        record: &'a StoredMessage,
        body: Bytes,
        _job: &'a str,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        let taken = self.take(ErasedStore::Log, record.position);
        self.add(ErasedStore::Log, "sw.att.ok.s.00", &[], std::str::from_utf8(&body).unwrap());
        Box::pin(async move { taken })
    }
}

/// A job and what it works on.
struct Erasure {
    work: EraseWork,
    job: Job,
}

impl Erasure {
    async fn of(
        streams: &Arc<MemoryStreams>,
        site: Option<&str>,
        account: Option<&str>,
        dry_run: bool,
    ) -> Self {
        let subject = EraseSubject::new(site.map(Into::into), account.map(Into::into)).unwrap();
        let (new, private) = new_job(&subject, dry_run, None).unwrap();
        let job = Jobs::new(MemoryJobs::new()).create_private(new, private).await.unwrap();
        let work = EraseWork::new(Arc::clone(streams) as _, MemoryLetters::of([]), None);
        Self { work, job }
    }

    /// Makes one step of at most `max` removals; returns whether it was the last one.
    async fn step(&mut self, max: u32) -> Result<bool, JobFailure> {
        let step = self.work.step(&self.job, max).await?;
        self.job.cursor = step.cursor;
        self.job.count(&step.counts);
        Ok(step.is_done)
    }

    /// Steps until it is done, or waits for the next pass.
    async fn run(&mut self) -> Result<(), JobFailure> {
        while !self.step(2).await? {}
        Ok(())
    }

    /// Lets the pause between two passes end.
    fn end_pause(&mut self) {
        self.job.cursor["resume_ms"] = json!(0);
    }

    /// Runs all passes.
    async fn finish(&mut self) -> EraseReport {
        while self.run().await.is_err() {
            self.end_pause();
        }
        self.report()
    }

    fn report(&self) -> EraseReport {
        report_of(&self.job).unwrap()
    }
}

fn counted(read: u64, matched: u64, removed: u64) -> StoreReport {
    StoreReport { read, matched, removed, ..StoreReport::default() }
}

fn event(id: &str) -> String {
    json!({ "issue": { "assignee": { "accountId": id } } }).to_string()
}

/// Five events, of which the second and the fourth name the account.
fn five_events() -> Arc<MemoryStreams> {
    let streams = Arc::<MemoryStreams>::default();
    for (number, site) in ["s", "s", "s", "other", "s"].iter().enumerate() {
        let id = if number % 2 == 1 { ID } else { "557058:f58131cb-b67d" };
        streams.add(ErasedStore::Events, &format!("sw.ev.0.{site}.t"), &[], &event(id));
    }
    *streams.acknowledged.lock().unwrap() = 5;
    streams
}

#[tokio::test]
async fn account_is_removed_and_its_neighbours_stay() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let report = erasure.finish().await;
    assert_eq!(report[&ErasedStore::Events], counted(5, 2, 2));
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 5]);
    assert_eq!(erasure.job.counts["matched"], 2);
    assert_eq!(erasure.job.counts["removed"], 2);
}

#[tokio::test]
async fn account_at_a_site_is_removed_there_only() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, Some("s"), Some(ID), false).await;
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(4, 1, 1));
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 4, 5]);
}

#[tokio::test]
async fn dry_run_counts_the_same_and_removes_nothing() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, Some("s"), None, true).await;
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(4, 4, 0));
    assert_eq!(streams.left(ErasedStore::Events), [1, 2, 3, 4, 5]);
    let mut erasure = Erasure::of(&streams, Some("s"), None, false).await;
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(4, 4, 4));
}

#[tokio::test]
async fn event_that_is_not_acknowledged_waits_for_a_later_pass() {
    let streams = five_events();
    *streams.acknowledged.lock().unwrap() = 3;
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let waits = erasure.run().await.unwrap_err();
    assert!(matches!(waits, JobFailure::Later(reason) if reason.starts_with("1 events")));
    let events = &erasure.report()[&ErasedStore::Events];
    assert_eq!((events.matched, events.removed), (2, 1));
    assert_eq!(events.kept, BTreeMap::from([(KeptReason::NotAcknowledged, 1)]));
    *streams.acknowledged.lock().unwrap() = 5;
    erasure.end_pause();
    assert_eq!(erasure.finish().await[&ErasedStore::Events], counted(5, 2, 2));
}

#[tokio::test]
async fn job_ends_with_what_is_never_acknowledged() {
    let streams = five_events();
    *streams.acknowledged.lock().unwrap() = 0;
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    erasure.run().await.unwrap_err();
    erasure.end_pause();
    erasure.job.cursor["first_ended_ms"] = json!(0);
    erasure.run().await.unwrap();
    let events = &erasure.report()[&ErasedStore::Events];
    assert_eq!((events.matched, events.removed), (2, 0));
    assert_eq!(events.kept, BTreeMap::from([(KeptReason::NotAcknowledged, 2)]));
}

#[tokio::test]
async fn step_that_is_interrupted_is_repeated_and_every_message_is_counted() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, Some("s"), None, false).await;
    // It finds the messages, which are saved.
    assert_eq!(erasure.step(10).await, Ok(false));
    *streams.removals.lock().unwrap() = Some(2);
    assert!(erasure.step(10).await.is_err());
    *streams.removals.lock().unwrap() = None;
    let report = erasure.finish().await;
    let events = &report[&ErasedStore::Events];
    assert_eq!((events.matched, events.removed, events.left), (4, 2, 2));
    assert_eq!(streams.left(ErasedStore::Events), [4]);
}

#[tokio::test]
async fn parked_delivery_that_is_attempted_is_removed_once_it_waits_again() {
    let streams = Arc::<MemoryStreams>::default();
    let headers = [("switchyard-cloud-id", "s"), ("switchyard-sequence", "7")];
    streams.add(ErasedStore::Parked, "sw.retry.dlv_a", &headers, &event(ID));
    streams.add(ErasedStore::Parked, "sw.due.app", &headers, &event(ID));
    let others = [("switchyard-cloud-id", "other")];
    streams.add(ErasedStore::Parked, "sw.retry.dlv_b", &others, &event(ID));
    let mut erasure = Erasure::of(&streams, Some("s"), Some(ID), false).await;
    erasure.run().await.unwrap_err();
    let kept = &erasure.report()[&ErasedStore::Parked].kept;
    assert_eq!(*kept, BTreeMap::from([(KeptReason::InFlight, 1)]));
    assert_eq!(streams.left(ErasedStore::Parked), [2, 3]);
    // It failed, and is parked again.
    streams.stores.lock().unwrap().get_mut(&ErasedStore::Parked).unwrap().remove(&2);
    streams.add(ErasedStore::Parked, "sw.retry.dlv_c", &headers, &event(ID));
    erasure.end_pause();
    let report = erasure.finish().await;
    let parked = &report[&ErasedStore::Parked];
    assert_eq!((parked.matched, parked.removed), (3, 2));
    assert_eq!(streams.left(ErasedStore::Parked), [3]);
}

#[tokio::test]
async fn record_of_the_log_loses_the_texts_that_name_the_account() {
    let streams = Arc::<MemoryStreams>::default();
    let record = |text: &str, event: &str| {
        json!({"v": 1, "event": {"id": event, "sequence": 1}, "deliveries": [
            {"key": "k", "outcome": "dead", "response": {"body": text}}]})
        .to_string()
    };
    streams.add(ErasedStore::Log, "sw.att.failed.s.01", &[], &record(ID, "e1"));
    streams.add(ErasedStore::Log, "sw.att.failed.s.01", &[], &record("no", "e2"));
    streams.add(ErasedStore::Log, "sw.att.failed.s.01", &[], &record("no", ID));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let report = erasure.finish().await;
    let log = &report[&ErasedStore::Log];
    assert_eq!((log.matched, log.body_removed, log.removed), (2, 1, 1));
    assert_eq!(streams.left(ErasedStore::Log), [2, 4]);
    let stores = streams.stores.lock().unwrap();
    let copy: Value = serde_json::from_slice(&stores[&ErasedStore::Log][&4].body).unwrap();
    assert_eq!(copy["recorded_ms"], 1);
    assert_eq!(copy["deliveries"], json!([{ "key": "k", "outcome": "dead" }]));
}

#[tokio::test]
async fn stream_that_forbids_deletions_and_the_registry_are_reported() {
    let streams = five_events();
    *streams.denies_delete.lock().unwrap() = true;
    streams.add(ErasedStore::Registry, "$KV.SW_REG.inst.i", &[], &format!("=='{ID}'"));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    let report = erasure.finish().await;
    assert_eq!(report[&ErasedStore::Events].kept, BTreeMap::from([(KeptReason::DenyDelete, 2)]));
    assert_eq!(report[&ErasedStore::Registry].kept, BTreeMap::from([(KeptReason::Registry, 1)]));
    assert_eq!(streams.left(ErasedStore::Events).len(), 5);
}

#[tokio::test]
async fn what_is_stored_of_later_events_stays() {
    let streams = five_events();
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    assert_eq!(erasure.step(1).await, Ok(false));
    for (sequence, stored_ms) in [("9", i64::MAX), ("3", i64::MAX), ("9", 1)] {
        let headers = [("switchyard-sequence", sequence)];
        streams.add(ErasedStore::Parked, "sw.retry.dlv_a", &headers, &event(ID));
        let mut stores = streams.stores.lock().unwrap();
        let added = stores.get_mut(&ErasedStore::Parked).unwrap().last_entry().unwrap();
        added.into_mut().position.stored_ms = stored_ms;
    }
    streams.add(ErasedStore::Events, "sw.ev.0.s.t", &[], &event(ID));
    erasure.finish().await;
    assert_eq!(streams.left(ErasedStore::Parked), [1]);
    assert_eq!(streams.left(ErasedStore::Events), [1, 3, 5, 6]);
}

#[tokio::test]
async fn account_is_forgotten_when_the_job_ends() {
    let streams = five_events();
    let subject = EraseSubject::new(None, Some(ID.into())).unwrap();
    let (new, private) = new_job(&subject, false, None).unwrap();
    let store = MemoryJobs::new();
    let jobs = Jobs::new(Arc::clone(&store) as _);
    let job = jobs.create_private(new, private).await.unwrap();
    assert!(serde_json::to_string(&store.job(&job.id)).unwrap().contains(ID));
    let mut erasure = Erasure::of(&streams, None, Some(ID), false).await;
    erasure.run().await.unwrap_err();
    assert!(!erasure.job.cursor.to_string().contains(ID));
    let ended = jobs.cancel(job.kind, &job.id).await.unwrap();
    assert_eq!(ended.state, JobState::Cancelled);
    assert!(!serde_json::to_string(&store.job(&job.id)).unwrap().contains(ID));
}
