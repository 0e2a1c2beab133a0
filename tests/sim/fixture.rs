//! The router's own types for the numbers of a scenario.

use std::sync::Arc;

use bytes::Bytes;
use switchyard::delivery::{Delivery, PlannedDelivery, PreparedEvent, SubscriptionDirectory};
use switchyard::domain::{AppId, Handler, InstallationId, SubscriptionId};
use switchyard::event::codec::HeaderList;
use switchyard::event::{Envelope, Event, HeaderLookup};
use switchyard::matcher::{DeliverySettings, Match, Owner, Subscription};
use switchyard::telemetry::SubscriptionStats;

use crate::dice::Ms;
use crate::scenario::Scenario;
use crate::world::timestamp;

/// Returns the subscription of each trigger.
pub(crate) fn subscriptions(scenario: &Scenario) -> Vec<Arc<Subscription>> {
    let owner = |installation: usize| {
        Arc::new(Owner {
            id: self::installation(installation),
            app: app(scenario, installation),
            app_account_id: None,
            cloud_id: "site-1".into(),
            licensed: true,
            permissions: None,
            settings: DeliverySettings::new(Arc::new(Handler::function("fn"))),
        })
    };
    let owners: Vec<_> = (0..scenario.installations).map(owner).collect();
    let subscription = |(number, trigger): (usize, &crate::scenario::Trigger)| {
        let owner = owners.get(trigger.installation).map(Arc::clone);
        Arc::new(Subscription {
            owner: owner.unwrap_or_else(|| unreachable!("an installation of the scenario")),
            key: format!("k{number}").as_str().into(),
            event_subscriptions: Vec::new().into(),
            revision: 1,
            stats: SubscriptionStats::default(),
        })
    };
    scenario.triggers.iter().enumerate().map(subscription).collect()
}

/// Returns the app of an installation.
pub(crate) fn app(scenario: &Scenario, installation: usize) -> AppId {
    format!("app-{}", scenario.app(installation)).as_str().into()
}

/// Returns the id of an installation.
pub(crate) fn installation(number: usize) -> InstallationId {
    format!("inst-{number}").as_str().into()
}

/// Returns an event as a router decodes it.
pub(crate) fn event(number: usize, sequence: u64) -> Arc<PreparedEvent> {
    let event = Event {
        envelope: Envelope {
            cloud_id: "site-1".into(),
            event_id: format!("e{number}").as_str().into(),
            event_type: "avi:jira:created:issue".into(),
            time: None,
            origin_app: None,
            entity: None,
            traceparent: None,
            trace: None,
            webhook: None,
        },
        body: Bytes::from_static(b"{}"),
        sequence,
    };
    match PreparedEvent::new(event) {
        Ok(prepared) => Arc::new(prepared),
        Err(error) => unreachable!("the body is an object: {error}"),
    }
}

/// Returns the delivery of an event to a subscription.
pub(crate) fn delivery(
    prepared: &Arc<PreparedEvent>,
    subscription: &Arc<Subscription>,
    now: Ms,
) -> Delivery {
    let subscription = Arc::clone(subscription);
    let matched = Match { subscription, self_generated: false, filter_error: None };
    let planned = PlannedDelivery { matched, coalesced_with: Vec::new() };
    planned.into_delivery(prepared, timestamp(now))
}

/// Headers of a stored record.
pub(crate) struct StoredHeaders<'h>(pub(crate) &'h HeaderList);

impl HeaderLookup for StoredHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_str())
    }
}

/// The registry as one replica knows it.
pub(crate) struct Directory<'d> {
    pub(crate) subscriptions: &'d [Arc<Subscription>],
    pub(crate) live: &'d [bool],
}

impl SubscriptionDirectory for Directory<'_> {
    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        let mut live = self.subscriptions.iter().zip(self.live).filter(|(_, is_live)| **is_live);
        live.find(|(of, _)| of.id() == *id).map(|(of, _)| Arc::clone(of))
    }
}
