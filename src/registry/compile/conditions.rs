//! Event conditions of subscriptions: the event types of a trigger or webhook with their filters.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::Product;
use crate::matcher::{EventConditions, EventSubscription, EventSubscriptions};
use crate::registry::model::summary;
use crate::registry::validation::{
    ProgramCache, Trigger, TriggerEvent, TriggerFilter, WebhookDefinition,
};

/// Cache of event conditions: equal ones are one instance, and there are few of them.
#[derive(Debug, Default)]
pub(crate) struct EventConditionsCache {
    all: Mutex<HashSet<Arc<EventConditions>>>,
}

impl EventConditionsCache {
    /// Returns the shared instance equal to `conditions`.
    fn share(&self, conditions: EventConditions) -> Arc<EventConditions> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&conditions) {
            return Arc::clone(known);
        }
        // Swept when the table would grow, so that it stays within a constant factor of those in use.
        if all.len() == all.capacity() {
            all.retain(|known| Arc::strong_count(known) > 1);
        }
        let conditions = Arc::new(conditions);
        all.insert(Arc::clone(&conditions));
        conditions
    }

    /// Returns the event types of a trigger with their compiled filters.
    ///
    /// # Errors
    /// A filter cannot be compiled, in one sentence.
    pub(crate) fn of_trigger(
        &self,
        trigger: &Trigger,
        programs: &ProgramCache,
    ) -> Result<EventSubscriptions, String> {
        let subscribe = |event: &TriggerEvent| {
            let every = TriggerFilter::default();
            let filter = event.filter.as_deref().unwrap_or(&every);
            let program = match &filter.expression {
                Some(text) => Some(programs.get(&text.value).map_err(|found| summary(&found))?),
                None => None,
            };
            let conditions = self.share(EventConditions {
                event_type: event.event_type.value.clone(),
                ignore_self: filter.ignore_self,
                requires_licence: filter.requires_licence,
                on_error: filter.on_error.unwrap_or_default(),
            });
            Ok(EventSubscription { conditions, program })
        };
        trigger.events.iter().map(subscribe).collect()
    }

    /// Returns the event types of a webhook with their compiled filters.
    ///
    /// # Errors
    /// A filter cannot be compiled, in one sentence.
    pub(crate) fn of_webhook(
        &self,
        webhook: &WebhookDefinition,
        product: Product,
        programs: &ProgramCache,
    ) -> Result<EventSubscriptions, String> {
        let filters = webhook.filters(programs, product, "filter");
        let filters = filters.map_err(|found| summary(&found))?.into_iter();
        let requires_licence = webhook.requires_licence;
        Ok(filters
            .map(|(event_type, program)| {
                let conditions = EventConditions {
                    requires_licence,
                    ..EventConditions::unconditional(event_type)
                };
                EventSubscription { conditions: self.share(conditions), program }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_shared_while_in_use_and_then_dropped() {
        let cache = EventConditionsCache::default();
        let conditions = |name: &str| cache.share(EventConditions::unconditional(name.into()));
        let held = conditions("held");
        for at in 0..10_000 {
            conditions(&format!("dropped-{at}"));
        }
        assert!(Arc::ptr_eq(&held, &conditions("held")));
        assert!(cache.all.lock().unwrap().len() < 100);
    }
}
