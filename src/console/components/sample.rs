//! Sample events for those who try a filter.

use crate::registry::sample_events;

/// Returns a sample event as JSON with line breaks; "" if there is none.
pub(in crate::console) fn pretty_sample(event_type: &str) -> String {
    let Some(mut sample) = sample_events::of(event_type) else { return String::new() };
    if let Some(members) = sample.as_object_mut() {
        members.insert("eventType".to_owned(), event_type.into());
    }
    format!("{:#}", sample)
}
