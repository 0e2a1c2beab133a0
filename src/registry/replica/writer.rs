//! The writer of the applied state: it indexes and compiles documents, publishes subscriptions to the
//! matcher, and schedules what is due later.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tracing::{error, info};

use super::handle::ReplicaHandle;
use super::load::{BATCH_MAX, DocumentWrite};
use super::parallel::in_parallel;
use super::timer_queue::TimerQueue;
use super::unreadable::{UnreadableDocument, UnreadableDocuments};
use crate::clock;
use crate::domain::{CloudId, Product};
use crate::matcher::Matcher;
use crate::registry::compile::{
    AppliedApp, AppliedInstallation, AppliedModule, EventConditionsCache, ModuleCompiler,
};
use crate::registry::metrics;
use crate::registry::model::{
    AccessTokenRecord, AppRecord, ClientRecord, Document, DocumentError, DynamicWebhook,
    EffectiveStatus, InstallationRecord, SigningKeysRecord, SiteRecord, decode, discovery_due_ms,
    expiry_warning_due_ms, family,
};
use crate::registry::settings::Settings;
use crate::telemetry::LogBudget;

/// Applies documents to the state. Shared by the watch and its workers only: changes of one
/// installation are applied in the order of their revisions, those of different ones side by side.
#[derive(Debug)]
pub(crate) struct StateWriter {
    replica: ReplicaHandle,
    matcher: Arc<Matcher>,
    conditions: EventConditionsCache,
    /// Ids by document key, because deletions carry no document.
    ids: Mutex<HashMap<String, String>>,
    /// Next webhook expiry of each installation.
    expiries: TimerQueue,
    unreadable: Mutex<UnreadableDocuments>,
    unreadable_log: LogBudget,
    settings: Settings,
}

impl StateWriter {
    /// Creates the writer of an empty state that publishes subscriptions to `matcher`.
    pub(crate) fn new(matcher: Arc<Matcher>, settings: &Settings) -> Self {
        Self {
            replica: ReplicaHandle::default(),
            matcher,
            conditions: EventConditionsCache::default(),
            ids: Mutex::default(),
            expiries: TimerQueue::default(),
            unreadable: Mutex::default(),
            unreadable_log: LogBudget::default(),
            settings: settings.clone(),
        }
    }

    /// Returns handles to the state that it writes.
    pub(crate) fn handle(&self) -> &ReplicaHandle {
        &self.replica
    }

    /// Returns the keys of all applied or unreadable documents.
    pub(super) fn keys(&self) -> HashSet<String> {
        self.ids().keys().chain(self.unreadable().keys()).cloned().collect()
    }

    /// Returns the site of an installation's document; none before it was applied.
    pub(super) fn site_of(&self, key: &str) -> Option<CloudId> {
        let id = self.ids().get(key).cloned()?;
        Some(self.replica.state.installation(&id)?.record.cloud_id.clone())
    }

    fn ids(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self) -> MutexGuard<'_, UnreadableDocuments> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a written document. Of one that cannot be read the last valid one stays, for those
    /// who read the registry; events wait for it.
    pub(super) fn apply_write(&self, key: &str, value: &Bytes, revision: u64) {
        self.apply_one(key, value, revision);
        self.publish_unreadable();
    }

    fn apply_one(&self, key: &str, value: &Bytes, revision: u64) {
        let applied = match family(key) {
            AppRecord::FAMILY => decode(key, value, &self.settings.encryption)
                .and_then(|record| AppliedApp::new(record, revision))
                .map(|app| self.put_app(key, app)),
            InstallationRecord::FAMILY => self
                .installation_record(key, value)
                .map(|record| self.put_installation(key, record, revision)),
            ClientRecord::FAMILY => decode(key, value, &self.settings.encryption)
                .map(|record| self.put_client(key, record)),
            AccessTokenRecord::FAMILY => self.apply_access_token(key, value),
            SigningKeysRecord::FAMILY => decode(key, value, &self.settings.encryption)
                .and_then(|record| self.put_keys(record)),
            // Not applied: commands read it from the store.
            SiteRecord::FAMILY => {
                decode::<SiteRecord>(key, value, &self.settings.encryption).map(drop)
            }
            _ => Err(DocumentError::UnknownFamily),
        };
        match applied {
            Ok(()) if family(key) == AppRecord::FAMILY => {}
            Ok(()) if family(key) == InstallationRecord::FAMILY => {}
            Ok(()) => note_read(&mut self.unreadable(), key),
            Err(error) => self.note_unreadable(key, value, revision, &error),
        }
    }

    fn note_unreadable(&self, key: &str, value: &Bytes, revision: u64, error: &DocumentError) {
        let before = match family(key) {
            InstallationRecord::FAMILY => {
                let id = self.ids().get(key).cloned();
                id.and_then(|id| self.replica.state.installation(&id))
            }
            _ => None,
        };
        let before = before.as_ref().map(|known| &*known.record);
        let document = UnreadableDocument::new(key, value, revision, error, before);
        self.report_unreadable(&mut self.unreadable(), document);
    }

    fn report_unreadable(
        &self,
        unreadable: &mut UnreadableDocuments,
        document: UnreadableDocument,
    ) {
        metrics::document_refused();
        if let Some(suppressed) = self.unreadable_log.take() {
            let UnreadableDocument { key, revision, reason, .. } = &document;
            error!(
                key,
                revision, reason, suppressed, "registry document cannot be read; its events wait"
            );
        }
        unreadable.insert(document);
    }

    /// Publishes what is unreadable to those who read it.
    fn publish_unreadable(&self) {
        let state = &self.replica.state;
        // Stored under the lock, so that the workers publish in order.
        let mut unreadable = self.unreadable();
        if let Some(changed) = unreadable.changed(|key| state.enabled_by_app_key(key)) {
            state.unreadable.store(Arc::new(changed));
        }
    }

    /// Sets the gauges of unreadable documents, which otherwise change only with their number.
    pub(super) fn count_unreadable(&self) {
        self.unreadable().count();
    }

    /// Applies documents in order; consecutive installations are compiled in parallel.
    pub(crate) fn apply_writes(&self, documents: &[DocumentWrite]) {
        let mut together: Vec<&DocumentWrite> = Vec::new();
        let mut keys = HashSet::new();
        for document in documents {
            let is_installation = family(&document.key) == InstallationRecord::FAMILY;
            if !is_installation || keys.contains(&document.key) {
                self.put_installations(&std::mem::take(&mut together));
                keys.clear();
            }
            if is_installation {
                keys.insert(&document.key);
                together.push(document);
            } else {
                self.apply_one(&document.key, &document.value, document.revision);
            }
        }
        self.put_installations(&together);
        self.publish_unreadable();
    }

    /// Removes a document.
    pub(super) fn apply_delete(&self, key: &str) {
        self.unreadable().remove(key);
        self.apply_deletion(key);
        self.publish_unreadable();
    }

    /// Compiles an installation again, because webhooks expired.
    pub(super) fn recompile(&self, key: &str) {
        let id = self.ids().get(key).cloned();
        let known = id.and_then(|id| self.replica.state.installation(&id));
        if let Some(known) = known {
            let compiled = self.compile(Arc::clone(&known.record), known.revision);
            self.publish(vec![compiled], Source::Recompiled);
        }
        self.publish_unreadable();
    }

    fn apply_deletion(&self, key: &str) {
        let id = self.ids().remove(key);
        let Some(id) = id else { return };
        match family(key) {
            AppRecord::FAMILY => {
                let state = &self.replica.state;
                if let Some((id, _)) = state.apps.remove(id.as_str()) {
                    state.app_ids_by_token.remove(&*id.token());
                }
                self.replica.revision_checks.note_key(key);
                self.recompile_installations_of(&id);
            }
            InstallationRecord::FAMILY => {
                self.delete_installation(&id);
                self.replica.revision_checks.note_key(key);
            }
            ClientRecord::FAMILY => self.delete_client(&id),
            AccessTokenRecord::FAMILY => self.delete_access_token(&id),
            other => debug_assert!(false, "documents of family {other} have no id here"),
        }
    }

    /// Returns the keys of installations of which webhooks have expired since the last call.
    pub(super) fn expired(&self) -> Vec<String> {
        metrics::next_expiry(self.expiries.next_ms().map(|at_ms| at_ms - clock::broker_now_ms()));
        let due = std::iter::from_fn(|| self.expiries.pop_due(clock::broker_now_ms()));
        let keys: Vec<String> = due.map(|id| InstallationRecord::key(id.as_str())).collect();
        keys.iter().for_each(|key| self.replica.revision_checks.note_key(key));
        keys
    }

    fn put_keys(&self, record: SigningKeysRecord) -> Result<(), DocumentError> {
        let state = &self.replica.state;
        let applied = state.keyring.apply(&record.keys);
        applied.map_err(|error| DocumentError::Unsupported(error.to_string()))?;
        let mut records = state.key_records.lock().unwrap_or_else(PoisonError::into_inner);
        *records = record.keys;
        drop(records);
        let mut stored = state.keys_stored_with.lock().unwrap_or_else(PoisonError::into_inner);
        *stored = record.stored_with;
        Ok(())
    }

    fn put_app(&self, key: &str, app: AppliedApp) {
        note_read(&mut self.unreadable(), key);
        let id = app.record.id.clone();
        self.ids().insert(key.to_owned(), id.to_string());
        let before = self.replica.state.app(id.as_str());
        let before = before.as_ref().map(|before| &before.record);
        self.replica.revision_checks.note_app(before, &app.record, app.revision);
        if let Cow::Owned(token) = id.token() {
            self.replica.state.app_ids_by_token.insert(token.into(), id.clone());
        }
        self.replica.state.apps.insert(id.clone(), Arc::new(app));
        self.recompile_installations_of(id.as_str());
    }

    fn recompile_installations_of(&self, app: &str) {
        let state = Arc::clone(&self.replica.state);
        let ids = state.installations_of(app);
        let known: Vec<_> = ids.iter().filter_map(|id| state.installation(id.as_str())).collect();
        for known in known.chunks(BATCH_MAX) {
            let compiled =
                in_parallel(known, |known| self.compile(Arc::clone(&known.record), known.revision));
            self.publish(compiled, Source::Recompiled);
        }
    }

    fn put_installation(&self, key: &str, record: InstallationRecord, revision: u64) {
        self.index_installation(key, &record);
        let compiled = self.compile(Arc::new(record), revision);
        self.publish(vec![compiled], Source::Document);
    }

    /// Applies the documents of distinct installations.
    fn put_installations(&self, documents: &[&DocumentWrite]) {
        let results = in_parallel(documents, |document| {
            let record = self.installation_record(&document.key, &document.value)?;
            Ok(self.compile(Arc::new(record), document.revision))
        });
        let mut compiled = Vec::with_capacity(documents.len());
        for (document, result) in documents.iter().zip(results) {
            match result {
                Ok(installation) => {
                    self.index_installation(&document.key, &installation.record);
                    compiled.push(installation);
                }
                Err(error) => {
                    let DocumentWrite { key, value, revision } = document;
                    self.note_unreadable(key, value, *revision, &error);
                }
            }
        }
        self.publish(compiled, Source::Document);
    }

    /// Returns the record of a document, from the cache if this replica wrote it.
    fn installation_record(
        &self,
        key: &str,
        value: &Bytes,
    ) -> Result<InstallationRecord, DocumentError> {
        let written = self.replica.own_writes.take(key, value);
        written.map_or_else(|| decode(key, value, &self.settings.encryption), Ok)
    }

    /// Updates the indexes for an installation.
    fn index_installation(&self, key: &str, record: &InstallationRecord) {
        self.ids().insert(key.to_owned(), record.id.to_string());
        let state = &self.replica.state;
        if let Some(before) = state.installation(record.id.as_str()) {
            let before = &before.record;
            if before.token_hash != record.token_hash {
                self.unindex_token(before);
            }
            if before.app != record.app {
                state.of_app.remove(&before.app, &before.id);
            }
            if before.client_key != record.client_key {
                self.unindex_client_key(before);
            }
            if site_of(before) != site_of(record) {
                state.of_site.remove(&site_of(before), &before.id);
            }
        }
        if let Some(digest) = &record.token_hash {
            state.tokens.insert(digest.clone(), record.id.clone());
        }
        state.of_app.insert(&record.app, &record.id);
        state.of_site.insert(&site_of(record), &record.id);
        if let Cow::Owned(token) = record.id.token() {
            state.ids_by_token.insert(token.into(), record.id.clone());
        }
        if let Some(client_key) = &record.client_key {
            state.of_client_key.insert(client_key, &record.id);
        }
    }

    fn unindex_token(&self, record: &InstallationRecord) {
        if let Some(digest) = &record.token_hash {
            self.replica.state.tokens.remove(digest);
        }
    }

    fn unindex_client_key(&self, record: &InstallationRecord) {
        if let Some(client_key) = &record.client_key {
            self.replica.state.of_client_key.remove(client_key, &record.id);
        }
    }

    /// Compiles an installation without publishing it.
    fn compile(&self, record: Arc<InstallationRecord>, revision: u64) -> AppliedInstallation {
        let state = &self.replica.state;
        let before = state.installation(record.id.as_str());
        let app = state.app(record.app.as_str());
        let compiler = ModuleCompiler {
            app: app.as_deref(),
            installation: &record,
            before: before.as_deref(),
            revision,
            programs: &self.replica.programs,
            conditions: &self.conditions,
            prefix: &self.settings.prefix,
            kept_bodies: self.settings.kept_bodies(self.settings.bodies_days_of(&record)),
        };
        let modules = compiler.modules();
        AppliedInstallation { record, revision, app_revision: app.map(|app| app.revision), modules }
    }

    /// Publishes distinct installations to the matcher and to readers. What events wait for changes
    /// after the matcher, and at once, since any worker may publish it.
    fn publish(&self, compiled: Vec<AppliedInstallation>, source: Source) {
        self.matcher.replace_many(compiled.iter().map(|installation| {
            let modules = installation.modules.iter();
            let subscriptions = modules.filter_map(|module| module.subscription.clone());
            (installation.record.id.clone(), subscriptions.collect())
        }));
        {
            let mut unreadable = self.unreadable();
            for installation in &compiled {
                self.note_modules(&mut unreadable, installation, source);
            }
        }
        let state = &self.replica.state;
        for installation in compiled {
            let (record, modules) = (&installation.record, &installation.modules);
            let before = state.installation(record.id.as_str());
            if source == Source::Document {
                let before = before.as_ref().map(|before| &*before.record);
                let checks = &self.replica.revision_checks;
                checks.note_installation(before, record, installation.revision);
            }
            let retention = before.as_ref().and_then(|before| before.record.retention.as_ref());
            if retention != record.retention.as_ref() {
                state.retention_changes.fetch_add(1, Relaxed);
            }
            self.count(before.as_ref().map_or(&[], |before| &before.modules), -1);
            self.count(modules, 1);
            self.count_shadows(before.as_ref().map(|before| &*before.record), Some(record));
            self.schedule(state.app(record.app.as_str()).as_deref(), record);
            state.installations.insert(record.id.clone(), Arc::new(installation));
        }
    }

    /// Notes that the document of an installation was read, and which of its modules this release
    /// does not support.
    fn note_modules(
        &self,
        unreadable: &mut UnreadableDocuments,
        installation: &AppliedInstallation,
        source: Source,
    ) {
        let AppliedInstallation { record, revision, app_revision, .. } = installation;
        let reason = |module: &AppliedModule| {
            let reason = module.reason.as_deref().unwrap_or_default();
            format!("module `{}`: {reason}", module.id.key)
        };
        let key = InstallationRecord::key(record.id.as_str());
        if source == Source::Document {
            note_read(unreadable, &key);
        }
        match installation.unsupported(false).map(reason) {
            Some(reason) => {
                let of = Some(&**record);
                let document = UnreadableDocument::partly_read(key, *revision, reason, of);
                self.report_unreadable(unreadable, document);
            }
            None => unreadable.remove_partly_read(&key),
        }
        if let Some(reason) = installation.unsupported(true).map(reason) {
            let (key, revision) = (AppRecord::key(record.app.as_str()), app_revision.unwrap_or(0));
            let document = UnreadableDocument::partly_read(key, revision, reason, None);
            self.report_unreadable(unreadable, document);
        }
        unreadable.installation_changed(&record.app);
    }

    /// Sets the timers of an installation: the next webhook expiry and the next background work.
    fn schedule(&self, app: Option<&AppliedApp>, record: &InstallationRecord) {
        let times = record
            .modules
            .iter()
            .filter_map(|module| DynamicWebhook::expires_ms(&module.module_type, &module.data));
        let now_ms = clock::broker_now_ms();
        self.expiries.set(&record.id, times.filter(|at_ms| *at_ms > now_ms).min());
        let due_ms = app.and_then(|app| {
            let warning_ms =
                expiry_warning_due_ms(&app.record, record, self.settings.limits.webhook_life_ms());
            let due_ms = discovery_due_ms(&app.record, record).into_iter();
            due_ms.chain(warning_ms).chain(record.notice_due_ms()).min()
        });
        self.replica.wakeups.set(&record.id, due_ms);
    }

    fn delete_installation(&self, id: &str) {
        let state = Arc::clone(&self.replica.state);
        let Some((id, known)) = state.installations.remove(id) else { return };
        self.matcher.replace_installation(&id, Vec::new());
        self.unindex_token(&known.record);
        state.of_app.remove(&known.record.app, &id);
        state.of_site.remove(&site_of(&known.record), &id);
        state.ids_by_token.remove(&*id.token());
        self.unindex_client_key(&known.record);
        self.unreadable().installation_changed(&known.record.app);
        self.expiries.set(&id, None);
        self.replica.wakeups.set(&id, None);
        self.count(&known.modules, -1);
        self.count_shadows(Some(&known.record), None);
        info!(installation = %id, "installation removed");
    }

    fn put_client(&self, key: &str, record: ClientRecord) {
        self.delete_client(&record.id);
        self.ids().insert(key.to_owned(), record.id.clone());
        let state = &self.replica.state;
        state.client_tokens.insert(record.token_hash.clone(), record.id.clone());
        state.clients.insert(record.id.clone(), Arc::new(record));
    }

    fn delete_client(&self, id: &str) {
        if let Some((_, client)) = self.replica.state.clients.remove(id) {
            self.replica.state.client_tokens.remove(&client.token_hash);
        }
    }

    /// Applies an access token. Unlike other documents it ends if it cannot be read: what was changed may be that it
    /// is revoked.
    fn apply_access_token(&self, key: &str, value: &Bytes) -> Result<(), DocumentError> {
        if let Some(id) = self.ids().get(key).cloned() {
            self.delete_access_token(&id);
        }
        let record: AccessTokenRecord = decode(key, value, &self.settings.encryption)?;
        self.ids().insert(key.to_owned(), record.id.clone());
        let state = &self.replica.state;
        let (id, digest) = (record.id.clone(), record.token_hash.clone());
        state.access_tokens.insert(id.clone(), Arc::new(record));
        state.access_token_ids.insert(digest, id);
        Ok(())
    }

    fn delete_access_token(&self, id: &str) {
        if let Some((_, token)) = self.replica.state.access_tokens.remove(id) {
            self.replica.state.access_token_ids.remove(&token.token_hash);
        }
    }

    fn count(&self, modules: &[Arc<AppliedModule>], sign: i64) {
        let state = &self.replica.state;
        for (status, total) in EffectiveStatus::ALL.iter().zip(&state.by_status) {
            let found = modules.iter().filter(|module| module.effective_status == *status).count();
            total.fetch_add(sign * i64::try_from(found).unwrap_or(i64::MAX), Relaxed);
        }
        if !modules.is_empty() {
            state.with_modules.fetch_add(sign, Relaxed);
        }
    }

    /// Counts the shadows of an installation that was `before` and is `after`; none if it does not exist.
    fn count_shadows(
        &self,
        before: Option<&InstallationRecord>,
        after: Option<&InstallationRecord>,
    ) {
        let shadows = |record: Option<&InstallationRecord>| {
            let modules = record.into_iter().flat_map(|record| &record.modules);
            let count = modules.filter(|module| module.shadow.is_some()).count();
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        let (old, new, state) = (shadows(before), shadows(after), &self.replica.state);
        match (before, after) {
            (_, Some(record)) if new > 0 => state.with_shadows.insert(&(), &record.id),
            (Some(record), _) if old > 0 => state.with_shadows.remove(&(), &record.id),
            _ => {}
        }
        state.shadows.fetch_add(new - old, Relaxed);
    }
}

/// Returns the site of an installation, with its product.
fn site_of(record: &InstallationRecord) -> (Product, CloudId) {
    (record.product, record.cloud_id.clone())
}

/// Why an installation is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// Its document was written.
    Document,
    /// Its app changed, or webhooks expired.
    Recompiled,
}

/// Notes that a document was read. Before its modules are noted: a part of it may not be supported.
fn note_read(unreadable: &mut UnreadableDocuments, key: &str) {
    if unreadable.remove(key) {
        info!(key, "registry document is readable again");
    }
}
