//! Subscriptions as they were at a time, for replays that match by an earlier filter.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::SubscriptionId;
use crate::matcher::Subscription;
use crate::recovery::jobs::JobFailure;

/// Most subscriptions of one replay by earlier filters; each is a read of the broker.
const SUBSCRIPTIONS_MAX: usize = 1_000;

/// Finds subscriptions as they were; implemented over the registry.
pub trait PastSubscriptions: Send + Sync {
    /// Returns a subscription with the filter and the events that it had at a time, milliseconds since the
    /// epoch; none if it did not exist then or received nothing.
    ///
    /// # Errors
    /// Its revision is not kept, or cannot be used now ([`JobFailure::Never`]), or the broker does not answer
    /// ([`JobFailure::Later`]).
    fn as_of<'a>(
        &'a self,
        id: &'a SubscriptionId,
        at_ms: i64,
    ) -> BoxFuture<'a, Result<Option<Arc<Subscription>>, JobFailure>>;
}

/// Keeps no revisions.
#[derive(Clone, Copy, Debug)]
pub struct NoPastSubscriptions;

impl PastSubscriptions for NoPastSubscriptions {
    fn as_of<'a>(
        &'a self,
        id: &'a SubscriptionId,
        _: i64,
    ) -> BoxFuture<'a, Result<Option<Arc<Subscription>>, JobFailure>> {
        let reason = format!("no revisions of {id} are kept");
        Box::pin(std::future::ready(Err(JobFailure::Never(reason))))
    }
}

/// Returns what subscriptions were at a time.
pub(super) async fn all_as_of(
    past: &dyn PastSubscriptions,
    live: &[Arc<Subscription>],
    at_ms: i64,
) -> Result<Vec<Arc<Subscription>>, JobFailure> {
    if live.len() > SUBSCRIPTIONS_MAX {
        let reason = format!(
            "the installation has more than {SUBSCRIPTIONS_MAX} subscriptions: replay them one by one"
        );
        return Err(JobFailure::Never(reason));
    }
    let mut found = Vec::with_capacity(live.len());
    for one in live {
        found.extend(past.as_of(&one.id(), at_ms).await?);
    }
    if found.is_empty() {
        let reason = "no subscription received events at that time (`asOf`)";
        return Err(JobFailure::Never(reason.to_owned()));
    }
    Ok(found)
}
