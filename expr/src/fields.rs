//! Documented fields of event types, as the checker knows them, for people who write filters.

use crate::schema::{MapShape, Shape, UnlistedMembers, body_of, is_known};

/// Deepest field that is listed.
const DEPTH_MAX: usize = 6;
/// Most fields of one type.
const FIELDS_MAX: usize = 2_000;

/// One documented field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventField {
    /// Its path, such as `event.issue.fields.priority.name`; `[]` is an element of a list.
    pub path: String,
    /// Its type in the language, such as `String` or `List of String`.
    pub type_name: String,
    /// Whether it is missing or null in some events.
    pub may_be_missing: bool,
    /// Whether it has members that are not listed, such as custom fields.
    pub is_open: bool,
}

/// Returns the documented fields of an event type, in their order; none if the type is not documented.
///
/// ```
/// let fields = switchyard_expr::fields::of_event("avi:jira:created:issue").unwrap();
/// let key = fields.iter().find(|field| field.path == "event.issue.key").unwrap();
/// assert_eq!(key.type_name, "String");
/// ```
#[must_use]
pub fn of_event(event_type: &str) -> Option<Vec<EventField>> {
    let body = is_known(event_type).then(|| body_of(event_type))?;
    let mut fields = Vec::new();
    list(body, "event", &mut vec![body], &mut fields);
    Some(fields)
}

/// Lists the members of a map, which is the last of `path`: a map inside of itself is not listed again.
fn list(
    map: &'static MapShape,
    prefix: &str,
    path: &mut Vec<&'static MapShape>,
    fields: &mut Vec<EventField>,
) {
    for field in map.fields {
        if fields.len() >= FIELDS_MAX {
            return;
        }
        let name = format!("{prefix}.{}", field.name);
        let (inner, suffix) = inner_of(field.shape);
        fields.push(EventField {
            path: name.clone(),
            type_name: type_name(field.shape),
            may_be_missing: field.may_be_missing,
            is_open: inner.is_some_and(|inner| inner.others != UnlistedMembers::None),
        });
        let Some(inner) = inner else { continue };
        let is_repeated = path.iter().any(|outer| std::ptr::eq(*outer, inner));
        if !is_repeated && path.len() < DEPTH_MAX {
            path.push(inner);
            list(inner, &format!("{name}{suffix}"), path, fields);
            path.pop();
        }
    }
}

/// Returns the map of a field or of the elements of a list, and how its members are reached.
fn inner_of(shape: Shape) -> (Option<&'static MapShape>, &'static str) {
    match shape {
        Shape::Map(inner) => (Some(inner), ""),
        Shape::List(Shape::Map(inner)) => (Some(*inner), "[]"),
        _ => (None, ""),
    }
}

fn type_name(shape: Shape) -> String {
    match shape {
        Shape::Any => "any".to_owned(),
        Shape::Document => "document or String".to_owned(),
        Shape::Boolean => "Boolean".to_owned(),
        Shape::Number => "Number".to_owned(),
        Shape::String => "String".to_owned(),
        Shape::Map(_) => "Map".to_owned(),
        Shape::List(elements) => format!("List of {}", type_name(*elements)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_an_issue_have_paths_and_types() {
        let fields = of_event("avi:jira:updated:issue").unwrap();
        let of = |path: &str| fields.iter().find(|field| field.path == path);
        assert_eq!(of("event.issue.fields.summary").map(|one| &*one.type_name), Some("String"));
        assert_eq!(of("event.issue.fields").map(|one| one.is_open), Some(true), "custom fields");
        let change = of("event.changelog.items[].field").unwrap();
        assert_eq!(change.type_name, "String");
        assert!(fields.len() < FIELDS_MAX);
    }

    #[test]
    fn type_that_is_not_documented_has_no_fields() {
        assert_eq!(of_event("avi:nothing:at:all"), None);
    }
}
