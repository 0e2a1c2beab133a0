//! Plans the deliveries of an event: one for each match, one for matches that are coalesced.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::channel::{CoalesceKey, channel_of};
use super::model::{Delivery, PreparedEvent, Progress};
use crate::domain::{DeliveryId, InstallationId, ModuleKey, SubscriptionId};
use crate::event::Envelope;
use crate::matcher::{Match, Subscription};

/// A match, with the further subscriptions that share its delivery.
#[derive(Debug)]
pub struct PlannedDelivery {
    /// The match that is delivered.
    pub matched: Match,
    /// Further subscriptions of the same installation, see [`CoalesceKey`].
    pub coalesced_with: Vec<Arc<Subscription>>,
}

/// Returns the deliveries of matches: one for each, but one for all matches of an installation with
/// the same [`CoalesceKey`].
#[must_use]
pub fn coalesce(matches: Vec<Match>) -> Vec<PlannedDelivery> {
    let mut planned: Vec<PlannedDelivery> = Vec::with_capacity(matches.len());
    let mut groups: HashMap<(InstallationId, Box<str>, Box<str>), usize> = HashMap::new();
    for mut found in matches {
        let Some(key) = coalesce_key(&found.subscription) else {
            planned.push(PlannedDelivery { matched: found, coalesced_with: Vec::new() });
            continue;
        };
        let installation = found.subscription.owner.id.clone();
        let (rank, group) = (key.rank, (installation, key.module_key.into(), key.group.into()));
        let known = groups.get(&group).and_then(|at| planned.get_mut(*at));
        let Some(first) = known else {
            groups.insert(group, planned.len());
            planned.push(PlannedDelivery { matched: found, coalesced_with: Vec::new() });
            continue;
        };
        if coalesce_key(&first.matched.subscription).is_some_and(|lowest| rank < lowest.rank) {
            std::mem::swap(&mut first.matched, &mut found);
        }
        first.coalesced_with.push(found.subscription);
    }
    planned
}

impl PlannedDelivery {
    /// Returns the id of its delivery of an event.
    #[must_use]
    pub fn id(&self, envelope: &Envelope) -> DeliveryId {
        let identity = identity(&self.matched.subscription);
        DeliveryId::derive(&envelope.cloud_id, &envelope.event_id, &identity)
    }

    /// Returns the subscriptions that it is for, the one that is delivered first.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        std::iter::once(&self.matched.subscription).chain(&self.coalesced_with)
    }

    /// Returns the delivery for those of its subscriptions that `is_kept` selects, under the same id; none
    /// if it selects none.
    #[must_use]
    pub fn narrowed(mut self, is_kept: impl Fn(&Subscription) -> bool) -> Option<Self> {
        self.coalesced_with.retain(|one| is_kept(one));
        if !is_kept(&self.matched.subscription) {
            let rank = |one: &Arc<Subscription>| coalesce_key(one).map(|key| key.rank);
            let lowest = (0..self.coalesced_with.len())
                .min_by_key(|at| self.coalesced_with.get(*at).and_then(rank))?;
            self.matched.subscription = self.coalesced_with.swap_remove(lowest);
        }
        Some(self)
    }

    /// Creates the delivery of `prepared`.
    #[must_use]
    pub fn into_delivery(self, prepared: &Arc<PreparedEvent>, now: Timestamp) -> Delivery {
        let id = self.id(&prepared.event.envelope);
        let Self { matched: found, coalesced_with } = self;
        Delivery {
            id,
            subscription: found.subscription,
            coalesced_with: coalesced_with.into(),
            prepared: Arc::clone(prepared),
            self_generated: found.self_generated,
            filter_error: found.filter_error.map(|error| *error),
            progress: Progress::new(now),
            target: None,
        }
    }
}

/// Returns the key that the ids of the deliveries to a subscription are derived from. Subscriptions with the
/// same one share deliveries.
#[must_use]
pub fn delivery_key(subscription: &Subscription) -> ModuleKey {
    identity(subscription).key
}

/// Returns what the id of a delivery is derived from.
fn identity(subscription: &Subscription) -> SubscriptionId {
    match coalesce_key(subscription) {
        Some(key) => SubscriptionId {
            installation: subscription.owner.id.clone(),
            key: ModuleKey::from(key.module_key),
        },
        None => subscription.id(),
    }
}

fn coalesce_key(subscription: &Subscription) -> Option<CoalesceKey<'_>> {
    channel_of(&subscription.owner.settings.handler).coalesce_key()
}
