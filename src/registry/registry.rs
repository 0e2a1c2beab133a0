//! The registry of one replica: reads, and changes by compare-and-set.
//!
//! Guarantee: a change that returns success is durable in the store and visible to matching on this
//! replica; the other replicas follow by watching. A change that returns an error changed nothing,
//! except where [`RegisterError::is_in_doubt`] says otherwise. Changes of one document made here
//! are queued; those of other replicas appear as conflicts and are decided again on the stored
//! document.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::clock;
use crate::domain::{AppId, InstallationId, SubscriptionId};
use crate::matcher::{Matcher, Subscription};
use crate::registry::app_calls::{AppCaller, AppCalls};
use crate::registry::commands::rate_limit::RateLimit;
use crate::registry::compile::applied::{AppliedApp, AppliedInstallation};
use crate::registry::credentials::NoRandomness;
use crate::registry::metrics;
use crate::registry::model::document::{ClientRecord, Document, read};
use crate::registry::model::problem::Problem;
use crate::registry::replica::load::{BATCH_MAX, DocumentWrite, LoadProgress};
use crate::registry::replica::read_barrier::ReadBarrier;
use crate::registry::replica::state::{Counts, ReplicaState};
use crate::registry::store::{Store, StoreError, StoredDocument, WatchEvent};

/// Watch events that wait to be applied; the watch pauses when there are more.
const CHANGES_MAX: usize = 1024;
/// Attempts of a change after conflicts with other replicas.
const CONFLICTS_MAX: u32 = 32;
/// Longest pause between two attempts.
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(50);
/// Longest wait for a change to be applied on this replica.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait of a read for the writes of other replicas; after it the read returns the applied
/// state.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval at which expired webhooks are removed from the matcher.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// Locks that serialise changes of one document; documents share them by hash.
const LOCKS: usize = 64;

/// Settings and limits of the registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// First token of function subjects.
    pub prefix: String,
    /// Accepts event types that are not in the catalogue, with a warning.
    pub allow_unknown_events: bool,
    /// Stores Forge module types other than `trigger`.
    pub accept_inert_types: bool,
    /// Limit of dynamic modules of one installation.
    pub modules_max: usize,
    /// Limit of distinct entity-property paths of one installation.
    pub property_paths_max: usize,
    /// Registrations per second of one installation; 0 = unlimited.
    pub registration_rate: u32,
    /// Burst of registrations of one installation.
    pub registration_burst: u32,
    /// Public URL of the HTTP APIs, without a trailing slash.
    pub public_url: String,
    /// Lifetime of discovered modules before the next discovery request, in milliseconds.
    pub discovery_life_ms: i64,
    /// Time a signing key signs before rotation, in milliseconds.
    pub signing_key_life_ms: i64,
    /// Limits of Connect installations.
    pub connect: ConnectLimits,
}

impl Default for Settings {
    /// The built-in defaults, without a public URL.
    fn default() -> Self {
        Self {
            prefix: "sw".into(),
            allow_unknown_events: false,
            accept_inert_types: false,
            modules_max: 100,
            property_paths_max: 5,
            registration_rate: 0,
            registration_burst: 0,
            public_url: String::new(),
            discovery_life_ms: 3600 * 1000,
            signing_key_life_ms: 90 * 24 * 3600 * 1000,
            connect: ConnectLimits::default(),
        }
    }
}

/// Limits of a Connect installation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectLimits {
    /// Dynamic modules of an installation in Jira.
    pub modules_jira: usize,
    /// Dynamic modules of an installation in Confluence.
    pub modules_confluence: usize,
    /// Dynamic webhooks of an app in a site.
    pub webhooks_per_app: usize,
    /// Dynamic webhooks of an OAuth app in a site for one of its users.
    pub webhooks_per_user: usize,
    /// Lifetime of a dynamic webhook without a refresh.
    pub webhook_life: Duration,
}

impl Default for ConnectLimits {
    /// The vendor's limits.
    fn default() -> Self {
        Self {
            modules_jira: 100,
            modules_confluence: 100,
            webhooks_per_app: 100,
            webhooks_per_user: 5,
            webhook_life: crate::registry::commands::dynamic_webhooks::LIFE,
        }
    }
}

/// Why a change failed.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The request is invalid; lists every problem.
    #[error("{}", crate::registry::model::problem::summary(.0))]
    Invalid(Vec<Problem>),
    /// The record does not exist.
    #[error("not found")]
    NotFound,
    /// An update names another key than the module it updates.
    #[error("Key cannot be modified during update")]
    KeyChanged,
    /// The record has another revision than the caller expects.
    #[error("the record was changed by another request")]
    StaleRevision,
    /// The signed request was accepted before.
    #[error("the signed request was already used")]
    Replayed,
    /// The registration rate limit is exceeded.
    #[error("too many registrations")]
    RateLimited {
        /// Time until the next registration is accepted.
        retry_after: Duration,
    },
    /// Other replicas changed the document during every attempt.
    #[error("the document changed {CONFLICTS_MAX} times while this change was made")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change is stored, but this replica did not apply it in time.
    #[error("revision {revision} is stored but was not applied within {APPLY_TIMEOUT:?}")]
    NotApplied {
        /// Revision of the change.
        revision: u64,
    },
    /// The system provides no randomness for a token.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The app did not accept the installation.
    #[error("the app did not accept the installation: {0}")]
    AppRefused(String),
    /// No signing key could be generated.
    #[error("no signing key could be made")]
    NoKey,
    /// A document cannot be serialized or parsed.
    #[error("document {key}: {reason}")]
    Document {
        /// Its key.
        key: String,
        /// The reason.
        reason: String,
    },
}

impl RegisterError {
    /// An error with one problem.
    #[must_use]
    pub fn invalid(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }

    /// Whether the change may have been stored nevertheless.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_)) | Self::NotApplied { .. })
    }
}

/// What an update does with the current document.
pub(super) enum Mutation<D, T> {
    /// Replaces it by this one.
    Put(Box<D>, T),
    /// Deletes it.
    Delete(T),
    /// Leaves it unchanged.
    Keep(T),
}

/// The registry of one replica: applied state and commands.
pub struct Registry {
    pub(super) state: ReplicaState,
    pub(super) settings: Settings,
    pub(super) rate: RateLimit,
    pub(super) calls: AppCalls,
    store: Arc<dyn Store>,
    read_barrier: ReadBarrier,
    locks: [Mutex<()>; LOCKS],
    lock_of: RandomState,
    progress: watch::Sender<Progress>,
}

/// Progress of this replica in applying the store.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    revision: u64,
    loaded: bool,
}

impl Registry {
    /// Creates a registry that publishes subscriptions to `matcher`. Nothing is applied before
    /// [`Registry::run`] runs.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, matcher: Arc<Matcher>, settings: Settings) -> Self {
        Self {
            state: ReplicaState::new(matcher, &settings),
            rate: RateLimit::new(settings.registration_rate, settings.registration_burst),
            calls: AppCalls::default(),
            settings,
            store,
            read_barrier: ReadBarrier::default(),
            locks: std::array::from_fn(|_| Mutex::new(())),
            lock_of: RandomState::new(),
            progress: watch::Sender::default(),
        }
    }

    /// Watches the store and applies its events, until the future is dropped.
    pub async fn run(self: Arc<Self>) {
        let (sender, mut changes) = mpsc::channel(CHANGES_MAX);
        // A separate task, so that compiling never blocks the watch.
        let mut feed = JoinSet::new();
        let store = Arc::clone(&self.store);
        feed.spawn(async move { store.watch(sender).await });
        let (mut waiting, mut load) = (Vec::new(), None);
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            tokio::select! {
                count = changes.recv_many(&mut waiting, BATCH_MAX) => match count {
                    0 => break,
                    _ => self.apply_all(waiting.drain(..), &mut load).await,
                },
                _ = expiry.tick() => self.state.expire(),
            }
            tokio::task::yield_now().await;
        }
        feed.shutdown().await;
    }

    /// Applies events in order; those of a load in batches, on a blocking thread.
    async fn apply_all(
        self: &Arc<Self>,
        changes: impl Iterator<Item = WatchEvent>,
        load: &mut Option<LoadProgress>,
    ) {
        let mut batch = Vec::new();
        for change in changes {
            match change {
                WatchEvent::Put { key, value, revision } if load.is_some() => {
                    batch.push(DocumentWrite { key, value, revision });
                }
                other => {
                    self.apply_batch(std::mem::take(&mut batch), load).await;
                    self.apply(other, load);
                }
            }
        }
        self.apply_batch(batch, load).await;
    }

    async fn apply_batch(
        self: &Arc<Self>,
        batch: Vec<DocumentWrite>,
        load: &mut Option<LoadProgress>,
    ) {
        let Some(revision) = batch.iter().map(|document| document.revision).max() else { return };
        let registry = Arc::clone(self);
        let work = move || {
            registry.state.apply_writes(&batch);
            batch
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(batch) => {
                if let Some(load) = load {
                    load.record_applied(&batch, self.counts().active);
                }
            }
            Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
            Err(_) => return,
        }
        self.advance(revision);
        metrics::applied(self.revision(), self.counts());
    }

    fn apply(&self, change: WatchEvent, load: &mut Option<LoadProgress>) {
        match change {
            WatchEvent::LoadStarted { is_reset } => {
                *load = Some(LoadProgress::start(self.state.keys().into_iter().collect()));
                if is_reset {
                    self.progress.send_modify(|progress| progress.revision = 0);
                }
            }
            WatchEvent::CaughtUp { revision } => match load.take() {
                Some(load) => self.end_load(&load, revision),
                None => self.advance(revision),
            },
            WatchEvent::Put { key, value, revision } => {
                self.state.apply_write(&key, &value, revision);
                self.advance(revision);
            }
            WatchEvent::Deleted { key, revision } => {
                self.state.apply_delete(&key);
                self.advance(revision);
            }
        }
        metrics::applied(self.revision(), self.counts());
    }

    fn end_load(&self, load: &LoadProgress, revision: u64) {
        load.unseen.iter().for_each(|key| self.state.apply_delete(key));
        self.advance(revision);
        self.progress.send_modify(|progress| progress.loaded = true);
        let Counts { active, installations, .. } = self.counts();
        let (documents, per_second) = (load.documents(), load.per_second());
        let revision = self.revision();
        info!(revision, documents, active, installations, per_second, "registry loaded");
    }

    fn advance(&self, revision: u64) {
        self.progress.send_modify(|progress| progress.revision = progress.revision.max(revision));
    }

    /// Sets the caller of apps.
    pub fn open_calls(&self, caller: Arc<dyn AppCaller>) {
        self.calls.open(caller);
    }

    /// Sends notices to apps until the future is dropped.
    pub async fn send_notices(&self) {
        self.calls.send_notices().await;
    }

    /// Returns its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the initial load is complete.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.progress.borrow().loaded
    }

    /// Waits until [`Registry::ready`].
    pub async fn wait_until_ready(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.progress.subscribe().wait_for(|progress| progress.loaded).await;
    }

    /// Returns the revision applied last.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.progress.borrow().revision
    }

    /// Returns the number of modules by effective status.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// Returns the active subscription with this id.
    #[must_use]
    pub fn subscription(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.state.subscription(id)
    }

    /// Returns an app.
    #[must_use]
    pub fn app(&self, id: &str) -> Option<Arc<AppliedApp>> {
        self.state.app(id)
    }

    /// Returns an installation with its modules.
    #[must_use]
    pub fn installation(&self, id: &str) -> Option<Arc<AppliedInstallation>> {
        self.state.installation(id)
    }

    /// Returns the installation with this bearer token [digest](crate::registry::credentials::digest).
    #[must_use]
    pub fn installation_by_token(&self, digest: &str) -> Option<Arc<AppliedInstallation>> {
        self.state.installation_by_token(digest)
    }

    /// Returns the installations of an app.
    pub fn installations_of(&self, app: &str) -> impl Iterator<Item = Arc<AppliedInstallation>> {
        let ids = self.state.installations_of(app).into_iter();
        ids.filter_map(|id| self.installation(id.as_str()))
    }

    /// Returns the installations of the tenant with this Connect client key.
    pub fn installations_of_client(
        &self,
        client_key: &str,
    ) -> impl Iterator<Item = Arc<AppliedInstallation>> {
        let ids = self.state.installations_of_client(client_key).into_iter();
        ids.filter_map(|id| self.installation(id.as_str()))
    }

    /// Returns the OAuth client with this bearer token digest.
    #[must_use]
    pub fn client_by_token(&self, digest: &str) -> Option<Arc<ClientRecord>> {
        self.state.client_by_token(digest)
    }

    /// Returns the ids of at most `limit` apps after `after`, sorted.
    #[must_use]
    pub fn app_ids(&self, after: Option<&str>, limit: usize) -> Vec<AppId> {
        let later = |id: &AppId| after.is_none_or(|after| id.as_str() > after);
        self.state.app_ids().into_iter().filter(later).take(limit).collect()
    }

    /// Returns the ids of at most `limit` installations after `after`, sorted.
    #[must_use]
    pub fn installation_ids(&self, after: Option<&str>, limit: usize) -> Vec<InstallationId> {
        let later = |id: &InstallationId| after.is_none_or(|after| id.as_str() > after);
        self.state.installation_ids().into_iter().filter(later).take(limit).collect()
    }

    /// Updates one document. `decide` is called with the current document, and again with a newer
    /// one after a conflict, so it must not keep state between calls.
    pub(super) async fn update_document<D: Document, T>(
        &self,
        id: &str,
        mut decide: impl FnMut(Option<D>) -> Result<Mutation<D, T>, RegisterError>,
    ) -> Result<T, RegisterError> {
        let key = D::key(id);
        let _turn = self.lock(&key).lock().await;
        // The applied document is nearly always the stored one, so the first attempt uses it; if it
        // is outdated, the write conflicts. A decision to write nothing must be made on the stored
        // document.
        if let Some((current, revision)) = D::applied(&self.state, id)
            && let Ok(Mutation::Put(document, answer)) = decide(Some(current))
        {
            match self.put(&key, document, Some(revision)).await {
                Err(RegisterError::Store(StoreError::Conflict)) => {}
                written => return written.map(|()| answer),
            }
        }
        for conflict in 0..CONFLICTS_MAX {
            let (current, expected) = match self.store.get(&key).await? {
                Some(StoredDocument { value, revision }) => (
                    Some(read(&value).map_err(|reason| document_error(&key, reason))?),
                    Some(revision),
                ),
                None => (None, None),
            };
            let (written, answer) = match decide(current)? {
                Mutation::Keep(answer) => return Ok(answer),
                Mutation::Put(document, answer) => {
                    (self.put(&key, document, expected).await, answer)
                }
                Mutation::Delete(answer) => match expected {
                    Some(expected) => (self.delete(&key, expected).await, answer),
                    None => return Ok(answer),
                },
            };
            match written {
                Err(RegisterError::Store(StoreError::Conflict)) => {
                    debug!(key, conflict, "registry document changed concurrently, retrying");
                    sleep((Duration::from_millis(1) * conflict).min(CONFLICT_PAUSE_MAX)).await;
                }
                written => return written.map(|()| answer),
            }
        }
        Err(RegisterError::Contended)
    }

    /// Writes a document and waits until it is applied here.
    async fn put<D: Document>(
        &self,
        key: &str,
        document: Box<D>,
        expected: Option<u64>,
    ) -> Result<(), RegisterError> {
        let value = write(key, document.as_ref())?;
        let _handed = document.cache_own_write(&self.state, key, &value);
        let revision = self.store.put(key, value, expected).await?;
        self.wait_until_applied(revision).await
    }

    async fn delete(&self, key: &str, expected: u64) -> Result<(), RegisterError> {
        let revision = self.store.delete(key, expected).await?;
        self.wait_until_applied(revision).await
    }

    /// Waits until this replica has applied every write confirmed before this call, by any replica,
    /// so that an app may continue at another replica. If the store is unavailable, it returns at
    /// once: the applied state is the best known.
    pub async fn catch_up(&self) {
        let mut progress = self.progress.subscribe();
        let caught_up = async {
            if let Ok(revision) = self.read_barrier.revision(self.store.as_ref()).await {
                let _ = progress.wait_for(|progress| progress.revision >= revision).await;
            }
        };
        if timeout(CATCH_UP_TIMEOUT, caught_up).await.is_err() {
            debug!(
                revision = self.revision(),
                "read barrier timed out, answering from the applied state"
            );
        }
    }

    async fn wait_until_applied(&self, revision: u64) -> Result<(), RegisterError> {
        let start = clock::tick();
        let mut progress = self.progress.subscribe();
        let applied = progress.wait_for(|progress| progress.revision >= revision);
        match timeout(APPLY_TIMEOUT, applied).await {
            Ok(_) => {
                metrics::change_applied(clock::since(start));
                Ok(())
            }
            Err(_) => Err(RegisterError::NotApplied { revision }),
        }
    }

    fn lock(&self, key: &str) -> &Mutex<()> {
        let [first, ..] = &self.locks;
        let slot = usize::try_from(self.lock_of.hash_one(key)).unwrap_or(usize::MAX) % LOCKS;
        self.locks.get(slot).unwrap_or(first)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

fn write<D: Document>(key: &str, document: &D) -> Result<Bytes, RegisterError> {
    let written = serde_json::to_vec(document).map(Bytes::from);
    written.map_err(|error| document_error(key, error.to_string()))
}

fn document_error(key: &str, reason: String) -> RegisterError {
    RegisterError::Document { key: key.to_owned(), reason }
}
