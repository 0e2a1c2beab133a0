//! Test fixtures: an app, an installation, a store and a stream of revisions in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::{broadcast, mpsc};

use super::{
    AppRecord, Appended, InstallationRecord, ModuleRevision, REVISIONS_OF_MODULE_MAX, RevisionLog,
    RevisionLogError, RevisionOwner, RevisionWrite, Settings, Store, StoreError, StoredDocument,
    StoredRevision, StreamUse, WatchEvent,
};
use crate::config::Config;

/// A Forge app with function `main`, endpoint `hook` and the scope `read:jira-work`.
pub(crate) fn forge_app() -> AppRecord {
    serde_json::from_value(json!({
        "format": 1, "id": "ari:app/1", "kind": "forge", "scopes": ["read:jira-work"],
        "functions": ["main"],
        "endpoints": [{"key": "hook", "url": "http://127.0.0.1:9/", "secret": "whsec_x"}],
        "staticModules": {}, "createdMs": 0, "updatedMs": 0,
    }))
    .unwrap()
}

/// An enabled installation of a Connect app in Jira.
pub(crate) fn connect_installation() -> InstallationRecord {
    serde_json::from_value(json!({
        "format": 1, "id": "inst-c", "app": "com.example.app", "cloudId": "site-1",
        "product": "jira", "clientKey": "tenant-1", "sharedSecret": "secret-1", "licensed": true,
        "environment": "PRODUCTION", "state": "enabled", "modules": [], "nextOrder": 1,
        "createdMs": 0, "updatedMs": 0,
    }))
    .unwrap()
}

/// A store for tests: compare-and-set over a map; can interrupt its watch or fail.
pub(crate) struct MemoryStore {
    state: Mutex<State>,
    sent: broadcast::Sender<Option<WatchEvent>>,
}

#[derive(Default)]
struct State {
    documents: BTreeMap<String, StoredDocument>,
    revision: u64,
    broken: bool,
}

impl MemoryStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), sent: broadcast::Sender::new(4096) })
    }

    /// Makes every call fail, or succeed again.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.state.lock().unwrap().broken = broken;
    }

    /// Deletes a document without an event and makes watchers load again.
    pub(crate) fn lose(&self, key: &str) {
        self.state.lock().unwrap().documents.remove(key);
        let _ = self.sent.send(None);
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().documents.keys().cloned().collect()
    }

    fn write(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: Option<u64>,
    ) -> Result<u64, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.broken {
            return Err(StoreError::Unavailable("scripted failure".into()));
        }
        if state.documents.get(key).map(|stored| stored.revision) != expected {
            return Err(StoreError::Conflict);
        }
        state.revision += 1;
        let (key, revision) = (key.to_owned(), state.revision);
        let change = match value {
            Some(value) => {
                let stored = StoredDocument { value: value.clone(), revision };
                state.documents.insert(key.clone(), stored);
                WatchEvent::Put { key, value, revision }
            }
            None => {
                state.documents.remove(&key);
                WatchEvent::Deleted { key, revision }
            }
        };
        let _ = self.sent.send(Some(change));
        Ok(revision)
    }

    /// Sends everything; false if the receiver was dropped.
    async fn load(&self, changes: &mpsc::Sender<WatchEvent>, is_reset: bool) -> bool {
        let (documents, revision) = {
            let state = self.state.lock().unwrap();
            (state.documents.clone(), state.revision)
        };
        let puts = documents.into_iter().map(|(key, StoredDocument { value, revision })| {
            WatchEvent::Put { key, value, revision }
        });
        let load = [WatchEvent::LoadStarted { is_reset }]
            .into_iter()
            .chain(puts)
            .chain([WatchEvent::CaughtUp { revision }]);
        for change in load {
            if changes.send(change).await.is_err() {
                return false;
            }
        }
        true
    }
}

impl Store for MemoryStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredDocument>, StoreError>> {
        Box::pin(async move {
            let state = self.state.lock().unwrap();
            match state.broken {
                true => Err(StoreError::Unavailable("scripted failure".into())),
                false => Ok(state.documents.get(key).cloned()),
            }
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            // Lets other tasks run between reading and writing, as a real store would.
            tokio::task::yield_now().await;
            self.write(key, Some(value), expected)
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.write(key, None, Some(expected)) })
    }

    fn last_revision(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let state = self.state.lock().unwrap();
            match state.broken {
                true => Err(StoreError::Unavailable("scripted failure".into())),
                false => Ok(state.revision),
            }
        })
    }

    fn watch(&self, changes: mpsc::Sender<WatchEvent>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut sent = self.sent.subscribe();
            let mut is_reset = true;
            while self.load(&changes, is_reset).await {
                is_reset = false;
                while let Ok(Some(change)) = sent.recv().await {
                    if changes.send(change).await.is_err() {
                        return;
                    }
                }
            }
        })
    }
}

/// A stream of revisions for tests: message ids and expected sequences as the broker has them; can fail.
#[derive(Default)]
pub(crate) struct MemoryRevisions(Mutex<Revisions>);

#[derive(Default)]
struct Revisions {
    stored: Vec<StoredRevision>,
    ids: BTreeSet<String>,
    last: u64,
    broken: bool,
    /// Tokens of owners whose revisions can neither be written nor read.
    broken_owners: BTreeSet<String>,
    /// Most revisions; none: no bound.
    max: Option<u64>,
    /// Writes that arrived, and reads of last revisions.
    writes: usize,
    reads: usize,
}

impl MemoryRevisions {
    /// Makes every call fail, or succeed again.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }

    /// Sets the owners, by their tokens, whose revisions can neither be written nor read.
    pub(crate) fn set_broken_owners(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned());
        self.0.lock().unwrap().broken_owners = tokens.collect();
    }

    /// Sets the bound that the stream reports.
    pub(crate) fn set_max(&self, max: u64) {
        self.0.lock().unwrap().max = Some(max);
    }

    /// Stores a revision as it is, with the next sequence.
    pub(crate) fn add(&self, revision: &ModuleRevision) {
        let write = RevisionWrite::of(revision, None).unwrap();
        self.0.lock().unwrap().push(&write);
    }

    /// Returns the tokens of the keys that have revisions, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let keys: BTreeSet<_> = state.stored.iter().map(|one| one.module.to_string()).collect();
        keys.into_iter().collect()
    }

    /// Deletes the revisions of modules with this key.
    pub(crate) fn lose(&self, key: &str) {
        let is_it = |one: &ModuleRevision| one.key.as_str() == key;
        self.0.lock().unwrap().stored.retain(|one| !one.revision.as_ref().is_ok_and(is_it));
    }

    /// Deletes the last revision.
    pub(crate) fn lose_last(&self) {
        self.0.lock().unwrap().stored.pop();
    }

    /// Returns the revisions of modules with this key, in the order of the stream.
    pub(crate) fn of(&self, key: &str) -> Vec<ModuleRevision> {
        let state = self.0.lock().unwrap();
        let found = state.stored.iter().filter_map(|stored| stored.revision.clone().ok());
        found.filter(|revision| revision.key.as_str() == key).collect()
    }

    /// Returns the number of writes that arrived, and of reads of last revisions.
    pub(crate) fn operations(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        (state.writes, state.reads)
    }

    fn working(&self) -> Result<std::sync::MutexGuard<'_, Revisions>, RevisionLogError> {
        let state = self.0.lock().unwrap();
        match state.broken {
            true => Err(RevisionLogError("scripted failure".into())),
            false => Ok(state),
        }
    }
}

impl Revisions {
    fn last_of(&self, owner: &RevisionOwner, module: &str) -> Option<&StoredRevision> {
        self.stored.iter().rev().find(|one| one.owner == *owner && *one.module == *module)
    }

    fn append(&mut self, write: &RevisionWrite, appended: &mut Appended) {
        let sequence = self.last_of(&write.owner, &write.module).map_or(0, |last| last.sequence);
        if write.expected.is_some_and(|expected| expected != sequence) {
            appended.conflicts += 1;
            return;
        }
        appended.stored += 1;
        if self.ids.insert(write.id.clone()) {
            self.push(write);
        }
    }

    fn push(&mut self, write: &RevisionWrite) {
        self.last += 1;
        self.stored.push(StoredRevision {
            owner: write.owner.clone(),
            module: write.module.clone(),
            sequence: self.last,
            revision: ModuleRevision::read(&write.body),
        });
        let is_it = |one: &&StoredRevision| one.owner == write.owner && one.module == write.module;
        if self.stored.iter().filter(is_it).count() > REVISIONS_OF_MODULE_MAX {
            let first = self.stored.iter().position(|one| is_it(&one)).unwrap();
            self.stored.remove(first);
        }
    }
}

impl RevisionLog for MemoryRevisions {
    fn append<'a>(
        &'a self,
        writes: &'a [RevisionWrite],
    ) -> BoxFuture<'a, Result<Appended, RevisionLogError>> {
        Box::pin(async move {
            let mut state = self.working()?;
            let mut appended = Appended::default();
            state.writes += writes.len();
            if writes.iter().any(|write| state.broken_owners.contains(write.owner.token())) {
                return Err(RevisionLogError("scripted failure of an owner".into()));
            }
            writes.iter().for_each(|write| state.append(write, &mut appended));
            Ok(appended)
        })
    }

    fn last_of<'a>(
        &'a self,
        owner: &'a RevisionOwner,
    ) -> BoxFuture<'a, Result<Vec<StoredRevision>, RevisionLogError>> {
        Box::pin(async move {
            let mut state = self.working()?;
            state.reads += 1;
            if state.broken_owners.contains(owner.token()) {
                return Err(RevisionLogError("scripted failure of an owner".into()));
            }
            let mut last = BTreeMap::new();
            for stored in state.stored.iter().filter(|one| one.owner == *owner) {
                last.insert(stored.module.clone(), stored.clone());
            }
            Ok(last.into_values().collect())
        })
    }

    fn all_of<'a>(
        &'a self,
        owner: &'a RevisionOwner,
        module: &'a str,
    ) -> BoxFuture<'a, Result<Vec<StoredRevision>, RevisionLogError>> {
        Box::pin(async move {
            let state = self.working()?;
            let is_it = |one: &&StoredRevision| one.owner == *owner && *one.module == *module;
            Ok(state.stored.iter().filter(is_it).cloned().collect())
        })
    }

    fn each_module<'a>(
        &'a self,
        visit: &'a mut (dyn FnMut(RevisionOwner, &str) + Send),
    ) -> BoxFuture<'a, Result<StreamUse, RevisionLogError>> {
        Box::pin(async move {
            let state = self.working()?;
            state.stored.iter().for_each(|one| visit(one.owner.clone(), &one.module));
            let stored = u64::try_from(state.stored.len()).unwrap();
            Ok(StreamUse { stored, max: state.max.unwrap_or(u64::MAX) })
        })
    }

    fn purge<'a>(
        &'a self,
        owner: &'a RevisionOwner,
        module: &'a str,
        last: u64,
    ) -> BoxFuture<'a, Result<(), RevisionLogError>> {
        Box::pin(async move {
            let mut state = self.working()?;
            state
                .stored
                .retain(|one| one.owner != *owner || *one.module != *module || one.sequence > last);
            Ok(())
        })
    }

    fn ensure(&self) -> BoxFuture<'_, Result<bool, RevisionLogError>> {
        Box::pin(async move { self.working().map(|_| false) })
    }
}

/// Returns the default settings without a rate limit.
pub(crate) fn settings() -> Settings {
    let mut config = Config::defaults().unwrap();
    config.limits.registration_rate = 0;
    Settings::new(&config, "")
}
