//! Reads of the revisions of modules.

use super::context::Context;
use crate::clock;
use crate::domain::{SubscriptionId, token};
use crate::registry::compile::{AppliedApp, AppliedInstallation};
use crate::registry::revisions::{
    Change, LiveModule, OwnerTimeline, RevisionError, RevisionHistory, RevisionLog,
    RevisionLogError, RevisionOwner,
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
