//! Translation of one clause to an expression.

use super::query::{Clause, QueryField, QueryValue};
use crate::ast::quoted;

/// The case-insensitive comparison of names, which an index cannot use.
pub(super) const LOWER: &str = "?.toLowerCase()";

impl QueryField {
    /// The path that is null if the field is empty.
    fn path(&self) -> String {
        match self {
            QueryField::Issue => "event.issue?.key".into(),
            QueryField::Project => "event.issue?.fields?.project".into(),
            QueryField::Named(field) => format!("event.issue?.fields?.{field}"),
            QueryField::Account(field) => format!("event.issue?.fields?.{field}?.accountId"),
            QueryField::Property(path) | QueryField::Custom(path) => path.clone(),
        }
    }

    /// The comparisons that are equivalent to the field having the value.
    fn ways(&self, value: &QueryValue) -> Vec<(String, String)> {
        let path = self.path();
        let QueryValue::Text(text) = value else {
            return vec![(path, "null".into())];
        };
        let exact = quoted(text);
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = || (format!("{path}?.id"), exact.clone());
        let name = || (format!("{path}?.name"), exact.clone());
        let name_in_any_case = || (format!("{path}?.name{LOWER}"), quoted(&text.to_lowercase()));
        match self {
            QueryField::Issue if is_number => vec![("event.issue?.id".into(), exact)],
            QueryField::Issue => vec![(path, quoted(&text.to_uppercase()))],
            QueryField::Account(_) => vec![(path, exact)],
            QueryField::Property(_) if is_number || matches!(text.as_str(), "true" | "false") => {
                vec![(path.clone(), exact), (path, text.clone())]
            }
            QueryField::Property(_) => vec![(path, exact)],
            QueryField::Custom(_) => {
                vec![(format!("{path}?.value"), exact.clone()), id(), (path, exact)]
            }
            QueryField::Named(_) | QueryField::Project if is_number => vec![id(), name()],
            QueryField::Project if is_key(text) => {
                let key = text.to_uppercase();
                // An upper-case word is nearly always a key. Its name is compared in this spelling
                // only: a case-insensitive test could not be indexed.
                let name = if *text == key { name() } else { name_in_any_case() };
                vec![(format!("{path}?.key"), quoted(&key)), name]
            }
            QueryField::Named(_) | QueryField::Project => vec![name_in_any_case()],
        }
    }
}

pub(super) fn written(clause: &Clause) -> String {
    let mut tests: Vec<(String, Vec<String>)> = Vec::new();
    for (left, right) in clause.values.iter().flat_map(|value| clause.field.ways(value)) {
        match tests.iter_mut().find(|(known, _)| *known == left) {
            Some((_, rights)) if rights.contains(&right) => {}
            Some((_, rights)) => rights.push(right),
            None => tests.push((left, vec![right])),
        }
    }
    let tests = tests.iter().map(|(left, rights)| match rights.as_slice() {
        [right] => format!("{left} == {right}"),
        rights => format!("[{}].includes({left})", rights.join(", ")),
    });
    let tests: Vec<String> = tests.collect();
    let any = tests.join(" || ");
    let is_empty_tested = clause.values.contains(&QueryValue::Empty);
    match (clause.is_negated, tests.len()) {
        (false, 1) => any,
        (false, _) => format!("({any})"),
        // An empty field differs from no value.
        (true, _) if is_empty_tested => format!("!({any})"),
        (true, _) => format!("({} != null && !({any}))", clause.field.path()),
    }
}

/// Whether the text is a key: letters, digits and underscores, starting with a letter.
fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
