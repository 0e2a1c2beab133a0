//! Endpoints as operators see them: their state on this replica, a probe before its time, and a test
//! with one signed request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Dispatcher;
use crate::clock;
use crate::delivery::channel::{Attempt, channel_of};
use crate::delivery::log::AttemptReport;
use crate::delivery::model::{Delivery, NotAnObject, PreparedEvent, Progress};
use crate::delivery::queue::{LaneStatus, OpenEndpoint};
use crate::delivery::shares::ShareOwner;
use crate::domain::{DeliveryId, EventId, Handler};
use crate::event::{Envelope, Event};
use crate::matcher::Subscription;

/// Event type of a test; no event of a product has it.
const PING: &str = "switchyard:ping";

/// The endpoint of a handler.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EndpointKey {
    /// Identifies it within its installation.
    pub endpoint: String,
    /// The host that it shares breakers with.
    pub host: String,
}

impl EndpointKey {
    /// Returns the endpoint of a handler.
    #[must_use]
    pub fn of(handler: &Handler) -> Self {
        let channel = channel_of(handler);
        Self { endpoint: channel.endpoint().to_owned(), host: channel.host().into_owned() }
    }
}

/// What became of a test.
#[derive(Clone, PartialEq, Debug)]
pub struct PingReport {
    /// Its `webhook-id`.
    pub id: DeliveryId,
    /// Whether the handler accepted it.
    pub is_accepted: bool,
    /// The attempt.
    pub attempt: AttemptReport,
}

impl Dispatcher {
    /// Returns the state of the endpoint of a subscription on this replica; none if no delivery used it
    /// lately.
    #[must_use]
    pub fn endpoint_status(&self, subscription: &Subscription) -> Option<LaneStatus> {
        let endpoint = channel_of(&subscription.owner.settings.handler).endpoint();
        let lane = self.lanes.find(&subscription.owner.id, endpoint)?;
        Some(lane.status(clock::uptime_ms()))
    }

    /// Admits the next attempt at the endpoint of a subscription at once, although a breaker is open; returns
    /// whether one was. Deliveries that are parked are attempted when they are due.
    #[must_use]
    pub fn admit_probe_now(&self, subscription: &Subscription) -> bool {
        let endpoint = channel_of(&subscription.owner.settings.handler).endpoint();
        let lane = self.lanes.find(&subscription.owner.id, endpoint);
        lane.is_some_and(|lane| lane.breakers().admit_probe_now())
    }

    /// Returns at most `limit` endpoints whose breaker is open here, those that are open for longest.
    #[must_use]
    pub fn open_endpoints(&self, limit: usize) -> Vec<OpenEndpoint> {
        self.lanes.open_endpoints(limit)
    }

    /// Returns who pays for the parked deliveries of a subscription.
    #[must_use]
    pub fn owner_of(subscription: &Subscription) -> ShareOwner {
        ShareOwner::of(subscription, channel_of(&subscription.owner.settings.handler).endpoint())
    }

    /// Sends one test event to the handler of a subscription, signed as its deliveries are and within the same
    /// rules on addresses. It is not repeated, and changes neither counters nor breakers.
    ///
    /// # Errors
    /// The test event cannot be rendered.
    pub async fn ping(&self, subscription: &Arc<Subscription>) -> Result<PingReport, NotAnObject> {
        let delivery = ping_delivery(subscription)?;
        let channel = channel_of(delivery.handler());
        let lane = self.lane_of(&delivery);
        let body = channel.body(&delivery);
        let (started, now) = (clock::tick(), clock::now());
        let (http, ports, timeout) = (lane.connection(), &self.ports.channels, self.timeout);
        let trace = None;
        let attempt = Attempt { delivery: &delivery, body, now, timeout, trace, http, ports };
        let outcome = channel.attempt(attempt).await;
        let is_accepted = outcome.is_done();
        let attempt = AttemptReport::of(outcome, Duration::ZERO, clock::since(started));
        Ok(PingReport { id: delivery.id, is_accepted, attempt })
    }
}

fn ping_delivery(subscription: &Arc<Subscription>) -> Result<Delivery, NotAnObject> {
    let now = clock::broker_now();
    let event_id = EventId::from(format!("ping-{}", now.as_microsecond()).as_str());
    let owner = &subscription.owner;
    let envelope = Envelope {
        cloud_id: owner.cloud_id.clone(),
        event_id: event_id.clone(),
        event_type: PING.into(),
        time: Some(now),
        origin_app: None,
        entity: None,
        traceparent: None,
        trace: None,
        webhook: None,
    };
    let body = Bytes::from_static(br#"{"eventType":"switchyard:ping","ping":true}"#);
    let event = Event { envelope, body, sequence: 0 };
    Ok(Delivery {
        id: DeliveryId::derive(&owner.cloud_id, &event_id, &subscription.id()),
        subscription: Arc::clone(subscription),
        coalesced_with: Box::default(),
        prepared: Arc::new(PreparedEvent::new(event)?),
        self_generated: false,
        filter_error: None,
        progress: Progress::new(now),
        target: None,
    })
}
