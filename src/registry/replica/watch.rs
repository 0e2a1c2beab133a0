//! Watch loop of a replica: receives the events of the store and has them applied.
//!
//! Changes of installations are applied by a few workers, in fair turns of their sites: in order for
//! each document, side by side for different sites. So the work of a site delays no other. A load is
//! applied in batches on all cores, after everything before it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tracing::info;

use super::fair_queue::FairQueue;
use super::load::{BATCH_MAX, DocumentWrite, LoadProgress};
use super::progress::ApplyProgress;
use super::writer::StateWriter;
use crate::clock;
use crate::domain::CloudId;
use crate::registry::metrics;
use crate::registry::model::{AppRecord, Counts, Document, InstallationRecord, family};
use crate::registry::store::{Store, WatchEvent};

/// Watch events that wait to be applied; the watch pauses when there are more.
const EVENTS_MAX: usize = 1024;
/// Interval at which expired webhooks are removed from the matcher.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// Sites whose changes are applied at once. More than a small machine has cores, so that a site with
/// short work gets time next to several with long work.
const WORKERS: usize = 4;

/// Watches the store and applies its events, until the future is dropped.
pub(crate) async fn run(store: Arc<dyn Store>, writer: StateWriter) {
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    // A separate task, so that compiling never blocks the watch.
    let mut feed = JoinSet::new();
    feed.spawn(async move { store.watch(sender).await });
    let mut applier = Applier::new(writer);
    let mut waiting = Vec::new();
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        let is_running = tokio::select! {
            count = events.recv_many(&mut waiting, BATCH_MAX), if applier.has_room() => {
                count > 0 && applier.apply_all(waiting.drain(..)).await
            }
            Some(done) = applier.workers.join_next() => applier.finish(done),
            // A load ends with the timers of what it brings.
            _ = expiry.tick(), if applier.load.is_none() => {
                applier.expire();
                true
            }
        };
        if !is_running {
            break;
        }
        applier.start_workers();
    }
    feed.shutdown().await;
}

/// What is to be done with the document of an installation. A later change of the document replaces
/// one that still waits.
#[derive(Debug)]
struct InstallationWork {
    key: String,
    action: Action,
    /// The revisions that are applied with it.
    revisions: Vec<u64>,
}

#[derive(Debug)]
enum Action {
    Put {
        value: Bytes,
        revision: u64,
    },
    Delete,
    /// Webhooks expired.
    Recompile,
}

impl InstallationWork {
    fn of(key: String, action: Action, revision: u64) -> Self {
        Self { key, action, revisions: vec![revision] }
    }
}

impl Action {
    /// The number of documents that it holds.
    fn documents(&self) -> usize {
        usize::from(matches!(self, Self::Put { .. }))
    }
}

/// What a worker did: for whom, and the work.
type Done = (Arc<str>, InstallationWork, Duration);

/// The writer with its workers, and the load that is running, if any.
struct Applier {
    writer: Arc<StateWriter>,
    queue: FairQueue<InstallationWork>,
    /// By document: the owner of its work that waits or runs, and how many pieces it has.
    owners: HashMap<String, (Arc<str>, usize)>,
    /// Documents that wait.
    documents: usize,
    workers: JoinSet<Done>,
    load: Option<LoadProgress>,
}

impl Applier {
    fn new(writer: StateWriter) -> Self {
        Self {
            writer: Arc::new(writer),
            queue: FairQueue::default(),
            owners: HashMap::new(),
            documents: 0,
            workers: JoinSet::new(),
            load: None,
        }
    }

    /// Whether more events may be received. Work without a document is bounded by the number of
    /// installations.
    fn has_room(&self) -> bool {
        self.documents < EVENTS_MAX
    }

    /// Takes events in order; those of a load are applied in batches on blocking threads. False when
    /// the runtime stops.
    async fn apply_all(&mut self, events: impl Iterator<Item = WatchEvent>) -> bool {
        let mut batch = Vec::new();
        for event in events {
            match event {
                WatchEvent::Put { key, value, revision } if self.load.is_some() => {
                    batch.push(DocumentWrite { key, value, revision });
                }
                other => {
                    let batch = std::mem::take(&mut batch);
                    if !self.apply_batch(batch).await || !self.apply(other).await {
                        return false;
                    }
                }
            }
        }
        self.apply_batch(batch).await
    }

    async fn apply_batch(&mut self, batch: Vec<DocumentWrite>) -> bool {
        let Some(revision) = batch.iter().map(|document| document.revision).max() else {
            return true;
        };
        let writer = Arc::clone(&self.writer);
        let work = move || {
            writer.apply_writes(&batch);
            batch
        };
        let Some(batch) = joined(tokio::task::spawn_blocking(work).await) else { return false };
        let active = self.counts().active;
        if let Some(load) = &mut self.load {
            load.record_applied(&batch, active);
        }
        self.advance(revision);
        true
    }

    async fn apply(&mut self, event: WatchEvent) -> bool {
        match event {
            WatchEvent::LoadStarted { is_reset } => {
                if !self.drain().await {
                    return false;
                }
                self.load = Some(LoadProgress::start(self.writer.keys()));
                if is_reset {
                    self.progress().restart();
                }
                self.advance(0);
            }
            WatchEvent::CaughtUp { revision } => match self.load.take() {
                Some(load) => self.end_load(&load, revision),
                None => self.advance(revision),
            },
            WatchEvent::Put { key, value, revision } => {
                if family(&key) == InstallationRecord::FAMILY {
                    let action = Action::Put { value, revision };
                    self.enqueue(InstallationWork::of(key, action, revision));
                } else {
                    let write = DocumentWrite { key, value, revision };
                    return self
                        .apply_alone(write.key.clone(), revision, move |writer| {
                            writer.apply_write(&write.key, &write.value, revision);
                        })
                        .await;
                }
            }
            WatchEvent::Deleted { key, revision } => {
                if family(&key) == InstallationRecord::FAMILY && self.load.is_none() {
                    self.enqueue(InstallationWork::of(key, Action::Delete, revision));
                } else {
                    let deleted = key.clone();
                    return self
                        .apply_alone(key, revision, move |writer| writer.apply_delete(&deleted))
                        .await;
                }
            }
        }
        true
    }

    /// Applies a change of another document: one of an app after all changes before it, since it
    /// compiles the installations of many sites. False when the runtime stops.
    async fn apply_alone(
        &mut self,
        key: String,
        revision: u64,
        apply: impl FnOnce(&StateWriter) + Send + 'static,
    ) -> bool {
        if family(&key) == AppRecord::FAMILY {
            let writer = Arc::clone(&self.writer);
            if !self.drain().await
                || joined(tokio::task::spawn_blocking(move || apply(&writer)).await).is_none()
            {
                return false;
            }
        } else {
            apply(&self.writer);
        }
        let progress = self.progress();
        progress.begin(&key, revision);
        progress.finish(&[revision]);
        metrics::applied(progress.revision(), self.counts());
        true
    }

    /// Compiles installations of which webhooks expired.
    fn expire(&mut self) {
        for key in self.writer.expired() {
            self.enqueue(InstallationWork {
                key,
                action: Action::Recompile,
                revisions: Vec::new(),
            });
        }
    }

    /// Adds work to the queue of its site; the work before it on the same document need not be done
    /// if it waits.
    fn enqueue(&mut self, mut work: InstallationWork) {
        let progress = &self.writer.handle().progress;
        work.revisions.iter().for_each(|revision| progress.begin(&work.key, *revision));
        let documents = work.action.documents();
        if let Some((owner, pieces)) = self.owners.get_mut(&work.key) {
            let mut waiting = self.queue.waiting_of(owner);
            if let Some(before) = waiting.find(|before| before.key == work.key) {
                before.revisions.append(&mut work.revisions);
                if !matches!(work.action, Action::Recompile) {
                    self.documents += work.action.documents();
                    self.documents -= before.action.documents();
                    before.action = work.action;
                }
                return;
            }
            drop(waiting);
            *pieces += 1;
            self.documents += documents;
            return self.queue.push(owner, work);
        }
        // Until a new installation is applied, it is an owner of its own.
        let site = self.writer.site_of(&work.key);
        let owner: Arc<str> = site.as_ref().map_or(&*work.key, CloudId::as_str).into();
        self.owners.insert(work.key.clone(), (Arc::clone(&owner), 1));
        self.documents += documents;
        self.queue.push(&owner, work);
    }

    /// Starts work as long as a worker is idle.
    fn start_workers(&mut self) {
        while self.workers.len() < WORKERS
            && let Some((owner, work)) = self.queue.next()
        {
            self.documents -= work.action.documents();
            let writer = Arc::clone(&self.writer);
            self.workers.spawn_blocking(move || {
                let start = clock::tick();
                match &work.action {
                    Action::Put { value, revision } => {
                        writer.apply_write(&work.key, value, *revision);
                    }
                    Action::Delete => writer.apply_delete(&work.key),
                    Action::Recompile => writer.recompile(&work.key),
                }
                (owner, work, clock::since(start))
            });
        }
    }

    /// Records what a worker did. False when the runtime stops.
    fn finish(&mut self, done: Result<Done, JoinError>) -> bool {
        let Some((owner, work, took)) = joined(done) else { return false };
        self.queue.finish(&owner, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if let Some((_, pieces)) = self.owners.get_mut(&work.key) {
            *pieces -= 1;
            if *pieces == 0 {
                self.owners.remove(&work.key);
            }
        }
        let progress = self.progress();
        progress.finish(&work.revisions);
        metrics::applied(progress.revision(), self.counts());
        true
    }

    /// Waits until all work is done. False when the runtime stops.
    async fn drain(&mut self) -> bool {
        loop {
            self.start_workers();
            let Some(done) = self.workers.join_next().await else { return true };
            if !self.finish(done) {
                return false;
            }
        }
    }

    fn end_load(&mut self, load: &LoadProgress, revision: u64) {
        load.unseen.iter().for_each(|key| self.writer.apply_delete(key));
        self.writer.count_unreadable();
        self.advance(revision);
        let progress = self.progress();
        progress.mark_loaded();
        let Counts { active, installations, .. } = self.counts();
        let (documents, per_second) = (load.documents(), load.per_second());
        let revision = progress.revision();
        info!(revision, documents, active, installations, per_second, "registry loaded");
    }

    fn progress(&self) -> &ApplyProgress {
        &self.writer.handle().progress
    }

    fn counts(&self) -> Counts {
        self.writer.handle().state.counts()
    }

    /// Publishes that everything up to `revision` was received.
    fn advance(&self, revision: u64) {
        let progress = self.progress();
        progress.advance(revision);
        metrics::applied(progress.revision(), self.counts());
    }
}

/// Returns the result of a blocking task; none if the runtime stops. A panic goes on here.
fn joined<T>(result: Result<T, JoinError>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
        Err(_) => None,
    }
}
