//! The live feed: what is being decided right now, for the console and the terminal.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;

/// Notices kept for a slow subscriber; older ones are skipped and the subscriber is told how many.
const FEED_EVENTS_MAX: usize = 1024;

/// A bounded broadcast of notices. Costs nothing while nobody watches.
#[derive(Clone, Debug)]
pub struct LiveFeed(broadcast::Sender<Arc<LiveEvent>>);

/// One thing that happened to an event or a delivery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "notice", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LiveEvent {
    /// An event was matched.
    Routed {
        /// Id of the event.
        event_id: String,
        /// Its type.
        event_type: String,
        /// Key of the entity it is about.
        entity: Option<String>,
        /// Subscriptions that get it, `<installation>/<key>`; empty = nobody wanted it.
        matches: Vec<String>,
        /// Subscriptions whose filter failed.
        errors: Vec<String>,
        /// Subscriptions left out by `ignoreSelf` or for want of a licence.
        ignored: usize,
    },
    /// A delivery was attempted or put off.
    Delivery {
        /// Id of the delivery.
        delivery_id: String,
        /// Whose it is, `<installation>/<key>`.
        subscription: String,
        /// Key of the entity the event is about.
        entity: Option<String>,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// What came of it, in words: `delivered`, `parked: backoff`, `dead: rejected_404`, ...
        outcome: String,
        /// Milliseconds the attempt took; none was made if absent.
        ms: Option<u64>,
    },
}

impl Default for LiveFeed {
    fn default() -> Self {
        Self(broadcast::channel(FEED_EVENTS_MAX).0)
    }
}

impl LiveFeed {
    /// Sends the notice that `make` builds, if anybody watches.
    pub fn publish(&self, make: impl FnOnce() -> LiveEvent) {
        if self.has_subscribers() {
            // Fails only if the last subscriber left just now.
            let _ = self.0.send(Arc::new(make()));
        }
    }

    /// Whether anybody watches.
    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Starts watching: everything told from now on.
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
            event_id: id.into(),
            event_type: "avi:jira:created:issue".into(),
            entity: None,
            matches: Vec::new(),
            errors: Vec::new(),
            ignored: 0,
        }
    }

    #[tokio::test]
    async fn watcher_gets_what_is_told_after_it_came() {
        let live = LiveFeed::default();
        live.publish(|| panic!("nobody watches, so nothing is built"));
        let mut subscriber = live.subscribe();
        live.publish(|| live_event("e1"));
        assert_eq!(*subscriber.recv().await.unwrap(), live_event("e1"));
    }

    #[tokio::test]
    async fn slow_watcher_is_told_how_much_it_missed() {
        let live = LiveFeed::default();
        let mut subscriber = live.subscribe();
        for n in 0..FEED_EVENTS_MAX + 3 {
            live.publish(|| live_event(&n.to_string()));
        }
        assert!(matches!(subscriber.recv().await, Err(broadcast::error::RecvError::Lagged(3))));
    }
}
