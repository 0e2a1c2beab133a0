//! Sample events as they arrive, and what to say where there is none.

use anyhow::bail;
use serde_json::{Map, Value};

use crate::cli::exit::UsageError;
use crate::clock;
use crate::registry::{catalog, sample_events};

/// Returns a sample of an event type, without its type and time.
///
/// # Errors
/// There is no such type; the error names the nearest one.
pub(super) fn of(event_type: &str) -> anyhow::Result<Value> {
    if let Some(found) = sample_events::of(event_type) {
        return Ok(found);
    }
    let near = catalog::nearest(event_type);
    let near = near.map(|near| format!("did you mean `{near}`?"));
    let help = near.unwrap_or_else(|| "`switchyard trigger --list` shows all".to_owned());
    bail!(UsageError(format!("no such event `{event_type}`: {help}")))
}

/// Sets the members that say what an event is, and when it happened: now.
pub(in crate::cli) fn set_type(members: &mut Map<String, Value>, event_type: &str) {
    members.insert("eventType".to_owned(), event_type.into());
    members.insert("timestamp".to_owned(), clock::now_ms().to_string().into());
}

/// Returns a sample of an event type as it arrives.
///
/// # Errors
/// There is no such type; the error names the nearest one.
pub(in crate::cli) fn event(event_type: &str) -> anyhow::Result<Value> {
    let mut event = of(event_type)?;
    event.as_object_mut().into_iter().for_each(|members| set_type(members, event_type));
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Sample;

    #[test]
    fn every_type_of_the_catalogue_has_a_sample_that_is_an_event() {
        for name in catalog::names() {
            let read = Sample::read(event(&name).unwrap()).unwrap();
            assert_eq!(read.event().envelope.event_type.as_str(), name);
        }
    }

    #[test]
    fn unknown_type_is_refused_with_the_nearest_one() {
        let error = of("avi:jira:create:issue").unwrap_err().to_string();
        assert!(error.contains("`avi:jira:created:issue`"), "{error}");
        assert!(of("avi:nothing:at:all").unwrap_err().to_string().contains("--list"));
    }
}
