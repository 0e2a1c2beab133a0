//! Reads of the revisions of modules, and their erasure.

use std::cmp::Reverse;
use std::sync::Arc;

use thiserror::Error;

use super::context::Context;
use crate::clock;
use crate::domain::{InstallationId, SubscriptionId, token};
use crate::matcher::Subscription;
use crate::registry::compile::{
    AppliedApp, AppliedInstallation, EventConditionsCache, ModuleCompiler,
};
use crate::registry::model::{AppRecord, Document};
use crate::registry::revisions::{
    Change, LiveModule, ModuleRevision, RevisedState, RevisionId, RevisionLog, RevisionLogError,
    RevisionOwner, sorted,
};

/// The revisions of a subscription.
#[derive(Clone, Debug, Default)]
pub struct RevisionHistory {
    /// Its revisions, newest first. The last one of all is the present one, even if it is not stored yet.
    pub revisions: Vec<ModuleRevision>,
    /// Whether the first one is there: the module did not exist before.
    pub is_complete: bool,
    /// Stored revisions that this release cannot read.
    pub unreadable: usize,
}

/// A moment in the past of a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevisionMoment {
    /// Milliseconds since the epoch.
    Time(i64),
    /// A revision of the registry, such as the one of a delivery.
    Document(u64),
}

/// Why no revision is returned.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RevisionError {
    /// The broker does not answer, or no revisions are kept.
    #[error(transparent)]
    Unavailable(#[from] RevisionLogError),
    /// The moment is before the first revision that is kept.
    #[error("no revision of before {first_ms} ms is kept")]
    NotKept {
        /// Time of the first one, milliseconds since the epoch.
        first_ms: i64,
    },
    /// The revision does not compile any more; one sentence.
    #[error("the revision cannot be used now: {0}")]
    NotCompiled(String),
}

impl RevisionHistory {
    /// Returns the revision in force at a moment; none if the module did not exist then.
    ///
    /// # Errors
    /// [`RevisionError::NotKept`].
    pub fn as_of(&self, moment: RevisionMoment) -> Result<Option<&ModuleRevision>, RevisionError> {
        let is_before = |revision: &&ModuleRevision| match moment {
            RevisionMoment::Time(at_ms) => revision.at_ms <= at_ms,
            // No delivery has the revision of an expiry: it is that of the change before.
            RevisionMoment::Document(document) => {
                revision.document <= document && revision.state != RevisedState::Expired
            }
        };
        // A static module shadows a registered one.
        let found = [true, false].map(|is_static| {
            let mut of =
                self.revisions.iter().filter(|one| one.installation.is_none() == is_static);
            of.find(is_before)
        });
        let mut there =
            found.into_iter().flatten().filter(|one| one.state != RevisedState::Deleted);
        match (there.next(), self.revisions.last()) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(first)) if !self.is_complete && found == [None, None] => {
                Err(RevisionError::NotKept { first_ms: first.at_ms })
            }
            (None, _) => Ok(None),
        }
    }

    /// Returns the revision with an id, and the one before it, if there is one.
    #[must_use]
    pub fn with_id(&self, id: RevisionId) -> Option<(&ModuleRevision, Option<&ModuleRevision>)> {
        let at = self.revisions.iter().position(|revision| revision.id() == id)?;
        let found = self.revisions.get(at)?;
        let mut earlier = self.revisions.iter().skip(at + 1);
        let is_same_owner =
            |one: &&ModuleRevision| one.installation.is_none() == found.installation.is_none();
        Some((found, earlier.find(is_same_owner)))
    }
}

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
        let modules = installation.as_deref().map(|one| registered(one, change));
        let owner = RevisionOwner::Installation(id.installation.token().into());
        let mut history = self.of_owner((&owner, id), modules.unwrap_or_default(), change).await?;
        if let Some(installation) = &installation {
            let owner = RevisionOwner::App(installation.record.app.token().into());
            let put = |app: &AppliedApp| Change { document: app.revision, ..change };
            let statics = app.as_deref().map(|app| LiveModule::statics(&app.record, put(app)));
            let of_app = self.of_owner((&owner, id), statics.unwrap_or_default(), change).await?;
            history.revisions.extend(of_app.revisions);
            history.is_complete &= of_app.is_complete;
            history.unreadable += of_app.unreadable;
        }
        history.revisions.sort_by_key(|revision| Reverse(revision.order()));
        Ok(history)
    }

    /// Returns the revisions of the module of one owner, oldest first, with the present one of those in `live`, which
    /// are as of `change` or newer.
    async fn of_owner(
        self,
        (owner, id): (&RevisionOwner, &SubscriptionId),
        live: Vec<LiveModule>,
        change: Change,
    ) -> Result<RevisionHistory, RevisionError> {
        let stored = self.log()?.all_of(owner, &token(id.key.as_str())).await?;
        let unreadable = stored.iter().filter(|stored| stored.revision.is_err()).count();
        let mut revisions = sorted(stored);
        // The token of a long key is a digest.
        revisions.retain(|revision| revision.key == id.key);
        // A revision of a change that is not applied here yet is newer than what is applied.
        if unreadable == 0
            && revisions.last().is_none_or(|last| last.document <= change.document)
            && !self.context.state().unreadable().is_waiting(&id.installation)
        {
            let last = revisions.last();
            let present = live.iter().find(|live| live.revision.key == id.key);
            let missing = match (present, last) {
                (Some(live), last) => live.missing_after(last),
                (None, Some(last)) if last.state != RevisedState::Deleted => {
                    let deleted = last.deleted(change.document, change.now_ms);
                    Some(ModuleRevision { repaired: true, ..deleted })
                }
                (None, _) => None,
            };
            revisions.extend(missing);
        }
        let is_complete = unreadable == 0 && revisions.first().is_none_or(is_first);
        Ok(RevisionHistory { revisions, is_complete, unreadable })
    }

    /// Returns the revision of a subscription in force at a moment; none if it did not exist then.
    ///
    /// # Errors
    /// [`RevisionError::Unavailable`], [`RevisionError::NotKept`].
    pub async fn as_of(
        self,
        id: &SubscriptionId,
        moment: RevisionMoment,
    ) -> Result<Option<ModuleRevision>, RevisionError> {
        Ok(self.history(id).await?.as_of(moment)?.cloned())
    }

    /// Returns a subscription as it was at a moment, compiled for the matcher, to match events of the past again.
    /// None if it did not exist then or was not on.
    ///
    /// Filters, events and properties are those of the revision, and so is its number. The handler, licence and
    /// permissions are those of now, since they are not part of a revision.
    ///
    /// # Errors
    /// As [`Revisions::as_of`], and [`RevisionError::NotCompiled`].
    pub async fn subscription_as_of(
        self,
        id: &SubscriptionId,
        moment: RevisionMoment,
    ) -> Result<Option<Arc<Subscription>>, RevisionError> {
        match self.as_of(id, moment).await? {
            Some(revision) if matches!(revision.state, RevisedState::On | RevisedState::Paused) => {
                self.compile(&id.installation, &revision).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Compiles a revision for the matcher as if it was on. See [`Revisions::subscription_as_of`].
    ///
    /// # Errors
    /// [`RevisionError::NotCompiled`].
    pub fn compile(
        self,
        installation: &InstallationId,
        revision: &ModuleRevision,
    ) -> Result<Arc<Subscription>, RevisionError> {
        let failed = |reason: &str| RevisionError::NotCompiled(reason.to_owned());
        let state = self.context.state();
        let applied = state.installation(installation.as_str());
        let applied = applied.ok_or_else(|| failed("the installation does not exist any more"))?;
        let data = revision.data.as_ref().ok_or_else(|| failed("the module was removed"))?;
        let app = state.app(applied.record.app.as_str());
        let settings = &self.context.settings;
        let compiler = ModuleCompiler {
            app: app.as_deref(),
            installation: &applied.record,
            before: None,
            revision: revision.document,
            programs: &self.context.replica.programs,
            conditions: &EventConditionsCache::default(),
            kept_bodies: settings.kept_bodies(settings.bodies_days_of(&applied.record)),
            prefix: &settings.prefix,
        };
        let kind = (revision.module_type.as_str(), revision.installation.is_none());
        let compiled = compiler.as_of(&revision.key, kind, data);
        compiled.map(Arc::new).map_err(RevisionError::NotCompiled)
    }

    /// Deletes the revisions of all modules of an installation, for an erasure; returns how many. What the
    /// installation still has is stored again when it changes, or at the next start of a router.
    ///
    /// # Errors
    /// [`RevisionError::Unavailable`].
    pub async fn erase(self, installation: &InstallationId) -> Result<u64, RevisionError> {
        let owner = RevisionOwner::Installation(installation.token().into());
        Ok(self.log()?.purge(&owner, None).await?)
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

/// Whether a module did not exist before this revision.
fn is_first(revision: &ModuleRevision) -> bool {
    match revision.revision {
        Some(number) => number == 1,
        None => revision.installation.is_none() && !revision.repaired,
    }
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
    let key = owner.document_key();
    if state.unreadable().documents.iter().any(|document| document.key == key) {
        return None;
    }
    let modules = match owner {
        RevisionOwner::Installation(token) => {
            let known = state.installation_by_id_or_token(token);
            known.map(|known| registered(&known, change))
        }
        RevisionOwner::App(_) => {
            let id = state.app_ids().into_iter().find(|id| AppRecord::key(id.as_str()) == key);
            let app = id.and_then(|id| state.app(id.as_str()));
            let change = |app: &AppliedApp| Change { document: app.revision, ..change };
            app.map(|app| LiveModule::statics(&app.record, change(&app)))
        }
    };
    Some(modules.unwrap_or_default())
}
