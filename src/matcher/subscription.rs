//! A trigger as the matcher holds it.

use std::ops::Deref;
use std::slice;
use std::sync::Arc;

use crate::domain::{
    AppId, CloudId, EventType, Handler, InstallationId, ModuleKey, OnError, Profile, SubscriptionId,
};
use crate::telemetry::SubscriptionStats;

/// Whose a subscription is, and what is done with its matches: what the subscriptions of one
/// installation have in common, as far as they say the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// The installation.
    pub id: InstallationId,
    /// The app behind the installation; decides `ignoreSelf`.
    pub app: AppId,
    /// The account the app acts with, the second way to tell that a change is its own.
    pub app_account_id: Option<Box<str>>,
    /// The site whose events it hears.
    pub cloud_id: CloudId,
    /// Whether the installation holds an active licence.
    pub licensed: bool,
    /// Where matches go and how.
    pub settings: DeliverySettings,
}

/// One live trigger module of one installation. Immutable: a change makes a new one, which keeps
/// the counters of the old.
#[derive(Debug)]
pub struct Subscription {
    /// Its installation and its terms, shared by all subscriptions of it that have the same.
    pub owner: Arc<Owner>,
    /// The module's key.
    pub key: ModuleKey,
    /// Event types with their filters, in the order of the module.
    pub event_subscriptions: EventSubscriptions,
    /// Registry revision that made it.
    pub revision: u64,
    /// What happened to it so far.
    pub stats: SubscriptionStats,
}

impl Subscription {
    /// Installation and module key.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        SubscriptionId { installation: self.owner.id.clone(), key: self.key.clone() }
    }
}

/// Where matches go and how. An installation's modules have few different ones.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DeliverySettings {
    /// Where matches go.
    pub handler: Arc<Handler>,
    /// Top-level issue fields kept in the delivered body (`payload.include.fields`); empty = all.
    pub include_fields: Box<[Box<str>]>,
    /// How failed deliveries are judged and repeated.
    pub profile: Profile,
    /// Whether deliveries wait.
    pub is_paused: bool,
}

impl DeliverySettings {
    /// Whole bodies to this handler, nothing special about it.
    #[must_use]
    pub fn new(handler: Arc<Handler>) -> Self {
        Self {
            handler,
            include_fields: Box::default(),
            profile: Profile::default(),
            is_paused: false,
        }
    }
}

/// The event types of a trigger; mostly it is one, which takes no memory of its own.
#[derive(Debug)]
pub enum EventSubscriptions {
    /// A single one.
    One(EventSubscription),
    /// Any number of them; behind one pointer, so that the other case is as small as can be.
    Many(Box<Box<[EventSubscription]>>),
}

impl Deref for EventSubscriptions {
    type Target = [EventSubscription];

    fn deref(&self) -> &[EventSubscription] {
        match self {
            Self::One(event) => slice::from_ref(event),
            Self::Many(events) => events,
        }
    }
}

impl<'a> IntoIterator for &'a EventSubscriptions {
    type Item = &'a EventSubscription;
    type IntoIter = slice::Iter<'a, EventSubscription>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<EventSubscription>> for EventSubscriptions {
    fn from(events: Vec<EventSubscription>) -> Self {
        match <[EventSubscription; 1]>::try_from(events) {
            Ok([event]) => Self::One(event),
            Err(events) => Self::Many(Box::new(events.into())),
        }
    }
}

impl FromIterator<EventSubscription> for EventSubscriptions {
    fn from_iter<I: IntoIterator<Item = EventSubscription>>(events: I) -> Self {
        events.into_iter().collect::<Vec<_>>().into()
    }
}

/// One event type a trigger listens to.
#[derive(Clone, Debug)]
pub struct EventSubscription {
    /// The event type and what must hold beside the expression, shared by all who say the same.
    pub conditions: Arc<EventConditions>,
    /// The compiled expression; none means that every event passes.
    pub program: Option<Arc<switchyard_expr::Program>>,
}

/// An event type and the conditions on it beside an expression, which combine with "and" and are
/// asked before it. All triggers together have few different ones.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EventConditions {
    /// The event type.
    pub event_type: EventType,
    /// Leaves out events that the app itself caused.
    pub ignore_self: bool,
    /// Leaves out installations without an active licence.
    pub requires_licence: bool,
    /// What an evaluation error means.
    pub on_error: OnError,
}

impl EventConditions {
    /// All events of the type.
    #[must_use]
    pub fn unconditional(event_type: EventType) -> Self {
        let on_error = OnError::default();
        Self { event_type, ignore_self: false, requires_licence: false, on_error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_subscriptions_keep_their_order_and_take_two_words() {
        let event = |at: usize| EventSubscription {
            conditions: Arc::new(EventConditions::unconditional(format!("type-{at}").into())),
            program: None,
        };
        for count in 0..4 {
            let event_subscriptions: EventSubscriptions = (0..count).map(event).collect();
            let types: Vec<_> =
                event_subscriptions.iter().map(|e| e.conditions.event_type.to_string()).collect();
            let expected: Vec<_> = (0..count).map(|at| format!("type-{at}")).collect();
            assert_eq!(types, expected);
        }
        assert_eq!(size_of::<EventSubscriptions>(), 2 * size_of::<usize>());
    }
}
