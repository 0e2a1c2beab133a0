//! The member `payloadIncludeProperties`: entity properties that a trigger asks for.
//!
//! The publisher supplies them as `runtime.<entity>.properties.<key>`, which handlers do not get.
//!
//! **Source:** Forge, "Filtering by entity properties": delivered payload shape.

use serde_json::value::RawValue;

use crate::domain::{EventType, PropertyPath};
use crate::event::members::{Members, ObjectWriter};
use crate::matcher::IncludedProperty;

/// Name of the member.
pub(super) const MEMBER: &str = "payloadIncludeProperties";

/// Returns the value of the member for an event whose member `runtime` is `runtime`; none if no
/// property is asked for with its type. A path without a value is left out.
pub(super) fn render(
    included: &[IncludedProperty],
    event_type: &EventType,
    runtime: Option<&str>,
) -> Option<String> {
    let is_meant =
        |one: &&IncludedProperty| one.event_type.as_ref().is_none_or(|t| t == event_type);
    let mut meant = included.iter().filter(is_meant).peekable();
    meant.peek()?;
    let runtime = runtime.and_then(|text| Members::parse(text).ok());
    let mut out = ObjectWriter::with_capacity(256);
    // A path is looked up once, however many spellings of it are declared.
    let mut found: Vec<(&PropertyPath, Option<&str>)> = Vec::new();
    for one in meant {
        let Some((runtime, path)) = runtime.as_ref().zip(one.path.as_ref()) else { continue };
        let known = found.iter().find(|(known, _)| *known == path).map(|(_, value)| *value);
        let value = known.unwrap_or_else(|| {
            let value = value_of(runtime, path);
            found.push((path, value));
            value
        });
        if let Some(value) = value {
            out.json(&one.declared, value);
        }
    }
    Some(out.finish())
}

/// Returns the value at a path: a primitive, or a list of primitives.
fn value_of<'a>(runtime: &Members<'a>, path: &PropertyPath) -> Option<&'a str> {
    let properties = runtime.object(&path.entity)?.object("properties")?;
    let mut value = properties.json(&path.key)?;
    for name in &path.names {
        value = Members::parse(value).ok()?.json(name)?;
    }
    is_delivered(value).then_some(value)
}

fn is_delivered(json: &str) -> bool {
    match json.as_bytes().first() {
        Some(b'{') | None => false,
        Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(json)
            .is_ok_and(|items| !items.iter().any(|item| item.get().starts_with(['{', '[']))),
        Some(_) => json != "null",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIME: &str = r#"{
        "issue": {"properties": {"lamp": {"lux": {"min": 4.50e1}, "rooms": ["attic", 2, null],
            "nested": [["a"]], "none": null, "off": false}, "bare": "x", "a.b": {"c": 1}}},
        "project": {"properties": {"lamp": {"lux": {"min": 1}}}}, "user": 7}"#;

    fn included(declared: &str, event_type: Option<&str>) -> IncludedProperty {
        IncludedProperty::new(declared, event_type.map(EventType::from))
    }

    fn rendered(paths: &[&str]) -> String {
        let included: Vec<_> = paths.iter().map(|path| included(path, None)).collect();
        render(&included, &"e".into(), Some(RUNTIME)).unwrap()
    }

    #[test]
    fn values_arrive_as_written_under_the_declared_text() {
        assert_eq!(
            rendered(&[
                "issue.properties['lamp'].lux.min",
                "issue.properties[\"lamp\"]['lux.min']",
                "project.properties.lamp.lux.min",
                "issue.properties['lamp'].rooms",
                "issue.properties['lamp'].off",
                "issue.properties['bare']",
                "issue.properties['a.b'].c",
            ]),
            concat!(
                r#"{"issue.properties['lamp'].lux.min":4.50e1,"#,
                r#""issue.properties[\"lamp\"]['lux.min']":4.50e1,"#,
                r#""project.properties.lamp.lux.min":1,"#,
                r#""issue.properties['lamp'].rooms":["attic", 2, null],"#,
                r#""issue.properties['lamp'].off":false,"issue.properties['bare']":"x","#,
                r#""issue.properties['a.b'].c":1}"#
            )
        );
    }

    #[test]
    fn objects_and_paths_without_a_value_are_absent() {
        let absent = [
            "issue.properties['lamp'].lux",
            "issue.properties['lamp'].nested",
            "issue.properties['lamp'].none",
            "issue.properties['lamp'].off.x",
            "issue.properties['a'].b",
            "user.properties['lamp']",
            "comment.properties['lamp']",
            "no path at all",
        ];
        assert_eq!(rendered(&absent), "{}");
        let asked = [included("issue.properties['lamp'].off", None)];
        for runtime in [None, Some("[]"), Some("1"), Some(r#"{"issue":[]}"#)] {
            assert_eq!(render(&asked, &"e".into(), runtime).as_deref(), Some("{}"));
        }
    }

    #[test]
    fn path_of_one_event_is_not_included_in_others() {
        let asked = [included("issue.properties['bare']", Some("a"))];
        let of = |name: &str| render(&asked, &name.into(), Some(RUNTIME));
        assert_eq!(of("a").as_deref(), Some(r#"{"issue.properties['bare']":"x"}"#));
        assert_eq!(of("b"), None);
        assert_eq!(render(&[], &"a".into(), Some(RUNTIME)), None);
    }
}
