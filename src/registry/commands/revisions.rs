//! Reads of the revisions of modules.

use std::sync::Arc;

use thiserror::Error;

use super::context::Context;
use crate::clock;
use crate::domain::{InstallationId, ModuleKey, SubscriptionId, token};
use crate::matcher::Subscription;
use crate::registry::compile::{
    AppliedApp, AppliedInstallation, EventConditionsCache, ModuleCompiler,
};
use crate::registry::model::ModuleFields;
use crate::registry::revisions::{
    Change, LiveModule, ModuleRevision, OwnerTimeline, RevisedState, RevisionError,
    RevisionHistory, RevisionLog, RevisionLogError, RevisionMoment, RevisionOwner,
};

/// Reads of the revisions of modules.
#[derive(Clone, Copy)]
pub struct Revisions<'a> {
    context: &'a Context,
}

impl<'a> Revisions<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Returns the revisions of a subscription, also of one that does not exist any more. Empty if it never did,
    /// or too long ago.
    ///
    /// # Errors
    /// [`RevisionError::Unavailable`].
    pub async fn history(self, id: &SubscriptionId) -> Result<RevisionHistory, RevisionError> {
        // Taken before the documents, so that these are at least as new.
        let change = self.now();
        let state = self.context.state();
        let installation = state.installation(id.installation.as_str());
        let app = installation.as_ref().and_then(|one| state.app(one.record.app.as_str()));
        let live = installation.as_deref().map(|one| registered(one, change)).unwrap_or_default();
        let owner = RevisionOwner::Installation(id.installation.token().into());
        let modules = self.of_owner((&owner, id), &live, change).await?;
        let mut statics = OwnerTimeline::default();
        if let Some(installation) = &installation {
            let live = app.as_deref().map(|app| statics_of(app, change)).unwrap_or_default();
            let owner = RevisionOwner::App(installation.record.app.token().into());
            statics = self.of_owner((&owner, id), &live, change).await?;
        }
        Ok(RevisionHistory::of(modules, statics))
    }

    /// Returns a subscription as it was at a moment, compiled for the matcher, to match events of the past again.
    /// None if it did not exist then or was not on.
    ///
    /// Filters, events and properties are those of the revision, and so is its number. The handler, licence and
    /// permissions are those of now, since they are not part of a revision.
    ///
    /// # Errors
    /// See [`PastSubscriptionError`].
    pub async fn subscription_as_of(
        self,
        id: &SubscriptionId,
        moment: RevisionMoment,
    ) -> Result<Option<Arc<Subscription>>, PastSubscriptionError> {
        let history = self.history(id).await?;
        match history.as_of(moment)? {
            Some(revision) if matches!(revision.state, RevisedState::On | RevisedState::Paused) => {
                self.compile(&id.installation, revision).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Compiles a revision for the matcher, see [`Revisions::subscription_as_of`].
    ///
    /// # Errors
    /// [`PastSubscriptionError::NotCompiled`].
    pub fn compile(
        self,
        installation: &InstallationId,
        revision: &ModuleRevision,
    ) -> Result<Arc<Subscription>, PastSubscriptionError> {
        let failed = |reason: &str| PastSubscriptionError::NotCompiled(reason.to_owned());
        let state = self.context.state();
        let applied = state.installation(installation.as_str());
        let applied = applied.ok_or_else(|| failed("the installation does not exist any more"))?;
        let data = revision.data.as_ref().ok_or_else(|| failed("the module was removed"))?;
        let kind = (revision.module_type.as_str(), revision.installation.is_none());
        let module = (&revision.key, kind);
        let compiled = compile_now(self.context, &applied, module, data, revision.document);
        compiled.map_err(PastSubscriptionError::NotCompiled)
    }

    /// Returns the revisions of the module of one owner with the present one of those in `live`, which are as of `change`
    /// or newer.
    async fn of_owner(
        self,
        (owner, id): (&RevisionOwner, &SubscriptionId),
        live: &[LiveModule],
        change: Change,
    ) -> Result<OwnerTimeline, RevisionError> {
        let stored = self.log()?.all_of(owner, &token(id.key.as_str())).await?;
        let mut timeline = OwnerTimeline::of(stored, &id.key);
        if !self.context.state().unreadable().is_unread(&owner.document_key()) {
            timeline.add_present(live, &id.key, change);
        }
        Ok(timeline)
    }

    fn log(self) -> Result<&'a dyn RevisionLog, RevisionLogError> {
        let log = self.context.transactions.recorder().log();
        log.map(AsRef::as_ref).ok_or_else(|| RevisionLogError("there is no stream".to_owned()))
    }

    fn now(self) -> Change {
        let document = self.context.replica.progress.revision();
        Change { document, now_ms: clock::broker_now_ms() }
    }
}

/// Compiles a module as if it was on, with the installation and the app as they are now. `is_static` and the
/// type are those of the module, `document` is the revision of the registry that it gets.
///
/// # Errors
/// It cannot be compiled, in one sentence.
pub(super) fn compile_now(
    context: &Context,
    applied: &AppliedInstallation,
    (key, (module_type, is_static)): (&ModuleKey, (&str, bool)),
    data: &ModuleFields,
    document: u64,
) -> Result<Arc<Subscription>, String> {
    let app = context.state().app(applied.record.app.as_str());
    let settings = &context.settings;
    let compiler = ModuleCompiler {
        app: app.as_deref(),
        installation: &applied.record,
        before: None,
        revision: document,
        programs: &context.replica.programs,
        conditions: &EventConditionsCache::default(),
        kept_bodies: settings.kept_bodies(settings.bodies_days_of(&applied.record)),
        prefix: &settings.prefix,
    };
    compiler.as_of(key, (module_type, is_static), data).map(Arc::new)
}

/// Why a subscription of the past is not returned.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PastSubscriptionError {
    /// Its revision is not known.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// The revision does not compile any more; one sentence.
    #[error("the revision cannot be used now: {0}")]
    NotCompiled(String),
}

/// Returns the static modules of an app.
fn statics_of(app: &AppliedApp, change: Change) -> Vec<LiveModule> {
    LiveModule::statics(&app.record, Change { document: app.revision, ..change })
}

/// Returns the registered modules of an installation, each with the revision of the registry that made it, as far as
/// it is known here.
fn registered(installation: &AppliedInstallation, change: Change) -> Vec<LiveModule> {
    let modules = installation.registered().map(|(module, applied)| {
        let made = applied.subscription.as_ref().map(|live| live.revision);
        let document = made.unwrap_or(installation.revision);
        LiveModule::registered(&installation.record, module, Change { document, ..change })
    });
    modules.collect()
}

/// Returns the modules in the document of an owner as applied here; none of them exist if it was deleted. No list if
/// the document cannot be read, so that the applied one is not the stored one.
pub(crate) fn live_modules_of(
    context: &Context,
    owner: &RevisionOwner,
    change: Change,
) -> Option<Vec<LiveModule>> {
    let state = context.state();
    if state.unreadable().is_unread(&owner.document_key()) {
        return None;
    }
    let modules = match owner {
        RevisionOwner::Installation(token) => {
            let known = state.installation_by_id_or_token(token);
            known.map(|known| registered(&known, change))
        }
        RevisionOwner::App(token) => {
            state.app_by_id_or_token(token).map(|app| statics_of(&app, change))
        }
    };
    Some(modules.unwrap_or_default())
}
