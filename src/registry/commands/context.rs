//! What every command works with: settings, the applied state, transactions and calls to apps.

use std::sync::Arc;

use super::rate_limit::RateLimit;
use super::rewriting::RewritingProgress;
use crate::domain::{InstallationId, Product};
use crate::registry::app_calls::OutboundCalls;
use crate::registry::compile::{AppliedApp, AppliedInstallation};
use crate::registry::error::RegisterError;
use crate::registry::model::{AppRecord, InstallationRecord, InstallationState};
use crate::registry::module_review::ModuleReview;
use crate::registry::replica::{ReplicaHandle, ReplicaState};
use crate::registry::settings::Settings;
use crate::registry::store::Store;
use crate::registry::transaction::{Mutation, Transactions};
use crate::registry::validation::{Suggestions, ValidationRules};

/// Shared by all commands of a registry.
pub(crate) struct Context {
    /// Settings and limits.
    pub(crate) settings: Settings,
    /// Applied records of this replica.
    pub(crate) replica: ReplicaHandle,
    /// Changes of stored documents.
    pub(crate) transactions: Transactions,
    /// Calls to apps.
    pub(crate) calls: OutboundCalls,
    /// Registration rate limit.
    pub(crate) rate_limit: RateLimit,
    /// Progress of encrypting documents again.
    pub(crate) rewriting: RewritingProgress,
}

/// The installation that a request is about, with its app, as applied here.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The installation.
    pub(super) installation: Arc<AppliedInstallation>,
    /// Its app.
    pub(super) app: Arc<AppliedApp>,
    /// Suggestions for unknown names of the request.
    pub(super) suggestions: Arc<Suggestions>,
}

impl Context {
    /// Creates the context of commands over `store`, which `replica` applies.
    pub(crate) fn new(store: Arc<dyn Store>, replica: ReplicaHandle, settings: Settings) -> Self {
        Self {
            rate_limit: RateLimit::new(
                settings.limits.registration_rate,
                settings.limits.registration_burst,
            ),
            transactions: Transactions::new(store, settings.encryption.clone(), replica.clone()),
            calls: OutboundCalls::default(),
            rewriting: RewritingProgress::default(),
            replica,
            settings,
        }
    }

    /// Returns the applied records.
    pub(crate) fn state(&self) -> &ReplicaState {
        &self.replica.state
    }

    /// Returns an installation with its app.
    ///
    /// # Errors
    /// [`RegisterError::NotFound`].
    pub(super) fn target(&self, id: &InstallationId) -> Result<Target, RegisterError> {
        let installation = self.state().installation(id.as_str()).ok_or(RegisterError::NotFound)?;
        let app = self.state().app(installation.record.app.as_str());
        let app = app.ok_or(RegisterError::NotFound)?;
        Ok(Target { installation, app, suggestions: Arc::default() })
    }

    /// Returns the limit of dynamic modules of an installation.
    pub(super) fn dynamic_modules_max(&self, record: &InstallationRecord) -> usize {
        let app = self.state().app(record.app.as_str());
        self.settings.dynamic_modules_max(app.as_ref().map(|app| &app.record), record.product)
    }

    /// Returns the rules for triggers of an installation.
    pub(super) fn rules<'a>(&'a self, target: &'a Target) -> ValidationRules<'a> {
        ValidationRules {
            app: Some(&target.app.record),
            product: Some(target.installation.record.product),
            allow_unknown_events: self.settings.allow_unknown_events,
            programs: &self.replica.programs,
            suggestions: &target.suggestions,
        }
    }

    /// Returns what a module of an app is reviewed against.
    pub(crate) fn review<'a>(
        &'a self,
        app: Option<&'a AppRecord>,
        product: Product,
    ) -> ModuleReview<'a> {
        ModuleReview {
            app,
            product,
            allow_unknown_events: self.settings.allow_unknown_events,
            epic_fields: &self.settings.registry.epic_fields,
            programs: &self.replica.programs,
        }
    }

    /// Updates the record of an enabled installation.
    ///
    /// # Errors
    /// [`RegisterError::NotFound`] if it is not enabled; otherwise as
    /// [`Transactions::update_document`].
    pub(super) async fn update_installation<T>(
        &self,
        id: &InstallationId,
        mut decide: impl FnMut(
            Box<InstallationRecord>,
        ) -> Result<Mutation<InstallationRecord, T>, RegisterError>,
    ) -> Result<T, RegisterError> {
        self.transactions
            .update_document(id.as_str(), |current| decide(require_enabled(current)?))
            .await
    }

    /// As [`Context::update_installation`], but does nothing and returns none if the installation is
    /// not enabled.
    ///
    /// # Errors
    /// As [`Transactions::update_document`].
    pub(super) async fn update_if_enabled<T>(
        &self,
        id: &InstallationId,
        mut decide: impl FnMut(
            Box<InstallationRecord>,
        ) -> Result<Mutation<InstallationRecord, T>, RegisterError>,
    ) -> Result<Option<T>, RegisterError> {
        self.transactions
            .update_document(id.as_str(), |current| {
                let Ok(record) = require_enabled(current) else { return Ok(Mutation::Keep(None)) };
                Ok(match decide(record)? {
                    Mutation::Put(record, answer) => Mutation::Put(record, Some(answer)),
                    Mutation::Delete(answer) => Mutation::Delete(Some(answer)),
                    Mutation::Keep(answer) => Mutation::Keep(Some(answer)),
                })
            })
            .await
    }
}

/// Returns the record if its installation is enabled.
fn require_enabled(
    current: Option<InstallationRecord>,
) -> Result<Box<InstallationRecord>, RegisterError> {
    let enabled = current.filter(|record| record.state == InstallationState::Enabled);
    enabled.map(Box::new).ok_or(RegisterError::NotFound)
}
