//! What a backtest tries, and on which events.

use std::sync::Arc;

use crate::domain::CloudId;
use crate::matcher::EventSubscription;
use crate::recovery::explain::OwnedSubscriber;
use crate::recovery::replay::StartAt;

/// A filter that is tried on stored events.
#[derive(Clone, Debug)]
pub struct BacktestQuery {
    /// On the events of this site; none for all sites.
    pub site: Option<CloudId>,
    /// On events from then on.
    pub from: StartAt,
    /// On events that were stored before then, milliseconds since the epoch; none for all.
    pub until_ms: Option<i64>,
    /// Most events that are read.
    pub events_max: u64,
    /// The filter.
    pub tried: TestedFilter,
    /// The events and filters of the subscription that it would change; none without one.
    pub current: Option<Vec<EventSubscription>>,
    /// The installation that it would be of.
    pub subscriber: Arc<OwnedSubscriber>,
}

/// A filter with the event types that it is for.
#[derive(Clone, Debug)]
pub enum TestedFilter {
    /// Of these types, as a subscription has them.
    OfTypes(Vec<EventSubscription>),
    /// Of every type: that of the conditions does not count.
    OfAll(EventSubscription),
}

impl TestedFilter {
    /// Whether events of a type are decided on.
    pub(super) fn is_of(&self, event_type: &str) -> bool {
        match self {
            Self::OfTypes(events) => has_type(events, event_type),
            Self::OfAll(_) => true,
        }
    }

    /// Returns it as a subscription to events of this type would have it.
    #[must_use]
    pub fn for_type(&self, event_type: &str) -> Vec<EventSubscription> {
        match self {
            Self::OfTypes(events) => events.clone(),
            Self::OfAll(any) => {
                let mut conditions = (*any.conditions).clone();
                conditions.event_type = event_type.into();
                let (conditions, program) = (Arc::new(conditions), any.program.clone());
                vec![EventSubscription { conditions, program }]
            }
        }
    }
}

/// Whether subscriptions have an event type.
pub(super) fn has_type(events: &[EventSubscription], event_type: &str) -> bool {
    events.iter().any(|one| one.conditions.event_type.as_str() == event_type)
}
