//! Cuts events that are too large to be stored: replaces their largest values by null, and lists them.

use std::ops::Range;

use crate::event::members::{Members, ObjectWriter};

/// The member of a cut event that lists the paths of the values it lacks.
pub const CUT: &str = "switchyardCut";
/// Depth of the objects whose members are cut one by one: `issue`, its `fields`, and one field.
const DEPTH_MAX: usize = 4;
/// Smallest value that is cut, in bytes.
const VALUE_BYTES_MIN: usize = 256;
/// Number of paths listed.
const PATHS_MAX: usize = 100;
/// Longest path listed, in bytes; only its beginning is listed.
const PATH_BYTES_MAX: usize = 128;
/// What the list of paths may take, in bytes.
const LIST_BYTES_MAX: usize = PATHS_MAX * (6 * PATH_BYTES_MAX + 3) + 64;

/// A value that can be cut.
struct Candidate {
    path: String,
    at: Range<usize>,
}

/// Returns an event object of at most `bytes_max` bytes: its largest values are null, and the member
/// [`CUT`] lists their paths. `None` if that is not enough.
#[must_use]
pub fn cut(event: &str, bytes_max: usize) -> Option<String> {
    if event.len() <= bytes_max {
        return Some(event.to_owned());
    }
    (1..=DEPTH_MAX).rev().find_map(|depth| cut_at(event, bytes_max, depth))
}

/// Cuts values in objects up to a depth, larger ones first.
fn cut_at(event: &str, bytes_max: usize, depth: usize) -> Option<String> {
    let mut candidates = Vec::new();
    collect(event, 0..event.len(), "", depth, &mut candidates);
    candidates.sort_by_key(|found| std::cmp::Reverse(found.at.len()));
    let mut bytes = event.len();
    let (mut removed, mut listed) = (Vec::new(), 0);
    for found in candidates {
        if bytes.saturating_add(list_bytes(listed)) <= bytes_max {
            break;
        }
        bytes -= found.at.len() - "null".len();
        listed += 1;
        removed.push(found);
    }
    if bytes.saturating_add(list_bytes(listed)) > bytes_max {
        return None;
    }
    let mut paths: Vec<&str> = removed.iter().map(|found| &*found.path).take(PATHS_MAX).collect();
    paths.sort_unstable();
    let list = serde_json::to_string(&paths).ok()?;
    let mut body = ObjectWriter::with_capacity(bytes + list.len() + CUT.len());
    removed.sort_by_key(|found| found.at.start);
    let text = without(event, &removed)?;
    for (name, json) in Members::parse(&text).ok()?.iter().filter(|(name, _)| *name != CUT) {
        body.json(name, json);
    }
    body.json(CUT, &list);
    Some(body.finish())
}

/// Returns what a list of `listed` paths takes at most.
fn list_bytes(listed: usize) -> usize {
    LIST_BYTES_MAX.min(listed.saturating_mul(6 * PATH_BYTES_MAX + 3).saturating_add(64))
}

/// Collects the values of an object, and in their place those of large objects in it.
fn collect(event: &str, object: Range<usize>, path: &str, depth: usize, to: &mut Vec<Candidate>) {
    let Some(text) = event.get(object.clone()) else { return };
    let Ok(members) = Members::parse(text) else { return };
    for (name, at) in members.member_spans(text) {
        let at = object.start + at.start..object.start + at.end;
        let mut path = if path.is_empty() { name.into_owned() } else { format!("{path}.{name}") };
        if path == "eventType" || at.len() < VALUE_BYTES_MIN {
            continue;
        }
        let is_object = event.as_bytes().get(at.start) == Some(&b'{');
        let found = to.len();
        if is_object && depth > 1 {
            collect(event, at.clone(), &path, depth - 1, to);
        }
        if to.len() == found {
            while path.len() > PATH_BYTES_MAX {
                path.pop();
            }
            to.push(Candidate { path, at });
        }
    }
}

/// Returns the text with null in place of the values, which are in the order of the text.
fn without(text: &str, values: &[Candidate]) -> Option<String> {
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for value in values {
        kept.push_str(text.get(end..value.at.start)?);
        kept.push_str("null");
        end = value.at.end;
    }
    kept.push_str(text.get(end..)?);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cut_to(event: &Value, bytes_max: usize) -> Option<Value> {
        let cut = cut(&event.to_string(), bytes_max)?;
        assert!(cut.len() <= bytes_max, "{} of {bytes_max}", cut.len());
        Some(serde_json::from_str(&cut).unwrap())
    }

    #[test]
    fn largest_values_are_null_and_listed() {
        let event = json!({"eventType": "t", "issue": {"key": "A-1", "fields": {
            "summary": "s", "description": "d".repeat(9_000), "customfield_1": "c".repeat(8_000),
            "environment": "e".repeat(3_000)}}, "changelog": {"items": ["i".repeat(1_000)]}});
        let found = cut_to(&event, 8_000).unwrap();
        assert_eq!(
            found["switchyardCut"],
            json!(["issue.fields.customfield_1", "issue.fields.description"])
        );
        let mut expected = event;
        expected["issue"]["fields"]["description"] = Value::Null;
        expected["issue"]["fields"]["customfield_1"] = Value::Null;
        expected["switchyardCut"] = found["switchyardCut"].clone();
        assert_eq!(found, expected);
    }

    #[test]
    fn event_within_the_bound_is_not_cut() {
        let event = json!({"a": "x".repeat(1_000)});
        assert_eq!(cut_to(&event, event.to_string().len()), Some(event));
    }

    #[test]
    fn claimed_list_of_the_sender_is_replaced() {
        let event = json!({"switchyardCut": ["a"], "b": "x".repeat(4_000)});
        assert_eq!(cut_to(&event, 2_000).unwrap()["switchyardCut"], json!(["b"]));
    }

    #[test]
    fn object_of_many_small_values_is_cut_as_a_whole() {
        let fields: serde_json::Map<_, _> =
            (0..5_000).map(|at| (format!("f{at}"), json!("small"))).collect();
        let event = json!({"eventType": "t", "issue": {"key": "A-1", "fields": fields}});
        let found = cut_to(&event, 4_000).unwrap();
        assert_eq!(found["issue"], json!({"key": "A-1", "fields": null}));
    }

    #[test]
    fn event_of_many_members_cannot_be_cut_to_less_than_their_names() {
        let event: serde_json::Map<_, _> =
            (0..5_000).map(|at| (format!("f{at}"), json!(at))).collect();
        assert_eq!(cut_to(&event.into(), 10_000), None);
    }

    #[test]
    fn many_long_names_stay_within_the_bound() {
        let long = |at| format!("{}{at}", "\u{1}".repeat(200));
        let fields: serde_json::Map<_, _> =
            (0..300).map(|at| (long(at), json!("x".repeat(2_000)))).collect();
        let event = json!({"issue": {"fields": fields}});
        let found = cut_to(&event, 500_000).unwrap();
        assert!(found["switchyardCut"].as_array().unwrap().len() <= PATHS_MAX);
    }
}
