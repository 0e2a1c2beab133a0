//! The schema of payloads against the sample events, and the nearest names.

use super::{FieldLookup, MapShape, Shape, UnlistedMembers, body_of, nearest};
use serde_json::Value;

/// What is wrong with `value` by its schema, each with its path.
fn misfits(shape: Shape, value: &Value, path: &str, out: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Any, _)
        | (Shape::Document, Value::String(_) | Value::Object(_))
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Number, Value::Number(_))
        | (Shape::String, Value::String(_)) => {}
        (Shape::List(element), Value::Array(items)) => {
            items.iter().for_each(|item| misfits(*element, item, &format!("{path}[]"), out));
        }
        (Shape::Map(members), Value::Object(object)) => {
            for field in members.fields {
                let path = format!("{path}.{}", field.name);
                match object.get(field.name) {
                    None | Some(Value::Null) if field.may_be_missing => {}
                    // The router supplies them.
                    None if matches!(field.name, "selfGenerated" | "permissions" | "runtime") => {}
                    None | Some(Value::Null) => out.push(format!("{path} is missing")),
                    Some(value) => misfits(field.shape, value, &path, out),
                }
            }
            for name in object.keys() {
                if let FieldLookup::Unknown { .. } = members.find(name) {
                    out.push(format!("{path}.{name} is not in the schema"));
                }
            }
        }
        _ => out.push(format!("{path} is {value}, expected {shape:?}")),
    }
}

#[test]
fn every_sample_event_fits_its_schema() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/events");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let event: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let Some(event_type) = event.get("eventType").and_then(Value::as_str) else { continue };
        if !event_type.starts_with("avi:") || std::ptr::eq(body_of(event_type), body_of("")) {
            continue;
        }
        let mut found = Vec::new();
        misfits(Shape::Map(body_of(event_type)), &event, &name, &mut found);
        // Samples that leave out documented fields on purpose, and what filters never see.
        let excused = ["retryContext", "summary is missing", "commented-issue.json.issue.fields"];
        found.retain(|line| !excused.iter().any(|excuse| line.contains(excuse)));
        assert_eq!(found, Vec::<String>::new());
        checked += 1;
    }
    assert!(checked >= 30, "{checked}");
}

#[test]
fn suggests_only_names_that_are_near() {
    let names = ["priority", "project", "parent", "key", "id"];
    let near = |name: &str| nearest(name, names.into_iter());
    assert_eq!(near("priorty"), Some("priority"));
    assert_eq!(near("prioirty"), Some("priority"));
    assert_eq!(near("Project"), Some("project"));
    assert_eq!(near("kex"), Some("key"));
    assert_eq!(near("ix"), None);
    assert_eq!(near("something"), None);
    assert_eq!(near(&"x".repeat(10_000)), None);
}

#[test]
fn custom_fields_and_unknown_events_are_open() {
    let Shape::Map(fields) = shape(body_of("avi:jira:created:issue"), &["issue", "fields"]) else {
        panic!("fields are a map")
    };
    assert!(matches!(fields.find("customfield_10010"), FieldLookup::Open));
    assert!(matches!(fields.find("priorty"), FieldLookup::Unknown { nearest: Some("priority") }));
    assert_eq!(body_of("avi:jira:invented:thing").others, UnlistedMembers::Some);
    assert!(matches!(body_of("x").find("anything"), FieldLookup::Open));
    assert!(matches!(body_of("x").find("isue"), FieldLookup::Unknown { nearest: Some("issue") }));
}

fn shape(members: &'static MapShape, path: &[&str]) -> Shape {
    path.iter().fold(Shape::Map(members), |shape, name| match shape {
        Shape::Map(members) => match members.find(name) {
            FieldLookup::Field(field) => field.shape,
            _ => panic!("{name} is unknown"),
        },
        _ => panic!("{name} is below no map"),
    })
}
