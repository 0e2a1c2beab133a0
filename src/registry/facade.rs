//! The registry of one replica: reads of the applied state, and the way to the commands.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::error;

use super::app_calls::AppCaller;
use super::background;
use super::commands::{
    AccessTokens, Apps, Clients, ConnectModules, Context, Discovery, DocumentEncryption,
    DynamicWebhooks, ForgeBatches, ForgeModules, Installations, ManagedModules,
    ModuleStatusCommands, Notices, Revisions, SecretRotation, Shadows, SigningKeys,
};
use super::compile::{AppliedApp, AppliedInstallation, AppliedModule};
use super::error::RegisterError;
use super::model::{
    AccessTokenRecord, ClientRecord, Counts, Document, InstallationRecord, Problem, listed,
};
use super::replica::{self, StateWriter, UnreadableDocument, WaitingInstallation};
use super::revisions::RevisionLog;
use super::settings::Settings;
use super::store::Store;
use super::webhook_owners;
use crate::domain::{AppId, CloudId, InstallationId, Product, SubscriptionId};
use crate::jwt::KeyRing;
use crate::matcher::{ExceededShare, Matcher, Subscription};

/// The registry of one replica: applied state and commands.
pub struct Registry {
    context: Arc<Context>,
    store: Arc<dyn Store>,
    /// Taken by [`Registry::run`], so that there is one writer.
    writer: Mutex<Option<StateWriter>>,
}

impl Registry {
    /// Creates a registry that publishes subscriptions to `matcher`. Nothing is applied before
    /// [`Registry::run`] runs.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, matcher: Arc<Matcher>, settings: Settings) -> Self {
        let writer = StateWriter::new(matcher, &settings);
        let context = Context::new(Arc::clone(&store), writer.handle().clone(), settings);
        Self { context: Arc::new(context), store, writer: Mutex::new(Some(writer)) }
    }

    /// Watches the store and applies its events, until the future is dropped. Called once: a second
    /// call applies nothing.
    pub async fn run(self: Arc<Self>) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        match writer {
            Some(writer) => replica::run(Arc::clone(&self.store), writer).await,
            None => error!("the registry is running already"),
        }
    }

    /// Sets the stream of the revisions of modules, before anything changes; without one none are kept.
    pub fn set_revision_log(&self, log: Arc<dyn RevisionLog>) {
        self.context.transactions.recorder().set_log(log);
    }

    /// Runs the background tasks until the future is dropped: discovery, notices, key rotation, comparison of
    /// documents with their revisions.
    pub async fn run_background_tasks(self: Arc<Self>) {
        background::run(Arc::clone(&self.context)).await;
    }

    /// Sets the caller of apps.
    pub fn set_app_caller(&self, caller: Arc<dyn AppCaller>) {
        self.context.calls.set_caller(caller);
    }

    /// Returns the warnings about a module as it is registered: what would be said if it was
    /// registered now.
    #[must_use]
    pub fn warnings<'m>(
        &self,
        installation: &AppliedInstallation,
        module: &'m AppliedModule,
    ) -> &'m [Problem] {
        module.warnings.get_or_init(|| {
            let app = self.app(installation.record.app.as_str());
            let app = app.as_ref().map(|app| &app.record);
            let review = self.context.review(app, installation.record.product);
            listed(review.warnings(&module.module_type, &module.data)).into()
        })
    }

    /// Returns the dynamic webhooks of an installation that are delivered although their OAuth client
    /// does not exist.
    #[must_use]
    pub fn webhooks_without_client<'i>(
        &self,
        installation: &'i AppliedInstallation,
    ) -> Vec<&'i AppliedModule> {
        webhook_owners::without_client(self.context.state(), installation)
    }

    /// Commands on Forge modules.
    #[must_use]
    pub fn forge_modules(&self) -> ForgeModules<'_> {
        ForgeModules::new(&self.context)
    }

    /// Commands on batches of Forge modules.
    #[must_use]
    pub fn forge_batches(&self) -> ForgeBatches<'_> {
        ForgeBatches::new(&self.context)
    }

    /// Commands on Connect modules.
    #[must_use]
    pub fn connect_modules(&self) -> ConnectModules<'_> {
        ConnectModules::new(&self.context)
    }

    /// Commands of operators on modules.
    #[must_use]
    pub fn managed_modules(&self) -> ManagedModules<'_> {
        ManagedModules::new(&self.context)
    }

    /// Commands on dynamic webhooks.
    #[must_use]
    pub fn dynamic_webhooks(&self) -> DynamicWebhooks<'_> {
        DynamicWebhooks::new(&self.context)
    }

    /// Commands on pull discovery.
    #[must_use]
    pub fn discovery(&self) -> Discovery<'_> {
        Discovery::new(&self.context)
    }

    /// Commands on the status of modules.
    #[must_use]
    pub fn module_status(&self) -> ModuleStatusCommands<'_> {
        ModuleStatusCommands::new(&self.context)
    }

    /// Reads of what modules were.
    #[must_use]
    pub fn revisions(&self) -> Revisions<'_> {
        Revisions::new(&self.context)
    }

    /// Commands on shadows, and what they are compared with.
    #[must_use]
    pub fn shadows(&self) -> Shadows<'_> {
        Shadows::new(&self.context)
    }

    /// Operator commands on apps.
    #[must_use]
    pub fn apps(&self) -> Apps<'_> {
        Apps::new(&self.context)
    }

    /// Operator commands on installations.
    #[must_use]
    pub fn installations(&self) -> Installations<'_> {
        Installations::new(&self.context)
    }

    /// Commands on the encryption of stored documents.
    #[must_use]
    pub fn encryption(&self) -> DocumentEncryption<'_> {
        DocumentEncryption::new(&self.context)
    }

    /// Operator commands that replace secrets.
    #[must_use]
    pub fn secret_rotation(&self) -> SecretRotation<'_> {
        SecretRotation::new(&self.context)
    }

    /// Operator commands on OAuth clients.
    #[must_use]
    pub fn clients(&self) -> Clients<'_> {
        Clients::new(&self.context)
    }

    /// Operator commands on access tokens.
    #[must_use]
    pub fn access_tokens(&self) -> AccessTokens<'_> {
        AccessTokens::new(&self.context)
    }

    /// Commands on the signing keys.
    #[must_use]
    pub fn signing_keys(&self) -> SigningKeys<'_> {
        SigningKeys::new(&self.context)
    }

    /// Charges one registration to the rate limit of the installation.
    ///
    /// # Errors
    /// [`RegisterError::RateLimited`].
    pub fn check_rate_limit(&self, installation: &InstallationId) -> Result<(), RegisterError> {
        let checked = self.context.rate_limit.check(installation);
        checked.map_err(|retry_after| RegisterError::RateLimited { retry_after })
    }

    /// Waits until this replica has applied every write confirmed before this call, by any replica.
    pub async fn catch_up(&self) {
        self.context.transactions.catch_up().await;
    }

    /// Waits until this replica has applied every write confirmed before this call, however long the
    /// store does not answer.
    pub async fn wait_until_current(&self) {
        self.context.transactions.wait_until_current().await;
    }

    /// Returns its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.context.settings
    }

    /// Whether the initial load is complete.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.context.replica.progress.is_loaded()
    }

    /// Waits until [`Registry::ready`].
    pub async fn wait_until_ready(&self) {
        self.context.replica.progress.wait_until_loaded().await;
    }

    /// Returns the revision up to which everything is applied.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.context.replica.progress.revision()
    }

    /// Returns the number of changes applied so far, in any order.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.context.replica.progress.changes()
    }

    /// Returns the number of modules by effective status.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.context.state().counts()
    }

    /// Returns the signing keys as applied here.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeyRing> {
        self.context.state().keyring()
    }

    /// Returns the active subscription with this id.
    #[must_use]
    pub fn subscription(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.context.state().subscription(id)
    }

    /// Returns an app.
    #[must_use]
    pub fn app(&self, id: &str) -> Option<Arc<AppliedApp>> {
        self.context.state().app(id)
    }

    /// Returns an installation with its modules.
    #[must_use]
    pub fn installation(&self, id: &str) -> Option<Arc<AppliedInstallation>> {
        self.context.state().installation(id)
    }

    /// Returns how often the retention of bodies of an installation was changed.
    #[must_use]
    pub fn retention_changes(&self) -> u64 {
        self.context.state().retention_changes()
    }

    /// Returns the installation with this id, or whose id has this token.
    #[must_use]
    pub fn installation_by_id_or_token(&self, id: &str) -> Option<Arc<AppliedInstallation>> {
        self.context.state().installation_by_id_or_token(id)
    }

    /// Notifies the app of an installation whose events are postponed, because its filters cost more
    /// than its share of evaluation.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn notify_share_exceeded(
        &self,
        exceeded: &ExceededShare,
    ) -> Result<(), RegisterError> {
        Notices::new(&self.context).share_exceeded(exceeded).await
    }

    /// Returns the documents that this replica cannot read, by key.
    #[must_use]
    pub fn unreadable_documents(&self) -> Vec<Arc<UnreadableDocument>> {
        self.context.state().unreadable().documents.clone()
    }

    /// Returns the installations for whose documents the events of a site wait.
    #[must_use]
    pub fn waiting_at(&self, site: &str) -> Vec<WaitingInstallation> {
        self.context.state().unreadable().waiting_at(site)
    }

    /// Whether the document of the installation with this id, or whose id has this token, cannot be read, so that an
    /// earlier version of it is applied, or none.
    #[must_use]
    pub fn is_installation_unread(&self, id: &str) -> bool {
        self.context.state().unreadable().is_unread(&InstallationRecord::key(id))
    }

    /// Whether the events of an installation wait for a document.
    #[must_use]
    pub fn is_waiting(&self, installation: &InstallationId) -> bool {
        self.context.state().unreadable().is_waiting(installation)
    }

    /// Returns the installation with this bearer token [digest](super::digest).
    #[must_use]
    pub fn installation_by_token(&self, digest: &str) -> Option<Arc<AppliedInstallation>> {
        self.context.state().installation_by_token(digest)
    }

    /// Returns the installations of an app.
    pub fn installations_of(&self, app: &str) -> impl Iterator<Item = Arc<AppliedInstallation>> {
        let ids = self.context.state().installations_of(app).into_iter();
        ids.filter_map(|id| self.installation(id.as_str()))
    }

    /// Returns the installations of the tenant with this Connect client key.
    pub fn installations_of_client(
        &self,
        client_key: &str,
    ) -> impl Iterator<Item = Arc<AppliedInstallation>> {
        let ids = self.context.state().installations_of_client(client_key).into_iter();
        ids.filter_map(|id| self.installation(id.as_str()))
    }

    /// Returns the ids of the installations at a site, of every product and in any state, sorted.
    #[must_use]
    pub fn installations_at(&self, site: &CloudId) -> Vec<InstallationId> {
        self.context.state().installations_at(site)
    }

    /// Returns the sites with an installation, of every product and in any state.
    #[must_use]
    pub fn sites(&self) -> Vec<CloudId> {
        self.context.state().sites()
    }

    /// Whether a site of a product has an installation, in any state. True for a site whose installation
    /// cannot be read, and for every site while the site of an unreadable installation is unknown.
    #[must_use]
    pub fn is_provisioned(&self, product: Product, site: &CloudId) -> bool {
        self.context.state().is_provisioned(product, site)
    }

    /// Returns an OAuth client.
    #[must_use]
    pub fn client(&self, id: &str) -> Option<Arc<ClientRecord>> {
        self.context.state().client(id)
    }

    /// Returns the ids of at most `limit` OAuth clients after `after`, sorted.
    #[must_use]
    pub fn client_ids(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let later = |id: &String| after.is_none_or(|after| id.as_str() > after);
        self.context.state().client_ids().into_iter().filter(later).take(limit).collect()
    }

    /// Returns the OAuth client with this bearer token digest.
    #[must_use]
    pub fn client_by_token(&self, digest: &str) -> Option<Arc<ClientRecord>> {
        self.context.state().client_by_token(digest)
    }

    /// Returns an access token, also one that has expired.
    #[must_use]
    pub fn access_token(&self, id: &str) -> Option<Arc<AccessTokenRecord>> {
        self.context.state().access_token(id)
    }

    /// Returns the access token with this [digest](super::digest), also one that has expired.
    #[must_use]
    pub fn access_token_by_digest(&self, digest: &str) -> Option<Arc<AccessTokenRecord>> {
        self.context.state().access_token_by_digest(digest)
    }

    /// Returns the ids of at most `limit` access tokens after `after`, sorted.
    #[must_use]
    pub fn access_token_ids(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let later = |id: &String| after.is_none_or(|after| id.as_str() > after);
        self.context.state().access_token_ids().into_iter().filter(later).take(limit).collect()
    }

    /// Returns the ids of at most `limit` apps after `after`, sorted.
    #[must_use]
    pub fn app_ids(&self, after: Option<&str>, limit: usize) -> Vec<AppId> {
        let later = |id: &AppId| after.is_none_or(|after| id.as_str() > after);
        self.context.state().app_ids().into_iter().filter(later).take(limit).collect()
    }

    /// Returns the ids of at most `limit` installations after `after`, sorted.
    #[must_use]
    pub fn installation_ids(&self, after: Option<&str>, limit: usize) -> Vec<InstallationId> {
        let later = |id: &InstallationId| after.is_none_or(|after| id.as_str() > after);
        self.context.state().installation_ids().into_iter().filter(later).take(limit).collect()
    }
}

#[cfg(test)]
impl Registry {
    /// Returns the context of its commands.
    pub(crate) fn context_for_tests(&self) -> &Context {
        &self.context
    }

    /// Whether a change of this installation was received and is not applied.
    pub(crate) fn has_open_change(&self, installation: &str) -> bool {
        self.context.replica.progress.is_open(&InstallationRecord::key(installation))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
