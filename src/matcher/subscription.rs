//! Subscriptions: triggers as the matcher holds them.

use std::ops::Deref;
use std::slice;
use std::sync::Arc;

use crate::domain::{
    AppId, CloudId, EventType, Handler, InstallationId, ModuleKey, OnError, PropertyPath,
    RetryProfile, SubscriptionId,
};
use crate::event::Permissions;
use crate::telemetry::SubscriptionStats;

/// Whose a subscription is and where its matches go: one record for all subscriptions of an
/// installation that agree on it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// The installation.
    pub id: InstallationId,
    /// The app that is installed; decides `ignoreSelf`.
    pub app: AppId,
    /// The account the app acts with; the second way to recognise a change as the app's own.
    pub app_account_id: Option<Box<str>>,
    /// The site whose events it receives.
    pub cloud_id: CloudId,
    /// Whether the installation has an active licence.
    pub licensed: bool,
    /// The permissions of the app in the installation, which filters read; none if unknown.
    pub permissions: Option<Arc<Permissions>>,
    /// How matches are delivered.
    pub settings: DeliverySettings,
}

/// One live trigger module of one installation. Immutable: a change makes a new one, which keeps
/// the counters of its predecessor.
#[derive(Debug)]
pub struct Subscription {
    /// Its installation and delivery settings.
    pub owner: Arc<Owner>,
    /// The module's key.
    pub key: ModuleKey,
    /// Event types with their filters, in the order of the module.
    pub event_subscriptions: EventSubscriptions,
    /// Registry revision that made it.
    pub revision: u64,
    /// Counters of its matches, errors and evaluation steps.
    pub stats: SubscriptionStats,
}

impl Subscription {
    /// Returns installation and module key.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        SubscriptionId { installation: self.owner.id.clone(), key: self.key.clone() }
    }
}

/// How matches are delivered. The modules of an installation have few different settings.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DeliverySettings {
    /// The target of deliveries.
    pub handler: Arc<Handler>,
    /// Top-level issue fields kept in the delivered body (`payload.include.fields`); empty = all.
    pub include_fields: Box<[Box<str>]>,
    /// Entity properties that deliveries include (`payload.include.propertyPaths`).
    pub include_properties: Box<[IncludedProperty]>,
    /// How failed attempts are classified and retried.
    pub profile: RetryProfile,
    /// Whether deliveries are parked instead of attempted.
    pub is_paused: bool,
    /// What of bodies is kept of them.
    pub kept_bodies: KeptBodies,
}

/// What of bodies is kept once a delivery ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeptBodies {
    /// Whether dead letters have the body of the event.
    pub in_dead_letters: bool,
    /// Whether the delivery log may have responses of the handler.
    pub in_log: bool,
}

impl KeptBodies {
    /// Everything that is stored is kept.
    pub const ALL: Self = Self { in_dead_letters: true, in_log: true };
}

impl DeliverySettings {
    /// Returns settings that deliver whole bodies to this handler.
    #[must_use]
    pub fn new(handler: Arc<Handler>) -> Self {
        Self {
            handler,
            include_fields: Box::default(),
            include_properties: Box::default(),
            profile: RetryProfile::default(),
            is_paused: false,
            kept_bodies: KeptBodies::ALL,
        }
    }
}

/// An entity property that deliveries include.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IncludedProperty {
    /// The path as the app declares it; its name in deliveries.
    pub declared: Box<str>,
    /// The path; none if it is not one of an entity property, and has no value.
    pub path: Option<PropertyPath>,
    /// The event type whose deliveries include it; none = all of the trigger.
    pub event_type: Option<EventType>,
}

impl IncludedProperty {
    /// Parses a declared path.
    #[must_use]
    pub fn new(declared: &str, event_type: Option<EventType>) -> Self {
        Self { declared: declared.into(), path: PropertyPath::parse(declared), event_type }
    }
}

/// The event subscriptions of a trigger. Mostly there is one, which takes no allocation.
#[derive(Debug)]
pub enum EventSubscriptions {
    /// A single one.
    One(EventSubscription),
    /// Any number of them, behind one pointer, so that the enum stays at two words.
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

/// One event type that a trigger subscribes to.
#[derive(Clone, Debug)]
pub struct EventSubscription {
    /// The event type and the conditions in addition to the expression; shared by all that are
    /// equal.
    pub conditions: Arc<EventConditions>,
    /// The compiled expression; if none, every event passes.
    pub program: Option<Arc<switchyard_expr::Program>>,
}

/// An event type and the conditions on its events in addition to an expression. All must hold; they
/// are checked before the expression. All triggers together have few different ones.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EventConditions {
    /// The event type.
    pub event_type: EventType,
    /// Leaves out events that the app itself caused.
    pub ignore_self: bool,
    /// Leaves out installations without an active licence.
    pub requires_licence: bool,
    /// What an evaluation error means for delivery.
    pub on_error: OnError,
}

impl EventConditions {
    /// Returns the conditions that every event of the type meets.
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
