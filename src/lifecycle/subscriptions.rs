//! Looks subscriptions up in the registry: those that exist, and what they were.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;

use crate::delivery::{SubscriptionDirectory, UnmatchedFor};
use crate::domain::{InstallationId, SubscriptionId};
use crate::matcher::Subscription;
use crate::recovery::jobs::JobFailure;
use crate::recovery::replay::PastSubscriptions;
use crate::recovery::shadow::{Comparison, ShadowDirectory};
use crate::registry::{
    Listeners, PastSubscriptionError, Registry, RevisionError, RevisionMoment, ShadowComparison,
};

/// Compiles subscriptions from the revisions of their modules.
pub(super) struct RevisedSubscriptions(pub(super) Arc<Registry>);

impl PastSubscriptions for RevisedSubscriptions {
    fn as_of<'a>(
        &'a self,
        id: &'a SubscriptionId,
        at_ms: i64,
    ) -> BoxFuture<'a, Result<Option<Arc<Subscription>>, JobFailure>> {
        Box::pin(async move {
            let found =
                self.0.revisions().subscription_as_of(id, RevisionMoment::Time(at_ms)).await;
            found.map_err(|error| match error {
                PastSubscriptionError::Revision(RevisionError::Unavailable(reason)) => {
                    JobFailure::Later(reason.to_string())
                }
                error => JobFailure::Never(format!("{id}: {error}")),
            })
        })
    }
}

/// Looks the shadows of subscriptions up in the registry, and keeps them compiled as long as the documents
/// stay the same. It keeps no more than there are shadows.
pub(super) struct LiveShadows {
    registry: Arc<Registry>,
    compiled: Mutex<CompiledShadows>,
}

/// Compiled shadows, each with the revisions of its documents.
type CompiledShadows = HashMap<SubscriptionId, ([u64; 2], Arc<Comparison>)>;

impl LiveShadows {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, compiled: Mutex::default() }
    }

    fn compiled(&self) -> MutexGuard<'_, CompiledShadows> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShadowDirectory for LiveShadows {
    fn all(&self) -> Vec<SubscriptionId> {
        let all = self.registry.shadows().all();
        let with_shadow: HashSet<&SubscriptionId> = all.iter().collect();
        self.compiled().retain(|id, _| with_shadow.contains(id));
        all
    }

    fn find(&self, id: &SubscriptionId) -> Result<Option<Arc<Comparison>>, String> {
        // Taken before the documents: what is newer than that is compiled again.
        let revisions = self.registry.shadows().revisions(id);
        if let Some((of, known)) = self.compiled().get(id)
            && Some(*of) == revisions
        {
            return Ok(Some(Arc::clone(known)));
        }
        let found = self.registry.shadows().comparison(id)?.map(|found| {
            let ShadowComparison { id, site, name, revision, after, stream_ms, filter, shadow } =
                found;
            Arc::new(Comparison { id, site, name, revision, after, stream_ms, filter, shadow })
        });
        if let (Some(found), Some(revisions)) = (&found, revisions) {
            self.compiled().insert(id.clone(), (revisions, Arc::clone(found)));
        }
        Ok(found)
    }
}

/// Looks subscriptions of parked deliveries up in the registry, and among the listeners.
pub(super) struct LiveSubscriptions(pub(super) Arc<Registry>, pub(super) Arc<Listeners>);

impl SubscriptionDirectory for LiveSubscriptions {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.subscription(id).or_else(|| self.1.subscription(id))
    }

    fn waiting_at(&self, site: &str) -> Vec<UnmatchedFor> {
        let waiting = self.0.waiting_at(site).into_iter();
        waiting.map(|one| UnmatchedFor { app: one.app, installation: one.id }).collect()
    }

    fn is_waiting(&self, installation: &InstallationId) -> bool {
        self.0.is_waiting(installation)
    }

    fn subscriptions_of(&self, installation: &InstallationId) -> Vec<Arc<Subscription>> {
        let known = self.0.installation_by_id_or_token(installation.as_str());
        let modules = known.iter().flat_map(|known| &known.modules);
        let registered = modules.filter_map(|module| module.subscription.clone());
        registered.chain(self.1.of_installation(installation)).collect()
    }

    fn changed_ms(&self, id: &SubscriptionId) -> Option<i64> {
        let known = self.0.installation(id.installation.as_str())?;
        let app_ms = self.0.app(known.record.app.as_str())?.record.updated_ms;
        let registered = known.registered().find(|(record, _)| record.key == id.key);
        let module_ms = match registered {
            Some((record, _)) => record.updated_ms,
            // Its app declares it.
            None => known.module(id.key.as_str()).map(|_| app_ms)?,
        };
        Some(latest_change(module_ms, known.record.updated_ms, app_ms))
    }

    fn catch_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.wait_until_current())
    }
}

/// Returns when the module, the installation or the app was changed last: each may disable the subscription
/// for a time, or change its licence.
fn latest_change(module_ms: i64, installation_ms: i64, app_ms: i64) -> i64 {
    module_ms.max(installation_ms).max(app_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscription_changed_when_its_module_its_installation_or_its_app_did() {
        assert_eq!(latest_change(3, 2, 1), 3);
        assert_eq!(latest_change(1, 3, 2), 3, "it was disabled, or not licensed, for a time");
        assert_eq!(latest_change(1, 2, 3), 3);
    }
}
