//! Applied state of this replica: records by id, their indexes, and the compiled subscriptions.
//!
//! One task applies changes in the order of their revisions; any number of tasks read. A reader
//! clones a shared pointer out of a map, so no map guard is held across an await.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dashmap::DashMap;
use tracing::{error, info};

use crate::clock;
use crate::domain::{AppId, InstallationId, SubscriptionId};
use crate::jwt::{KeyRecord, KeyRing};
use crate::matcher::{Matcher, Subscription};
use crate::registry::commands::discovery;
use crate::registry::commands::dynamic_webhooks::DynamicWebhook;
use crate::registry::commands::notices;
use crate::registry::compile::applied::{
    AppliedApp, AppliedInstallation, AppliedModule, EffectiveStatus,
};
use crate::registry::compile::modules::{ModuleCompiler, ProgramCache};
use crate::registry::metrics;
use crate::registry::model::document::{
    AppRecord, ClientRecord, Document, InstallationRecord, SigningKeysRecord, SiteRecord, read,
};
use crate::registry::registry::Settings;
use crate::registry::replica::load::{BATCH_MAX, DocumentWrite, in_parallel};
use crate::registry::replica::own_write_cache::OwnWriteCache;
use crate::registry::replica::timer_queue::TimerQueue;

/// Number of modules by effective status on this replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Modules that receive events.
    pub active: i64,
    /// Modules that receive no events.
    pub inactive: i64,
    /// Modules shadowed by a static module of the app.
    pub shadowed: i64,
    /// Dynamic webhooks that expired without a refresh.
    pub expired: i64,
    /// Modules whose events are parked.
    pub paused: i64,
    /// Installations with at least one module.
    pub installations: i64,
}

/// The maps of the applied state. See the file header.
#[derive(Debug)]
pub(crate) struct ReplicaState {
    matcher: Arc<Matcher>,
    prefix: String,
    webhook_life_ms: i64,
    programs: ProgramCache,
    own_writes: OwnWriteCache,
    apps: DashMap<AppId, Arc<AppliedApp>>,
    installations: DashMap<InstallationId, Arc<AppliedInstallation>>,
    clients: DashMap<String, Arc<ClientRecord>>,
    /// Installations by digest of their bearer token.
    tokens: DashMap<String, InstallationId>,
    client_tokens: DashMap<String, String>,
    of_app: DashMap<AppId, BTreeSet<InstallationId>>,
    /// Installations by Connect client key.
    of_client: DashMap<String, BTreeSet<InstallationId>>,
    /// Ids by document key, because deletions carry no document.
    ids: DashMap<String, String>,
    /// Next webhook expiry of each installation.
    expiries: TimerQueue,
    /// Next time an installation needs background work.
    wakeups: TimerQueue,
    keyring: Arc<KeyRing>,
    key_records: Mutex<Vec<KeyRecord>>,
    by_status: [AtomicI64; EffectiveStatus::ALL.len()],
    with_modules: AtomicI64,
}

impl ReplicaState {
    pub(crate) fn new(matcher: Arc<Matcher>, settings: &Settings) -> Self {
        let webhook_life = settings.connect.webhook_life.as_millis();
        Self {
            matcher,
            prefix: settings.prefix.clone(),
            webhook_life_ms: i64::try_from(webhook_life).unwrap_or(i64::MAX),
            programs: ProgramCache::default(),
            own_writes: OwnWriteCache::default(),
            apps: DashMap::new(),
            installations: DashMap::new(),
            clients: DashMap::new(),
            tokens: DashMap::new(),
            client_tokens: DashMap::new(),
            of_app: DashMap::new(),
            of_client: DashMap::new(),
            ids: DashMap::new(),
            expiries: TimerQueue::default(),
            wakeups: TimerQueue::default(),
            keyring: Arc::default(),
            key_records: Mutex::default(),
            by_status: Default::default(),
            with_modules: AtomicI64::new(0),
        }
    }

    pub(crate) fn programs(&self) -> &ProgramCache {
        &self.programs
    }

    pub(crate) fn own_writes(&self) -> &OwnWriteCache {
        &self.own_writes
    }

    pub(crate) fn keyring(&self) -> &Arc<KeyRing> {
        &self.keyring
    }

    /// Stored signing keys, in signing order.
    pub(crate) fn key_records(&self) -> Vec<KeyRecord> {
        self.key_records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn app(&self, id: &str) -> Option<Arc<AppliedApp>> {
        self.apps.get(id).map(|app| Arc::clone(&app))
    }

    pub(crate) fn installation(&self, id: &str) -> Option<Arc<AppliedInstallation>> {
        self.installations.get(id).map(|installation| Arc::clone(&installation))
    }

    pub(crate) fn client(&self, id: &str) -> Option<Arc<ClientRecord>> {
        self.clients.get(id).map(|client| Arc::clone(&client))
    }

    pub(crate) fn installation_by_token(&self, digest: &str) -> Option<Arc<AppliedInstallation>> {
        let id = self.tokens.get(digest).map(|id| id.clone())?;
        self.installation(id.as_str())
    }

    pub(crate) fn client_by_token(&self, digest: &str) -> Option<Arc<ClientRecord>> {
        let id = self.client_tokens.get(digest).map(|id| id.clone())?;
        self.client(&id)
    }

    pub(crate) fn installations_of(&self, app: &str) -> Vec<InstallationId> {
        self.of_app.get(app).map(|ids| ids.iter().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn installations_of_client(&self, client_key: &str) -> Vec<InstallationId> {
        let ids = self.of_client.get(client_key);
        ids.map(|ids| ids.iter().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn clients_of(&self, installation: &str) -> Vec<String> {
        let belongs = |client: &ClientRecord| client.installation.as_str() == installation;
        let ids = self.clients.iter().filter(|client| belongs(client.value()));
        ids.map(|client| client.key().clone()).collect()
    }

    pub(crate) fn app_ids(&self) -> BTreeSet<AppId> {
        self.apps.iter().map(|app| app.key().clone()).collect()
    }

    pub(crate) fn installation_ids(&self) -> BTreeSet<InstallationId> {
        self.installations.iter().map(|installation| installation.key().clone()).collect()
    }

    pub(crate) fn subscription(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        let installation = self.installation(id.installation.as_str())?;
        installation.module(id.key.as_str())?.subscription.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        let [active, inactive, shadowed, expired, paused] =
            self.by_status.each_ref().map(|count| count.load(Relaxed));
        let installations = self.with_modules.load(Relaxed);
        Counts { active, inactive, shadowed, expired, paused, installations }
    }

    /// Keys of all applied documents.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.ids.iter().map(|entry| entry.key().clone()).collect()
    }

    /// Applies a written document. One that cannot be read is logged and changes nothing: the last
    /// valid one stays.
    pub(crate) fn apply_write(&self, key: &str, value: &Bytes, revision: u64) {
        let family = key.split('.').next().unwrap_or_default();
        let applied = match family {
            AppRecord::FAMILY => read(value).map(|record| self.put_app(key, record, revision)),
            InstallationRecord::FAMILY => self
                .installation_of(key, value)
                .map(|record| self.put_installation(key, record, revision)),
            ClientRecord::FAMILY => read(value).map(|record| self.put_client(key, record)),
            SigningKeysRecord::FAMILY => read(value).and_then(|record| self.put_keys(record)),
            // Not applied: updates read it from the store.
            SiteRecord::FAMILY => Ok(()),
            _ => Err("no family of documents has such keys".to_owned()),
        };
        if let Err(reason) = applied {
            report_unapplied(key, revision, reason);
        }
    }

    /// Applies documents in order; consecutive installations are compiled in parallel.
    pub(crate) fn apply_writes(&self, documents: &[DocumentWrite]) {
        let mut together: Vec<&DocumentWrite> = Vec::new();
        let mut keys = HashSet::new();
        for document in documents {
            let is_installation =
                document.key.split('.').next() == Some(InstallationRecord::FAMILY);
            if !is_installation || keys.contains(&document.key) {
                self.put_installations(&std::mem::take(&mut together));
                keys.clear();
            }
            if is_installation {
                keys.insert(&document.key);
                together.push(document);
            } else {
                self.apply_write(&document.key, &document.value, document.revision);
            }
        }
        self.put_installations(&together);
    }

    /// Applies the documents of distinct installations.
    fn put_installations(&self, documents: &[&DocumentWrite]) {
        let read = in_parallel(documents, |document| {
            let record = self.installation_of(&document.key, &document.value)?;
            Ok(self.compile_installation(Arc::new(record), document.revision))
        });
        let mut compiled = Vec::with_capacity(documents.len());
        for (document, installation) in documents.iter().zip(read) {
            match installation {
                Ok(installation) => {
                    self.index_installation(&document.key, &installation.record);
                    compiled.push(installation);
                }
                Err(reason) => report_unapplied(&document.key, document.revision, reason),
            }
        }
        self.publish_to_matcher(compiled);
    }

    /// Removes a document.
    pub(crate) fn apply_delete(&self, key: &str) {
        let Some((_, id)) = self.ids.remove(key) else { return };
        match key.split('.').next().unwrap_or_default() {
            AppRecord::FAMILY => {
                self.apps.remove(id.as_str());
                self.recompile_installations_of(&id);
            }
            InstallationRecord::FAMILY => self.delete_installation(&id),
            ClientRecord::FAMILY => self.delete_client(&id),
            _ => {}
        }
    }

    fn put_keys(&self, record: SigningKeysRecord) -> Result<(), String> {
        self.keyring.apply(&record.keys).map_err(|error| error.to_string())?;
        *self.key_records.lock().unwrap_or_else(PoisonError::into_inner) = record.keys;
        Ok(())
    }

    fn put_app(&self, key: &str, record: AppRecord, revision: u64) {
        let id = record.id.clone();
        self.ids.insert(key.to_owned(), id.to_string());
        self.apps.insert(id.clone(), Arc::new(AppliedApp::new(record, revision)));
        self.recompile_installations_of(id.as_str());
    }

    fn recompile_installations_of(&self, app: &str) {
        let ids = self.installations_of(app);
        let known: Vec<_> = ids.iter().filter_map(|id| self.installation(id.as_str())).collect();
        for known in known.chunks(BATCH_MAX) {
            self.publish_to_matcher(in_parallel(known, |known| {
                self.compile_installation(Arc::clone(&known.record), known.revision)
            }));
        }
    }

    /// Returns the record of a document, from the cache if this replica wrote it.
    fn installation_of(&self, key: &str, value: &Bytes) -> Result<InstallationRecord, String> {
        self.own_writes.take(key, value).map_or_else(|| read(value), Ok)
    }

    fn put_installation(&self, key: &str, record: InstallationRecord, revision: u64) {
        self.index_installation(key, &record);
        self.compile(Arc::new(record), revision);
    }

    /// Updates the indexes for an installation.
    fn index_installation(&self, key: &str, record: &InstallationRecord) {
        self.ids.insert(key.to_owned(), record.id.to_string());
        let before = self.installation(record.id.as_str()).map(|known| Arc::clone(&known.record));
        if let Some(before) = &before {
            if before.token_hash != record.token_hash {
                self.unindex_token(before);
            }
            if before.app != record.app {
                self.unindex_app(before);
            }
            if before.client_key != record.client_key {
                self.unindex_client_key(before);
            }
        }
        if let Some(digest) = &record.token_hash {
            self.tokens.insert(digest.clone(), record.id.clone());
        }
        self.of_app.entry(record.app.clone()).or_default().insert(record.id.clone());
        if let Some(client_key) = &record.client_key {
            let mut members = self.of_client.entry(client_key.clone()).or_default();
            members.insert(record.id.clone());
        }
    }

    fn unindex_token(&self, record: &InstallationRecord) {
        if let Some(digest) = &record.token_hash {
            self.tokens.remove(digest);
        }
    }

    fn unindex_app(&self, record: &InstallationRecord) {
        self.of_app.entry(record.app.clone()).or_default().remove(&record.id);
        self.of_app.remove_if(&record.app, |_, members| members.is_empty());
    }

    fn unindex_client_key(&self, record: &InstallationRecord) {
        if let Some(client_key) = &record.client_key {
            self.of_client.entry(client_key.clone()).or_default().remove(&record.id);
            self.of_client.remove_if(client_key, |_, members| members.is_empty());
        }
    }

    /// Compiles the modules of an installation and publishes them to the matcher.
    fn compile(&self, record: Arc<InstallationRecord>, revision: u64) {
        self.publish_to_matcher(vec![self.compile_installation(record, revision)]);
    }

    /// Compiles an installation without publishing it.
    fn compile_installation(
        &self,
        record: Arc<InstallationRecord>,
        revision: u64,
    ) -> AppliedInstallation {
        let before = self.installation(record.id.as_str());
        let app = self.app(record.app.as_str());
        let compiler = ModuleCompiler {
            app: app.as_deref(),
            installation: &record,
            before: before.as_deref(),
            revision,
            programs: &self.programs,
            prefix: &self.prefix,
        };
        let modules = compiler.modules();
        AppliedInstallation { record, revision, app_revision: app.map(|app| app.revision), modules }
    }

    /// Publishes distinct installations to the matcher and to readers.
    fn publish_to_matcher(&self, compiled: Vec<AppliedInstallation>) {
        self.matcher.replace_many(compiled.iter().map(|installation| {
            let live = installation.modules.iter().filter_map(|module| module.subscription.clone());
            (installation.record.id.clone(), live.collect())
        }));
        for installation in compiled {
            let (record, modules) = (&installation.record, &installation.modules);
            let before = self.installation(record.id.as_str());
            self.count(before.as_ref().map_or(&[], |before| &before.modules), -1);
            self.count(modules, 1);
            self.schedule_expiry(record);
            self.schedule_wakeup(self.app(record.app.as_str()).as_deref(), record);
            self.installations.insert(record.id.clone(), Arc::new(installation));
        }
    }

    fn schedule_expiry(&self, record: &InstallationRecord) {
        let times = record
            .modules
            .iter()
            .filter_map(|module| DynamicWebhook::expires_ms(&module.module_type, &module.data));
        let now_ms = clock::now_ms();
        self.expiries.set(&record.id, times.filter(|at_ms| *at_ms > now_ms).min());
    }

    /// Removes webhooks that have expired from the matcher.
    pub(crate) fn expire(&self) {
        metrics::next_expiry(self.expiries.next_ms().map(|at_ms| at_ms - clock::now_ms()));
        while let Some(id) = self.expiries.pop_due(clock::now_ms()) {
            if let Some(known) = self.installation(id.as_str()) {
                self.compile(Arc::clone(&known.record), known.revision);
            }
        }
    }

    fn schedule_wakeup(&self, app: Option<&AppliedApp>, record: &InstallationRecord) {
        let due = app.and_then(|app| {
            let warning_ms = notices::warning_due_ms(app, record, self.webhook_life_ms);
            discovery::due_ms(app, record).into_iter().chain(warning_ms).min()
        });
        self.wakeups.set(&record.id, due);
    }

    /// Schedules background work for an installation.
    pub(crate) fn wake_at(&self, id: &InstallationId, at_ms: i64) {
        self.wakeups.set(id, Some(at_ms));
    }

    /// Returns an installation with due background work.
    pub(crate) fn pop_due(&self, now_ms: i64) -> Option<InstallationId> {
        self.wakeups.pop_due(now_ms)
    }

    fn delete_installation(&self, id: &str) {
        let Some((id, known)) = self.installations.remove(id) else { return };
        self.matcher.replace_installation(&id, Vec::new());
        self.unindex_token(&known.record);
        self.unindex_app(&known.record);
        self.unindex_client_key(&known.record);
        self.expiries.set(&id, None);
        self.wakeups.set(&id, None);
        self.count(&known.modules, -1);
        info!(installation = %id, "installation removed");
    }

    fn put_client(&self, key: &str, record: ClientRecord) {
        self.delete_client(&record.id);
        self.ids.insert(key.to_owned(), record.id.clone());
        self.client_tokens.insert(record.token_hash.clone(), record.id.clone());
        self.clients.insert(record.id.clone(), Arc::new(record));
    }

    fn delete_client(&self, id: &str) {
        if let Some((_, client)) = self.clients.remove(id) {
            self.client_tokens.remove(&client.token_hash);
        }
    }

    fn count(&self, modules: &[Arc<AppliedModule>], sign: i64) {
        for (status, total) in EffectiveStatus::ALL.iter().zip(&self.by_status) {
            let found = modules.iter().filter(|module| module.effective_status == *status).count();
            total.fetch_add(sign * i64::try_from(found).unwrap_or(i64::MAX), Relaxed);
        }
        if !modules.is_empty() {
            self.with_modules.fetch_add(sign, Relaxed);
        }
    }
}

fn report_unapplied(key: &str, revision: u64, reason: String) {
    metrics::document_refused();
    error!(key, revision, %reason, "registry document cannot be applied");
}
