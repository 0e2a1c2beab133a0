//! Event subscriptions of a trigger that need not be registered, for dry runs.

use super::compile::EventConditionsCache;
use super::validation::{ProgramCache, Trigger};
use crate::matcher::EventSubscriptions;

/// Compiles the event types of a trigger with their filters.
///
/// # Errors
/// A filter cannot be compiled, in one sentence.
pub fn event_subscriptions(trigger: &Trigger) -> Result<EventSubscriptions, String> {
    EventConditionsCache::default().of_trigger(trigger, &ProgramCache::default())
}
