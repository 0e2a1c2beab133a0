//! Test fixtures: an app, an installation, and a store in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::{broadcast, mpsc};

use super::{
    AppRecord, InstallationRecord, Settings, Store, StoreError, StoredDocument, WatchEvent,
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

/// Returns the default settings without a rate limit.
pub(crate) fn settings() -> Settings {
    let mut config = Config::defaults().unwrap();
    config.limits.registration_rate = 0;
    Settings::new(&config, "")
}
