//! Sample events, one for each type of the catalogue, for those who try a filter or a trigger.

use serde_json::{Map, Value};

use super::catalog;

/// Samples by event type; `*` means any verb.
///
/// **Shape:** those of `tests/data/events`, without avatars and links.
const SAMPLES: &str = include_str!("sample_events.json");

/// Returns a sample of an event type, without its type and time; none if the catalogue has no such type.
#[must_use]
pub fn of(event_type: &str) -> Option<Value> {
    catalog::find(event_type)?;
    let samples: Map<String, Value> = match serde_json::from_str(SAMPLES) {
        Ok(samples) => samples,
        Err(error) => {
            debug_assert!(false, "the samples are JSON: {error}");
            return None;
        }
    };
    let by_family = || samples.iter().find(|(pattern, _)| is_of(event_type, pattern));
    let found = samples.get(event_type).or_else(|| by_family().map(|(_, sample)| sample));
    found.cloned()
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

    #[test]
    fn every_type_of_the_catalogue_has_a_sample() {
        for name in catalog::names() {
            assert!(of(&name).is_some_and(|sample| sample.is_object()), "{name}");
        }
        assert_eq!(of("avi:jira:created:unicorn"), None);
    }

    #[test]
    fn every_sample_is_that_of_a_type() {
        let samples: Map<String, Value> = serde_json::from_str(SAMPLES).unwrap();
        for pattern in samples.keys() {
            let is_used = |name: String| name == *pattern || is_of(&name, pattern);
            assert!(catalog::names().any(is_used), "{pattern}");
        }
    }
}
