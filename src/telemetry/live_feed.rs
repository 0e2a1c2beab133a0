//! The live feed: routed events and deliveries as they happen, for the console and the terminal.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;

/// Events kept for a slow subscriber; older ones are dropped and it receives their number.
pub const FEED_EVENTS_MAX: usize = 1024;

/// A bounded broadcast of live events; without subscribers no event is built.
#[derive(Clone, Debug)]
pub struct LiveFeed(broadcast::Sender<Arc<LiveEvent>>);

/// Something that happened to an event or a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "notice", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LiveEvent {
    /// An event was matched.
    Routed {
        /// Its site.
        site: String,
        /// Id of the event.
        event_id: String,
        /// Its type.
        event_type: String,
        /// Key of the entity it is about.
        entity: Option<String>,
        /// Matching subscriptions, `<installation>/<key>`; empty = none.
        matches: Vec<String>,
        /// Subscriptions whose filter failed.
        errors: Vec<String>,
        /// Why the first of these failed.
        failures: Vec<LiveFailure>,
        /// Number of subscriptions excluded by `ignoreSelf` or a missing licence.
        ignored: usize,
        /// Why there are no matches; none if there are some.
        unmatched: Option<&'static str>,
    },
    /// A delivery was attempted, parked or dead-lettered.
    Delivery {
        /// Id of the delivery.
        delivery_id: String,
        /// Its subscription, `<installation>/<key>`.
        subscription: String,
        /// Site of the event.
        site: String,
        /// Type of the event.
        event_type: String,
        /// Key of the entity the event is about.
        entity: Option<String>,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Its outcome as text: `delivered`, `parked: backoff`, `dead: rejected_404`, ...
        outcome: String,
        /// Duration of the attempt in milliseconds; none if no attempt was made.
        ms: Option<u64>,
    },
}

/// A filter that failed for an event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveFailure {
    /// Its subscription, `<installation>/<key>`.
    pub subscription: String,
    /// The part that failed and why, as explanations say it.
    pub because: String,
    /// Whether the event is delivered nevertheless (`onError`).
    pub delivered: bool,
}

impl Default for LiveFeed {
    fn default() -> Self {
        Self(broadcast::channel(FEED_EVENTS_MAX).0)
    }
}

impl LiveFeed {
    /// Publishes the event that `make` builds, if there are subscribers.
    pub fn publish(&self, make: impl FnOnce() -> LiveEvent) {
        if self.has_subscribers() {
            // Fails only if the last subscriber was dropped since the check.
            let _ = self.0.send(Arc::new(make()));
        }
    }

    /// Whether there are subscribers.
    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Returns how many subscribers there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.0.receiver_count()
    }

    /// Subscribes to every event from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live_event(id: &str) -> LiveEvent {
        LiveEvent::Routed {
            site: "site-1".into(),
            event_id: id.into(),
            event_type: "avi:jira:created:issue".into(),
            entity: None,
            matches: Vec::new(),
            errors: Vec::new(),
            failures: Vec::new(),
            ignored: 0,
            unmatched: Some("no filter matches"),
        }
    }

    #[tokio::test]
    async fn subscriber_receives_events_published_after_it_subscribed() {
        let live = LiveFeed::default();
        live.publish(|| panic!("built an event without subscribers"));
        let mut subscriber = live.subscribe();
        live.publish(|| live_event("e1"));
        assert_eq!(*subscriber.recv().await.unwrap(), live_event("e1"));
    }

    #[tokio::test]
    async fn slow_subscriber_receives_the_number_of_missed_events() {
        let live = LiveFeed::default();
        let mut subscriber = live.subscribe();
        for n in 0..FEED_EVENTS_MAX + 3 {
            live.publish(|| live_event(&n.to_string()));
        }
        assert!(matches!(subscriber.recv().await, Err(broadcast::error::RecvError::Lagged(3))));
    }
}
