//! One clause of a query as an expression.

use std::fmt::Write;

use super::{Clause, Operand, Refused, quoted, unsupported};

/// What webhooks can filter by.
pub(super) const SUPPORTED: &str = "webhooks support issueKey, project, issuetype, status, \
    priority, assignee, reporter, issue.property[key].path and cf[id]";

/// Where the values of a field stand in an event.
enum Place {
    /// A key or an account id.
    Id(String),
    /// Something with an id and a name; the name is compared whatever its case.
    Named(&'static str),
    Project,
    /// A custom field: a value, an option or a list of options.
    Custom(String),
}

pub(super) fn write(clause: &Clause, out: &mut String) -> Refused<()> {
    let place = place(clause).ok_or_else(|| unsupported(&clause.field, clause.span))?;
    let mut tests: Vec<String> = Vec::new();
    for value in &clause.values {
        for test in place.tests(value) {
            if !tests.contains(&test) {
                tests.push(test);
            }
        }
    }
    let any = tests.join(" || ");
    let is_empty_tested = clause.values.contains(&Operand::Empty);
    // Infallible: the target is a string.
    let _ = match (clause.is_negated, tests.len()) {
        (false, 1) => write!(out, "{any}"),
        (false, _) => write!(out, "({any})"),
        // What is empty differs from nothing.
        (true, _) if is_empty_tested => write!(out, "!({any})"),
        (true, _) => write!(out, "({} != null && !({any}))", place.path()),
    };
    Ok(())
}

fn place(clause: &Clause) -> Option<Place> {
    let field = clause.field.to_ascii_lowercase();
    Some(match field.as_str() {
        "issuekey" | "key" | "issue" | "id" => Place::Id("event.issue?.key".into()),
        "project" => Place::Project,
        "issuetype" | "type" => Place::Named("issuetype"),
        "status" => Place::Named("status"),
        "priority" => Place::Named("priority"),
        "assignee" => Place::Id("event.issue?.fields?.assignee?.accountId".into()),
        "reporter" => Place::Id("event.issue?.fields?.reporter?.accountId".into()),
        _ => match field.strip_prefix("cf[").and_then(|rest| rest.strip_suffix(']')) {
            Some(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
                Place::Custom(format!("event.issue?.fields?.customfield_{id}"))
            }
            Some(_) => return None,
            None => Place::Id(property(&clause.field)?),
        },
    })
}

/// `issue.property[key].path` as the path of an entity property.
fn property(field: &str) -> Option<String> {
    let rest = field.strip_prefix("issue.property[")?;
    let (key, path) = rest.split_once(']')?;
    let mut out =
        format!("event.runtime?.issue?.properties?.[{}]", quoted(key.trim_matches(['"', '\''])));
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let _ = write!(out, "?.[{}]", quoted(name));
    }
    Some(out)
}

impl Place {
    /// What is null if the field is empty.
    fn path(&self) -> String {
        match self {
            Place::Id(path) | Place::Custom(path) => path.clone(),
            Place::Named(field) => format!("event.issue?.fields?.{field}"),
            Place::Project => "event.issue?.fields?.project".into(),
        }
    }

    /// Tests of which one must hold for the field to have the value.
    fn tests(&self, value: &Operand) -> Vec<String> {
        let Operand::Text(text) = value else {
            return vec![format!("{} == null", self.path())];
        };
        let (path, exact) = (self.path(), quoted(text));
        let is_id = text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Place::Id(path) if path == "event.issue?.key" && is_id => {
                vec![format!("event.issue?.id == {exact}")]
            }
            // Keys are upper case in payloads.
            Place::Id(path) if path == "event.issue?.key" => {
                vec![format!("{path} == {}", quoted(&text.to_uppercase()))]
            }
            Place::Id(path) => match text.as_str() {
                "true" | "false" => {
                    vec![format!("{path} == {exact}"), format!("{path} == {text}")]
                }
                _ => vec![format!("{path} == {exact}")],
            },
            Place::Named(_) if is_id => vec![format!("{path}?.id == {exact}")],
            Place::Named(_) => vec![named(&path, text)],
            Place::Project if is_id => vec![format!("{path}?.id == {exact}")],
            Place::Project if is_project_key(text) => {
                vec![format!("{path}?.key == {}", quoted(&text.to_uppercase()))]
            }
            Place::Project => vec![named(&path, text)],
            Place::Custom(path) => vec![
                format!("{path} == {exact}"),
                format!("{path}?.value == {exact}"),
                format!("{path}?.id == {exact}"),
            ],
        }
    }
}

fn named(path: &str, text: &str) -> String {
    format!("{path}?.name?.toLowerCase() == {}", quoted(&text.to_lowercase()))
}

/// A key has no blanks; a name of one plain word is taken for a key, as JQL does first.
fn is_project_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
