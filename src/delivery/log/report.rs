//! Report of one delivery that is accounted for.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::delivery::channel::channel_of;
use crate::delivery::model::{
    AttemptClass, AttemptEvidence, AttemptOutcome, Delivery, DeliveryOutcome, DropPolicy,
    ParkReason, RemovalReason,
};
use crate::delivery::parking::ParkedDelivery;
use crate::domain::{DeliveryId, InstallationId, ModuleKey, SubscriptionId};

/// What became of a delivery, and the attempt that was made.
#[derive(Clone, PartialEq, Debug)]
pub struct DeliveryReport {
    /// How it is accounted for.
    pub outcome: DeliveryOutcome,
    /// When it is attempted again, by the broker's clock; none unless it is parked.
    pub due: Option<Timestamp>,
    /// Its installation.
    pub installation: InstallationId,
    /// Its module.
    pub key: ModuleKey,
    /// Further modules that it is for.
    pub coalesced_with: Box<[ModuleKey]>,
    /// Its id, if that cannot be derived from event, installation and key.
    pub id: Option<DeliveryId>,
    /// Revision of the subscription; none if the subscription is not known.
    pub revision: Option<u64>,
    /// Replay that made the delivery once more; none if its event made it.
    pub replay: Option<Arc<str>>,
    /// Job that handed the delivery over with this report.
    pub job: Option<Arc<str>>,
    /// Number of the attempt: the one that was made, or else the next one.
    pub number: u32,
    /// The attempt; none if none was made.
    pub attempt: Option<Box<AttemptReport>>,
}

/// One attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct AttemptReport {
    /// Class of its outcome.
    pub class: AttemptClass,
    /// One sentence for operators; empty on success.
    pub detail: Cow<'static, str>,
    /// Time that it waited for a permit.
    pub queued: Duration,
    /// Time that it took.
    pub took: Duration,
    /// What was observed of the response.
    pub evidence: Option<Box<AttemptEvidence>>,
}

impl AttemptReport {
    /// Creates the report of an attempt that waited for `queued` and took `took`.
    pub(in crate::delivery) fn of(
        outcome: AttemptOutcome,
        queued: Duration,
        took: Duration,
    ) -> Self {
        let AttemptOutcome { class, detail, evidence, .. } = outcome;
        Self { class, detail, queued, took, evidence }
    }
}

impl DeliveryReport {
    /// Creates the report of a delivery. `number` is that of the attempt that was made or is next.
    pub(in crate::delivery) fn of_delivery(
        delivery: &Delivery,
        number: u32,
        outcome: DeliveryOutcome,
        due: Option<Timestamp>,
        mut attempt: Option<Box<AttemptReport>>,
    ) -> Self {
        let subscription = &delivery.subscription;
        if !subscription.owner.settings.kept_bodies.in_log
            && let Some(evidence) = attempt.as_mut().and_then(|made| made.evidence.as_mut())
        {
            evidence.response = None;
        }
        Self {
            outcome,
            due,
            installation: subscription.owner.id.clone(),
            key: subscription.key.clone(),
            coalesced_with: delivery.coalesced_with.iter().map(|one| one.key.clone()).collect(),
            id: (!has_derived_id(delivery)).then(|| delivery.id.clone()),
            revision: Some(subscription.revision),
            replay: delivery.progress.repeated_by().cloned(),
            job: None,
            number,
            attempt,
        }
    }

    /// Creates the report of a delivery that a replay parked until `due`.
    #[must_use]
    pub fn of_replayed(delivery: &Delivery, due: Timestamp) -> Self {
        let outcome = DeliveryOutcome::Parked(ParkReason::Replay);
        let number = delivery.progress.attempt;
        let job = delivery.progress.replay_job().cloned();
        Self { job, ..Self::of_delivery(delivery, number, outcome, Some(due), None) }
    }

    /// Creates the report of a parked delivery that is not attempted.
    pub(in crate::delivery) fn of_parked(
        parked: &ParkedDelivery,
        outcome: DeliveryOutcome,
        due: Option<Timestamp>,
    ) -> Self {
        let mut keys = parked.subscriptions.iter().map(|one| one.key.clone());
        let key = keys.next().unwrap_or_else(|| "".into());
        let coalesced_with = keys.collect();
        let envelope = &parked.event().envelope;
        let identity = SubscriptionId { installation: parked.installation.clone(), key };
        let derived = DeliveryId::derive(&envelope.cloud_id, &envelope.event_id, &identity);
        let SubscriptionId { installation, key } = identity;
        Self {
            outcome,
            due,
            installation,
            key,
            coalesced_with,
            id: (parked.id != derived).then(|| parked.id.clone()),
            revision: None,
            replay: parked.progress().repeated_by().cloned(),
            job: None,
            number: parked.progress().attempt,
            attempt: None,
        }
    }

    /// Creates the report of a dead-lettered delivery that a redrive parked until `due`.
    #[must_use]
    pub fn of_redriven(parked: &ParkedDelivery, due: Timestamp) -> Self {
        let outcome = DeliveryOutcome::Parked(ParkReason::Redrive);
        let job = parked.progress().job.as_ref().map(|origin| Arc::clone(&origin.job));
        Self { job, ..Self::of_parked(parked, outcome, Some(due)) }
    }

    /// Creates the report of a parked delivery whose subscriptions were all removed.
    #[must_use]
    pub fn of_removed(parked: &ParkedDelivery) -> Self {
        let policy = DropPolicy::SubscriptionRemoved;
        Self::of_parked(parked, DeliveryOutcome::Dropped(policy), None)
    }

    /// Creates the report of a delivery that waited, or was dead, and that was removed.
    #[must_use]
    pub fn of_removal(parked: &ParkedDelivery, reason: RemovalReason) -> Self {
        Self::of_parked(parked, DeliveryOutcome::Removed(reason), None)
    }

    /// Creates the report of a parked delivery whose record cannot be resumed.
    #[must_use]
    pub fn of_unresumable(parked: &ParkedDelivery, outcome: DeliveryOutcome) -> Self {
        Self::of_parked(parked, outcome, None)
    }
}

/// Returns whether the id of a delivery is the one derived from its event, installation and module.
/// That of coalesced matches is not, nor that of a parked delivery whose module has another handler now.
fn has_derived_id(delivery: &Delivery) -> bool {
    if channel_of(delivery.handler()).coalesce_key().is_some() {
        return false;
    }
    let envelope = &delivery.prepared.event.envelope;
    let id =
        || DeliveryId::derive(&envelope.cloud_id, &envelope.event_id, &delivery.subscription.id());
    delivery.progress.parks == 0 || id() == delivery.id
}
