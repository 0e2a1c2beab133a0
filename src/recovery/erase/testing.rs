//! Test double of the streams that erasures go over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::report::{EraseReport, StoreReport};
use super::report_of;
use super::request::{EraseSubject, new_job};
use super::store::{
    ClearedRecord, ErasableStreams, ErasedStore, SequenceRange, StoreBounds, StoredBatch,
    StoredMessage,
};
use super::work::EraseWork;
use crate::delivery::StreamPosition;
use crate::recovery::jobs::testing::MemoryJobs;
use crate::recovery::jobs::{Job, JobFailure, JobWork, Jobs};
use crate::recovery::redrive::ReadError;
use crate::recovery::redrive::testing::{MemoryLetters, MemoryLog};

pub(super) const ID: &str = "557058:f58131cb";

/// Streams in memory.
#[derive(Default)]
pub(super) struct MemoryStreams {
    pub(super) stores: Mutex<BTreeMap<ErasedStore, BTreeMap<u64, StoredMessage>>>,
    last: Mutex<BTreeMap<ErasedStore, u64>>,
    pub(super) acknowledged: Mutex<u64>,
    pub(super) denies_delete: Mutex<bool>,
    /// How many removals are done before the broker stops to answer.
    pub(super) removals: Mutex<Option<usize>>,
    /// Sequences that the leader of no stream has any more, although ranges still have them.
    pub(super) absent_on_leader: Mutex<BTreeSet<u64>>,
    /// Every range that was read.
    pub(super) reads: Mutex<Vec<(ErasedStore, SequenceRange)>>,
}

impl MemoryStreams {
    pub(super) fn add(
        &self,
        store: ErasedStore,
        subject: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> u64 {
        let mut stores = self.stores.lock().unwrap();
        let messages = stores.entry(store).or_default();
        let mut last = self.last.lock().unwrap();
        let last = last.entry(store).or_default();
        *last += 1;
        let sequence = *last;
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
        sequence
    }

    /// As [`MemoryStreams::add`], long after the start of any job.
    pub(super) fn add_later(
        &self,
        store: ErasedStore,
        subject: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> u64 {
        let sequence = self.add(store, subject, headers, body);
        let mut stores = self.stores.lock().unwrap();
        let added = stores.get_mut(&store).unwrap().get_mut(&sequence).unwrap();
        added.position.stored_ms = i64::MAX;
        sequence
    }

    pub(super) fn left(&self, store: ErasedStore) -> Vec<u64> {
        let stores = self.stores.lock().unwrap();
        stores.get(&store).map(|messages| messages.keys().copied().collect()).unwrap_or_default()
    }

    pub(super) fn take(
        &self,
        store: ErasedStore,
        position: StreamPosition,
    ) -> Result<bool, ReadError> {
        if let Some(left) = &mut *self.removals.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| ReadError("no answer".into()))?;
        }
        let mut stores = self.stores.lock().unwrap();
        Ok(stores.entry(store).or_default().remove(&position.sequence).is_some())
    }
}

impl ErasableStreams for MemoryStreams {
    fn bounds(&self, store: ErasedStore) -> BoxFuture<'_, Result<Option<StoreBounds>, ReadError>> {
        let last = self.last.lock().unwrap().get(&store).copied().unwrap_or(0);
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
        self.reads.lock().unwrap().push((store, range));
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
        let is_absent = self.absent_on_leader.lock().unwrap().contains(&position.sequence);
        let found = found.filter(|_| !is_absent);
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
pub(super) struct Erasure {
    pub(super) work: EraseWork,
    pub(super) job: Job,
    /// The store of all jobs.
    pub(super) jobs: Arc<MemoryJobs>,
}

impl Erasure {
    pub(super) async fn of(
        streams: &Arc<MemoryStreams>,
        site: Option<&str>,
        account: Option<&str>,
        dry_run: bool,
    ) -> Self {
        let subject = EraseSubject::new(site.map(Into::into), account.map(Into::into)).unwrap();
        let (new, private) = new_job(&subject, dry_run, None).unwrap();
        let jobs = MemoryJobs::new();
        let job = Jobs::new(Arc::clone(&jobs) as _).create_private(new, private).await.unwrap();
        let store = Arc::clone(&jobs) as _;
        let work = EraseWork::new(Arc::clone(streams) as _, MemoryLetters::of([]), None, store);
        Self { work, job, jobs }
    }

    /// Removes from other letters, and records what is removed in `log`.
    pub(super) fn with_letters(
        self,
        streams: &Arc<MemoryStreams>,
        letters: Arc<MemoryLetters>,
        log: &Arc<MemoryLog>,
    ) -> Self {
        let (log, jobs) = (Some(Arc::clone(log) as _), Arc::clone(&self.jobs) as _);
        let work = EraseWork::new(Arc::clone(streams) as _, letters, log, jobs);
        Self { work, ..self }
    }

    /// Makes one step of at most `max` removals; returns whether it was the last one.
    pub(super) async fn step(&mut self, max: u32) -> Result<bool, JobFailure> {
        let step = self.work.step(&self.job, max).await?;
        self.job.cursor = step.cursor;
        self.job.count(&step.counts);
        Ok(step.is_done)
    }

    /// Steps until it is done, or waits for the next pass.
    pub(super) async fn run(&mut self) -> Result<(), JobFailure> {
        while !self.step(2).await? {}
        Ok(())
    }

    /// Lets the pause between two passes end.
    pub(super) fn end_pause(&mut self) {
        self.job.cursor["resume_ms"] = json!(0);
    }

    /// Runs all passes.
    pub(super) async fn finish(&mut self) -> EraseReport {
        while self.run().await.is_err() {
            self.end_pause();
        }
        let report = self.report();
        for (store, one) in &report {
            let kept: u64 = one.kept.values().sum();
            let sum = one.removed + one.body_removed + one.left + kept;
            let is_dry = self.job.request["dryRun"] == true;
            assert!(is_dry || one.matched == sum, "{store:?} does not add up: {one:?}");
        }
        report
    }

    pub(super) fn report(&self) -> EraseReport {
        report_of(&self.job).unwrap()
    }
}

pub(super) fn counted(read: u64, matched: u64, removed: u64) -> StoreReport {
    StoreReport { read, matched, removed, ..StoreReport::default() }
}

pub(super) fn event(id: &str) -> String {
    json!({ "issue": { "assignee": { "accountId": id } } }).to_string()
}

/// Five events, of which the second and the fourth name the account.
pub(super) fn five_events() -> Arc<MemoryStreams> {
    let streams = Arc::<MemoryStreams>::default();
    for (number, site) in ["s", "s", "s", "other", "s"].iter().enumerate() {
        let id = if number % 2 == 1 { ID } else { "557058:f58131cb-b67d" };
        streams.add(ErasedStore::Events, &format!("sw.ev.0.{site}.t"), &[], &event(id));
    }
    *streams.acknowledged.lock().unwrap() = 5;
    streams
}
