//! Applied state of this replica, as readers see it: records by id, and their indexes.
//!
//! [`StateWriter`](super::StateWriter) writes, the records of one installation by one worker at a time;
//! any number of tasks read. A reader clones a
//! shared pointer out of a map, so no map guard is held across an await.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use super::installation_sets::InstallationSets;
use super::unreadable::{Unreadable, WaitingInstallation};
use crate::domain::{AppId, CloudId, InstallationId, Product, SubscriptionId};
use crate::jwt::{KeyRecord, KeyRing};
use crate::matcher::Subscription;
use crate::registry::compile::{AppliedApp, AppliedInstallation};
use crate::registry::model::{
    AccessTokenRecord, AppRecord, ClientRecord, Counts, Document, EffectiveStatus,
    InstallationState, StoredWith,
};

/// The maps of the applied state. See the file header.
#[derive(Debug, Default)]
pub(crate) struct ReplicaState {
    pub(super) apps: DashMap<AppId, Arc<AppliedApp>>,
    /// Ids of apps by token, of those whose token is not their id.
    pub(super) app_ids_by_token: DashMap<Box<str>, AppId>,
    pub(super) installations: DashMap<InstallationId, Arc<AppliedInstallation>>,
    pub(super) clients: DashMap<String, Arc<ClientRecord>>,
    pub(super) access_tokens: DashMap<String, Arc<AccessTokenRecord>>,
    /// Ids of access tokens by digest of the token.
    pub(super) access_token_ids: DashMap<String, String>,
    /// Ids of installations by token, of those whose token is not their id.
    pub(super) ids_by_token: DashMap<Box<str>, InstallationId>,
    /// Installations by digest of their bearer token.
    pub(super) tokens: DashMap<String, InstallationId>,
    /// OAuth clients by digest of their bearer token.
    pub(super) client_tokens: DashMap<String, String>,
    pub(super) of_app: InstallationSets<AppId>,
    /// Installations by Connect client key.
    pub(super) of_client_key: InstallationSets<String>,
    /// Installations by site.
    pub(super) of_site: InstallationSets<(Product, CloudId)>,
    pub(super) keyring: Arc<KeyRing>,
    pub(super) key_records: Mutex<Vec<KeyRecord>>,
    /// How the signing keys are stored.
    pub(super) keys_stored_with: Mutex<StoredWith>,
    pub(super) by_status: [AtomicI64; EffectiveStatus::ALL.len()],
    /// Installations with at least one module.
    pub(super) with_modules: AtomicI64,
    /// Installations with a shadow, under one key.
    pub(super) with_shadows: InstallationSets<()>,
    /// Shadows of all installations.
    pub(super) shadows: AtomicI64,
    pub(super) unreadable: ArcSwap<Unreadable>,
    /// How often the retention of bodies of an installation was changed.
    pub(super) retention_changes: AtomicU64,
}

impl ReplicaState {
    /// Returns the keys that this replica signs and verifies with.
    pub(crate) fn keyring(&self) -> &Arc<KeyRing> {
        &self.keyring
    }

    /// Returns the stored signing keys, in signing order.
    pub(crate) fn key_records(&self) -> Vec<KeyRecord> {
        self.key_records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how the signing keys are stored.
    pub(crate) fn keys_stored_with(&self) -> StoredWith {
        self.keys_stored_with.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns an app.
    pub(crate) fn app(&self, id: &str) -> Option<Arc<AppliedApp>> {
        self.apps.get(id).map(|app| Arc::clone(&app))
    }

    /// Returns the app with this id, or whose id has this token.
    pub(crate) fn app_by_id_or_token(&self, id: &str) -> Option<Arc<AppliedApp>> {
        self.app(id).or_else(|| {
            let id = self.app_ids_by_token.get(id).map(|id| id.clone())?;
            self.app(id.as_str())
        })
    }

    /// Returns an installation with its modules.
    pub(crate) fn installation(&self, id: &str) -> Option<Arc<AppliedInstallation>> {
        self.installations.get(id).map(|installation| Arc::clone(&installation))
    }

    /// Returns the installation with this id, or whose id has this token.
    pub(crate) fn installation_by_id_or_token(&self, id: &str) -> Option<Arc<AppliedInstallation>> {
        self.installation(id).or_else(|| {
            let id = self.ids_by_token.get(id).map(|id| id.clone())?;
            self.installation(id.as_str())
        })
    }

    /// Returns how often the retention of bodies of an installation was changed.
    pub(crate) fn retention_changes(&self) -> u64 {
        self.retention_changes.load(Relaxed)
    }

    /// Returns what is unreadable.
    pub(crate) fn unreadable(&self) -> arc_swap::Guard<Arc<Unreadable>> {
        self.unreadable.load()
    }

    /// Returns an OAuth client.
    pub(crate) fn client(&self, id: &str) -> Option<Arc<ClientRecord>> {
        self.clients.get(id).map(|client| Arc::clone(&client))
    }

    /// Returns the installation with this bearer token digest.
    pub(crate) fn installation_by_token(&self, digest: &str) -> Option<Arc<AppliedInstallation>> {
        let id = self.tokens.get(digest).map(|id| id.clone())?;
        self.installation(id.as_str())
    }

    /// Returns the OAuth client with this bearer token digest.
    pub(crate) fn client_by_token(&self, digest: &str) -> Option<Arc<ClientRecord>> {
        let id = self.client_tokens.get(digest).map(|id| id.clone())?;
        self.client(&id)
    }

    /// Returns an access token.
    pub(crate) fn access_token(&self, id: &str) -> Option<Arc<AccessTokenRecord>> {
        self.access_tokens.get(id).map(|token| Arc::clone(&token))
    }

    /// Returns the access token with this digest.
    pub(crate) fn access_token_by_digest(&self, digest: &str) -> Option<Arc<AccessTokenRecord>> {
        let id = self.access_token_ids.get(digest).map(|id| id.clone())?;
        self.access_token(&id)
    }

    /// Returns the number of access tokens.
    pub(crate) fn access_tokens(&self) -> usize {
        self.access_tokens.len()
    }

    /// Returns the ids of the access tokens of an installation.
    pub(crate) fn access_tokens_of(&self, installation: &str) -> Vec<String> {
        let belongs = |token: &AccessTokenRecord| {
            token.installation_id().is_some_and(|of| of.as_str() == installation)
        };
        let all = self.access_tokens.iter().filter(|token| belongs(token.value()));
        all.map(|token| token.key().clone()).collect()
    }

    /// Returns the ids of all access tokens, sorted.
    pub(crate) fn access_token_ids(&self) -> BTreeSet<String> {
        self.access_tokens.iter().map(|token| token.key().clone()).collect()
    }

    /// Returns the ids of the installations of an app.
    pub(crate) fn installations_of(&self, app: &str) -> Vec<InstallationId> {
        self.of_app.of(app)
    }

    /// Returns the enabled installations of the app whose document has this key, with their sites.
    pub(super) fn enabled_by_app_key(&self, key: &str) -> Vec<(CloudId, WaitingInstallation)> {
        // The key has only the token of the id.
        let apps = self.of_app.keys().into_iter().filter(|app| AppRecord::key(app.as_str()) == key);
        let ids = apps.flat_map(|app| self.installations_of(app.as_str()));
        let known = ids.filter_map(|id| self.installation(id.as_str()));
        let enabled = known.filter(|known| known.record.state == InstallationState::Enabled);
        let waiting = enabled.map(|known| {
            let (app, id) = (known.record.app.clone(), known.record.id.clone());
            (known.record.cloud_id.clone(), WaitingInstallation { app, id })
        });
        waiting.collect()
    }

    /// Returns the ids of the installations of the tenant with this Connect client key.
    pub(crate) fn installations_of_client(&self, client_key: &str) -> Vec<InstallationId> {
        self.of_client_key.of(client_key)
    }

    /// Returns the ids of the installations at a site, of every product and in any state, sorted.
    pub(crate) fn installations_at(&self, site: &CloudId) -> Vec<InstallationId> {
        let of = |product| self.of_site.of(&(product, site.clone()));
        let mut ids: Vec<_> = Product::ALL.into_iter().flat_map(of).collect();
        ids.sort_unstable();
        ids
    }

    /// Returns the sites with an installation, of every product and in any state.
    pub(crate) fn sites(&self) -> Vec<CloudId> {
        self.of_site.keys().into_iter().map(|(_, site)| site).collect()
    }

    /// Whether a site has an installation, in any state, or may have one that cannot be read.
    pub(crate) fn is_provisioned(&self, product: Product, site: &CloudId) -> bool {
        self.of_site.has(&(product, site.clone()))
            || !self.unreadable().waiting_at(site.as_str()).is_empty()
    }

    /// Returns the ids of the OAuth clients of an installation.
    pub(crate) fn clients_of(&self, installation: &str) -> Vec<String> {
        let belongs = |client: &ClientRecord| client.installation.as_str() == installation;
        let ids = self.clients.iter().filter(|client| belongs(client.value()));
        ids.map(|client| client.key().clone()).collect()
    }

    /// Returns the ids of all OAuth clients, sorted.
    pub(crate) fn client_ids(&self) -> BTreeSet<String> {
        self.clients.iter().map(|client| client.key().clone()).collect()
    }

    /// Returns the ids of all apps, sorted.
    pub(crate) fn app_ids(&self) -> BTreeSet<AppId> {
        self.apps.iter().map(|app| app.key().clone()).collect()
    }

    /// Returns the ids of all installations, sorted.
    pub(crate) fn installation_ids(&self) -> BTreeSet<InstallationId> {
        self.installations.iter().map(|installation| installation.key().clone()).collect()
    }

    /// Returns the active subscription with this id.
    pub(crate) fn subscription(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        let installation = self.installation(id.installation.as_str())?;
        installation.module(id.key.as_str())?.subscription.clone()
    }

    /// Returns the ids of the installations with a shadow, sorted.
    pub(crate) fn with_shadows(&self) -> Vec<InstallationId> {
        self.with_shadows.of(&())
    }

    /// Returns the number of modules by effective status.
    pub(crate) fn counts(&self) -> Counts {
        let [active, inactive, shadowed, expired, paused, undelivered] =
            self.by_status.each_ref().map(|count| count.load(Relaxed));
        let installations = self.with_modules.load(Relaxed);
        let shadows = self.shadows.load(Relaxed);
        Counts { active, inactive, shadowed, expired, paused, undelivered, installations, shadows }
    }
}
