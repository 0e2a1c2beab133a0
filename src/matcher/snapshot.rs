//! The live index: one immutable snapshot at a time, replaced whole by registrations.

use std::sync::Arc;

use super::Subscription;
use crate::domain::{FilterError, InstallationId, OnError, SubscriptionId};
use crate::event::{Decoder, Event};

/// Finds the subscriptions that want an event. Shared by all threads; readers take no lock.
#[derive(Debug, Default)]
pub struct Matcher {
    live: arc_swap::ArcSwap<Vec<Arc<Subscription>>>,
}

/// Working memory of one matching thread, reused from event to event.
#[derive(Debug, Default)]
pub struct Scratch {}

/// A subscription that gets the event.
#[derive(Clone, Debug)]
pub struct Match {
    /// Who wants it.
    pub subscription: Arc<Subscription>,
    /// Whether the app itself caused the event.
    pub self_generated: bool,
    /// Set when the filter failed and `onError` delivers all the same.
    pub filter_error: Option<FilterError>,
}

/// A filter that could not be evaluated, whatever `onError` made of it.
#[derive(Clone, Debug)]
pub struct FilterFailure {
    /// Whose filter.
    pub subscription: Arc<Subscription>,
    /// What happened.
    pub error: FilterError,
    /// What becomes of the event.
    pub on_error: OnError,
}

/// Outcome of matching one event.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// Deliveries to make, in no particular order.
    pub matches: Vec<Match>,
    /// Filters that failed.
    pub failures: Vec<FilterFailure>,
    /// Candidates evaluated after the index.
    pub candidates: usize,
}

impl Matcher {
    /// An empty matcher whose evaluations end after `steps_max` steps.
    #[must_use]
    pub fn new(_steps_max: u32) -> Self {
        Self::default()
    }

    /// Replaces all live subscriptions of one installation, at once; an empty list removes them.
    /// Events matched after the call see all of it.
    pub fn replace_installation(
        &self,
        installation: &InstallationId,
        subscriptions: Vec<Arc<Subscription>>,
    ) {
        self.live.rcu(|live| {
            let mut live = Vec::clone(live);
            live.retain(|subscription| subscription.id.installation != *installation);
            live.extend(subscriptions.iter().cloned());
            live
        });
    }

    /// Events of the subscription's types that did not match since this replica started; none when
    /// it is not live.
    #[must_use]
    pub fn not_matched(&self, _subscription: &SubscriptionId) -> Option<u64> {
        None
    }

    /// Matches the event that `decoder` decoded last.
    pub fn matches(&self, event: &Event, _decoder: &Decoder, _scratch: &mut Scratch) -> Matches {
        let envelope = &event.envelope;
        let live = self.live.load();
        let wants = |subscription: &&Arc<Subscription>| {
            subscription.cloud_id == envelope.cloud_id
                && subscription.listens.iter().any(|l| l.event_type == envelope.event_type)
        };
        let matches = live.iter().filter(wants).map(|subscription| Match {
            subscription: Arc::clone(subscription),
            self_generated: false,
            filter_error: None,
        });
        Matches { matches: matches.collect(), ..Matches::default() }
    }
}
