//! Watch loop of a replica: receives the events of the store and has the writer apply them in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::info;

use super::load::{BATCH_MAX, DocumentWrite, LoadProgress};
use super::writer::StateWriter;
use crate::registry::metrics;
use crate::registry::model::Counts;
use crate::registry::store::{Store, WatchEvent};

/// Watch events that wait to be applied; the watch pauses when there are more.
const EVENTS_MAX: usize = 1024;
/// Interval at which expired webhooks are removed from the matcher.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Watches the store and applies its events, until the future is dropped.
pub(crate) async fn run(store: Arc<dyn Store>, writer: StateWriter) {
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    // A separate task, so that compiling never blocks the watch.
    let mut feed = JoinSet::new();
    feed.spawn(async move { store.watch(sender).await });
    let mut applier = Some(Applier { writer, load: None });
    let mut waiting = Vec::new();
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    while let Some(mut current) = applier.take() {
        tokio::select! {
            count = events.recv_many(&mut waiting, BATCH_MAX) => match count {
                0 => break,
                _ => applier = current.apply_all(waiting.drain(..)).await,
            },
            _ = expiry.tick() => {
                current.writer.expire();
                applier = Some(current);
            }
        }
        tokio::task::yield_now().await;
    }
    feed.shutdown().await;
}

/// The writer with the load that is running, if any.
struct Applier {
    writer: StateWriter,
    load: Option<LoadProgress>,
}

impl Applier {
    /// Applies events in order; those of a load in batches, on a blocking thread. None when the
    /// runtime stops.
    async fn apply_all(mut self, events: impl Iterator<Item = WatchEvent>) -> Option<Self> {
        let mut batch = Vec::new();
        for event in events {
            match event {
                WatchEvent::Put { key, value, revision } if self.load.is_some() => {
                    batch.push(DocumentWrite { key, value, revision });
                }
                other => {
                    self = self.apply_batch(std::mem::take(&mut batch)).await?;
                    self.apply(other);
                }
            }
        }
        self.apply_batch(batch).await
    }

    async fn apply_batch(mut self, batch: Vec<DocumentWrite>) -> Option<Self> {
        let Some(revision) = batch.iter().map(|document| document.revision).max() else {
            return Some(self);
        };
        let work = move || {
            self.writer.apply_writes(&batch);
            (self, batch)
        };
        let (mut applier, batch) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
            Err(_) => return None,
        };
        let active = applier.counts().active;
        if let Some(load) = &mut applier.load {
            load.record_applied(&batch, active);
        }
        applier.advance(revision);
        Some(applier)
    }

    fn apply(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::LoadStarted { is_reset } => {
                self.load = Some(LoadProgress::start(self.writer.keys()));
                if is_reset {
                    self.writer.handle().progress.restart();
                }
                self.advance(0);
            }
            WatchEvent::CaughtUp { revision } => match self.load.take() {
                Some(load) => self.end_load(&load, revision),
                None => self.advance(revision),
            },
            WatchEvent::Put { key, value, revision } => {
                self.writer.apply_write(&key, &value, revision);
                self.advance(revision);
            }
            WatchEvent::Deleted { key, revision } => {
                self.writer.apply_delete(&key);
                self.advance(revision);
            }
        }
    }

    fn end_load(&mut self, load: &LoadProgress, revision: u64) {
        load.unseen.iter().for_each(|key| self.writer.apply_delete(key));
        self.writer.count_unreadable();
        self.advance(revision);
        let progress = &self.writer.handle().progress;
        progress.mark_loaded();
        let Counts { active, installations, .. } = self.counts();
        let (documents, per_second) = (load.documents(), load.per_second());
        let revision = progress.revision();
        info!(revision, documents, active, installations, per_second, "registry loaded");
    }

    fn counts(&self) -> Counts {
        self.writer.handle().state.counts()
    }

    /// Publishes that everything up to `revision` is applied.
    fn advance(&self, revision: u64) {
        let progress = &self.writer.handle().progress;
        progress.advance(revision);
        metrics::applied(progress.revision(), self.counts());
    }
}
