//! Listeners: one subscription under one event type.

use std::sync::Arc;

use switchyard_expr::Program;

use super::bounds::entries;
use crate::matcher::conditions::Conditions;
use crate::matcher::{EventSubscription, Subscription};

/// One subscription under one event type.
#[derive(Clone, Debug)]
pub(in crate::matcher) struct Listener {
    pub(in crate::matcher) subscription: Arc<Subscription>,
    /// Which of the subscription's event types this is.
    event_at: u32,
    /// Copied from the event subscription, so that most matches need not read it.
    pub(in crate::matcher) conditions: Conditions,
    /// Whether the filter is in the index; otherwise it is evaluated for every event.
    pub(super) is_indexed: bool,
    /// Whether this is the last listener of its group.
    pub(super) ends_group: bool,
}

const _: () = assert!(size_of::<Listener>() == 16, "there is one for each filter");

impl Listener {
    /// Returns the listener for event type number `at` of a subscription; none if it has fewer.
    pub(in crate::matcher) fn new(
        subscription: &Arc<Subscription>,
        at: usize,
        is_indexed: bool,
    ) -> Option<Self> {
        let event = subscription.event_subscriptions.get(at)?;
        Some(Self {
            subscription: Arc::clone(subscription),
            event_at: u32::try_from(at).ok()?,
            conditions: Conditions::from(&*event.conditions),
            is_indexed,
            ends_group: true,
        })
    }

    /// The event type with its filter. There is always one, since subscriptions are immutable.
    pub(in crate::matcher) fn event_subscription(&self) -> Option<&EventSubscription> {
        let event = self.subscription.event_subscriptions.get(self.event_at as usize);
        debug_assert!(event.is_some(), "the constructor found it");
        event
    }

    /// The size of its filter in the index.
    pub(in crate::matcher) fn entries(&self) -> usize {
        if self.is_indexed { entries(self.program().map(Arc::as_ref)) } else { 1 }
    }

    /// The filter; if none, every event passes.
    pub(in crate::matcher) fn program(&self) -> Option<&Arc<Program>> {
        self.event_subscription()?.program.as_ref()
    }
}
