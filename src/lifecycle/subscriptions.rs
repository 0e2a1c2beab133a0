//! Looks subscriptions up in the registry: those that exist, and what they were.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::delivery::{SubscriptionDirectory, UnmatchedFor};
use crate::domain::{CloudId, InstallationId, SubscriptionId};
use crate::matcher::Subscription;
use crate::recovery::jobs::JobFailure;
use crate::recovery::replay::PastSubscriptions;
use crate::registry::{
    AppliedInstallation, PastSubscriptionError, Registry, RevisionError, RevisionMoment,
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

/// Looks subscriptions of parked deliveries up in the registry.
pub(super) struct LiveSubscriptions(pub(super) Arc<Registry>);

impl SubscriptionDirectory for LiveSubscriptions {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.0.subscription(id)
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
        modules.filter_map(|module| module.subscription.clone()).collect()
    }

    fn subscriptions_at(&self, site: &CloudId) -> Vec<Arc<Subscription>> {
        let ids = self.0.installation_ids(None, usize::MAX).into_iter();
        let known = ids.filter_map(|id| self.0.installation(id.as_str()));
        let at_site = known.filter(|known| known.record.cloud_id == *site);
        let of = |known: Arc<AppliedInstallation>| {
            let live = known.modules.iter().filter_map(|module| module.subscription.clone());
            live.collect::<Vec<_>>()
        };
        at_site.flat_map(of).collect()
    }

    fn changed_ms(&self, id: &SubscriptionId) -> Option<i64> {
        let known = self.0.installation(id.installation.as_str())?;
        let found = known.registered().find(|(record, _)| record.key == id.key);
        found.map(|(record, _)| record.updated_ms)
    }

    fn catch_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.wait_until_current())
    }
}
