//! `switchyard events ls` and `show TYPE`: event types and their documented fields; offline.

use clap::Args;
use serde_json::{Value, json};
use switchyard_expr::fields::{self, EventField};

use super::exit::UsageError;
use super::io::{Output, print_line, print_row};
use super::table::{Column, ListFlags, ListOf, Tone, plain, print_list};
use crate::registry::catalog::{self, KnownEvent};

const TYPES: [Column; 4] = [
    Column::text("TYPE", 0),
    Column::number("FIELDS", 1),
    Column::text("PROPERTIES", 2),
    Column::text("SCOPES", 3),
];

const FIELDS: [Column; 3] =
    [Column::text("FIELD", 0), Column::text("TYPE", 0), Column::text("NOTE", 1)];

/// Which event types
#[derive(Debug, Args)]
pub(super) struct TypeFilter {
    /// Only types with this text, such as `issue` or `confluence`
    #[arg(value_name = "TEXT")]
    text: Option<String>,
}

/// Lists the known event types.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn list(flags: ListFlags, filter: &TypeFilter) -> anyhow::Result<()> {
    let wanted = |name: &String| filter.text.as_ref().is_none_or(|text| name.contains(text));
    let known = catalog::names().filter(wanted).filter_map(|name| {
        let known = catalog::find(&name)?;
        Some(type_view(&name, known))
    });
    let items: Vec<Value> = known.collect();
    let of = ListOf {
        id: "type",
        if_empty: "no event type has this text; `switchyard events ls` lists all",
    };
    print_list(flags, of, &items, &TYPES, |item| {
        let number = item.get("fields").and_then(Value::as_u64);
        let has_properties = item.get("properties") == Some(&Value::Bool(true));
        let scopes = item.get("scopes").and_then(Value::as_array).into_iter().flatten();
        let scopes: Vec<_> = scopes.filter_map(Value::as_str).collect();
        vec![
            plain(item.get("type").and_then(Value::as_str).unwrap_or_default()),
            number.map_or(("-".to_owned(), Tone::Dim), |number| plain(number.to_string())),
            plain(if has_properties { "yes" } else { "" }),
            plain(scopes.join(" ")),
        ]
    })
}

fn type_view(name: &str, known: KnownEvent) -> Value {
    let mut view = json!({
        "type": name,
        "properties": known.properties,
        "scopes": known.scopes.missing(&[]).collect::<Vec<_>>(),
    });
    if let (Some(fields), Some(members)) = (fields::of_event(name), view.as_object_mut()) {
        members.insert("fields".to_owned(), json!(fields.len()));
    }
    view
}

/// Shows an event type with its fields.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn show(flags: ListFlags, name: &str, known: KnownEvent) -> anyhow::Result<()> {
    let fields = fields::of_event(name).unwrap_or_default();
    let items: Vec<Value> = fields.iter().map(field_view).collect();
    if flags.output.plain() != Output::Text {
        let mut view = type_view(name, known);
        if let Some(members) = view.as_object_mut() {
            members.insert("fields".to_owned(), json!(items));
        }
        return print_line(&view.to_string());
    }
    if items.is_empty() {
        print_row(&format!("{name}: its fields are not documented, so a filter may read any"))?;
    } else {
        let of = ListOf { id: "path", if_empty: "no field is documented" };
        print_list(flags, of, &items, &FIELDS, |item| {
            let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
            vec![plain(text("path")), plain(text("type")), (note(item), Tone::Dim)]
        })?;
    }
    if known.properties {
        print_row(
            "event.runtime has the entity properties that the trigger names (`filter.properties`)",
        )?;
    }
    Ok(())
}

fn field_view(field: &EventField) -> Value {
    json!({
        "path": field.path,
        "type": field.type_name,
        "mayBeMissing": field.may_be_missing,
        "open": field.is_open,
    })
}

fn note(item: &Value) -> String {
    let is = |name: &str| item.get(name) == Some(&Value::Bool(true));
    let notes = [(is("mayBeMissing"), "may be missing"), (is("open"), "has other members")];
    let notes: Vec<_> =
        notes.into_iter().filter(|(holds, _)| *holds).map(|(_, note)| note).collect();
    notes.join(", ")
}

/// Returns the error of a text that is neither an event type nor a reference to an event.
pub(super) fn unknown_type(name: &str) -> UsageError {
    let near = catalog::nearest(name).map(|near| format!(": did you mean `{near}`?"));
    let near = near.unwrap_or_else(|| "; `switchyard events ls` lists all".to_owned());
    UsageError(format!("no such event type `{name}`{near}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_say_what_is_special_about_a_field() {
        let field = |may_be_missing, is_open| {
            note(&field_view(&EventField {
                path: "event.a".into(),
                type_name: "Map".into(),
                may_be_missing,
                is_open,
            }))
        };
        assert_eq!(field(false, false), "");
        assert_eq!(field(true, true), "may be missing, has other members");
    }

    #[test]
    fn unknown_type_names_the_nearest_one() {
        let error = unknown_type("avi:jira:create:issue").to_string();
        assert!(error.contains("did you mean `avi:jira:created:issue`?"), "{error}");
        assert!(unknown_type("avi:x:y:z").to_string().contains("events ls"));
    }
}
