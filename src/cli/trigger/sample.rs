//! Sample events, one for each type of the catalogue.

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::cli::exit::UsageError;
use crate::clock;
use crate::registry::catalog;

/// Samples by event type; `*` means any verb.
///
/// **Shape:** those of `tests/data/events`, without avatars and links.
const SAMPLES: &str = include_str!("samples.json");

/// Returns a sample of an event type, without its type and time.
///
/// # Errors
/// There is no such type; the error names the nearest one.
pub(super) fn of(event_type: &str) -> anyhow::Result<Value> {
    let samples: Map<String, Value> = serde_json::from_str(SAMPLES).context("built-in samples")?;
    let by_family = || samples.iter().find(|(pattern, _)| is_of(event_type, pattern));
    let found = samples.get(event_type).or_else(|| by_family().map(|(_, sample)| sample));
    match found {
        Some(found) if catalog::find(event_type).is_some() => Ok(found.clone()),
        _ => {
            let near = catalog::nearest(event_type);
            let near = near.map(|near| format!("did you mean `{near}`?"));
            let help = near.unwrap_or_else(|| "`switchyard trigger --list` shows all".to_owned());
            bail!(UsageError(format!("no such event `{event_type}`: {help}")))
        }
    }
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

/// Whether a type is one of a family, such as `avi:jira:*:issue`.
fn is_of(event_type: &str, pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return false };
    let verb = event_type.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    verb.is_some_and(|verb| !verb.is_empty() && !verb.contains(':'))
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
    fn every_sample_is_that_of_a_type() {
        let samples: Map<String, Value> = serde_json::from_str(SAMPLES).unwrap();
        for pattern in samples.keys() {
            let is_used = |name: String| name == *pattern || is_of(&name, pattern);
            assert!(catalog::names().any(is_used), "{pattern}");
        }
    }

    #[test]
    fn unknown_type_is_refused_with_the_nearest_one() {
        let error = of("avi:jira:create:issue").unwrap_err().to_string();
        assert!(error.contains("`avi:jira:created:issue`"), "{error}");
        assert!(of("avi:nothing:at:all").unwrap_err().to_string().contains("--list"));
    }
}
