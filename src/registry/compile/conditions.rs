//! Event conditions of subscriptions: the event types of a trigger or webhook with their filters.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::Product;
use crate::matcher::{Interest, Listen, Listens};
use crate::registry::model::summary;
use crate::registry::validation::{
    ProgramCache, Trigger, TriggerEvent, TriggerFilter, WebhookDefinition,
};

/// Cache of event conditions: equal ones are one instance, and there are few of them.
#[derive(Debug, Default)]
pub(crate) struct EventConditionsCache {
    all: Mutex<HashSet<Arc<Interest>>>,
}

impl EventConditionsCache {
    /// Returns the shared instance equal to `interest`.
    fn share(&self, interest: Interest) -> Arc<Interest> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&interest) {
            return Arc::clone(known);
        }
        // Swept when the table would grow, so that it stays within a constant factor of those in use.
        if all.len() == all.capacity() {
            all.retain(|known| Arc::strong_count(known) > 1);
        }
        let interest = Arc::new(interest);
        all.insert(Arc::clone(&interest));
        interest
    }

    /// Returns the event types of a trigger with their compiled filters.
    ///
    /// # Errors
    /// A filter cannot be compiled, in one sentence.
    pub(crate) fn of_trigger(
        &self,
        trigger: &Trigger,
        programs: &ProgramCache,
    ) -> Result<Listens, String> {
        let listen = |event: &TriggerEvent| {
            let every = TriggerFilter::default();
            let filter = event.filter.as_deref().unwrap_or(&every);
            let program = match &filter.expression {
                Some(text) => Some(programs.get(&text.value).map_err(|found| summary(&found))?),
                None => None,
            };
            let interest = self.share(Interest {
                event_type: event.event_type.value.clone(),
                ignore_self: filter.ignore_self,
                requires_licence: filter.requires_licence,
                on_error: filter.on_error.unwrap_or_default(),
            });
            Ok(Listen { interest, program })
        };
        trigger.events.iter().map(listen).collect()
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
    ) -> Result<Listens, String> {
        let filters = webhook.filters(programs, product, "filter");
        let filters = filters.map_err(|found| summary(&found))?.into_iter();
        let requires_licence = webhook.requires_licence;
        Ok(filters
            .map(|(event_type, program)| {
                let interest = Interest { requires_licence, ..Interest::in_all(event_type) };
                Listen { interest: self.share(interest), program }
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
        let interest = |name: &str| cache.share(Interest::in_all(name.into()));
        let held = interest("held");
        for at in 0..10_000 {
            interest(&format!("dropped-{at}"));
        }
        assert!(Arc::ptr_eq(&held, &interest("held")));
        assert!(cache.all.lock().unwrap().len() < 100);
    }
}
