//! Translation of one clause to an expression.

use std::collections::HashSet;

use super::query::{QueryField, QueryValue};
use crate::ast::quoted;
use crate::builtin::Member;

/// The case-insensitive comparison of names, which an index cannot use.
pub(super) const LOWER: &str = "?.toLowerCase()";
/// The values of an entity property, which an index cannot use.
pub(super) const FLATTEN: &str = ".flatten()";

/// Longest number of a query, in characters; longer text is text only.
const NUMBER_CHARS_MAX: usize = 40;

/// The clause `field IN (values)`, or its negation, as an expression. Also counts the comparisons
/// with constants that an evaluation may make.
pub(super) fn written(
    field: &QueryField,
    is_negated: bool,
    values: &[&QueryValue],
    comparisons: &mut usize,
) -> String {
    let is_empty_tested = values.iter().any(|value| **value == QueryValue::Empty);
    let texts = values.iter().filter_map(|value| match value {
        QueryValue::Text(text) => Some(text.as_str()),
        QueryValue::Empty => None,
    });
    let (has_value, equals) = match field {
        QueryField::Property(key, names) => {
            let constants = distinct(texts.flat_map(constants_of_any_type));
            *comparisons += constants.len();
            let found = property_values(key, names);
            return property_test(&found, is_negated, is_empty_tested, &constants);
        }
        _ => {
            let path = path_of(field);
            let tests = tests(field, &path, texts, comparisons);
            (format!("{path} != null"), tests)
        }
    };
    match (equals, is_negated, is_empty_tested) {
        (None, true, _) => has_value,
        (None, false, _) => format!("{} == null", path_of(field)),
        (Some(equals), false, false) => equals,
        (Some(equals), false, true) => format!("({} == null || {equals})", path_of(field)),
        // An empty field differs from no value.
        (Some(equals), true, _) => format!("({has_value} && !{equals})"),
    }
}

/// The test of the list `found` of the values of an entity property.
///
/// The list is built once. Each of its elements is looked up in the constants, which are evaluated
/// once, so that the steps grow with the number of elements and not with that of the constants.
fn property_test(
    found: &str,
    is_negated: bool,
    is_empty_tested: bool,
    constants: &[String],
) -> String {
    const HAS_VALUE: &str = "some(x => x != null)";
    let equals = match constants {
        [] if is_negated => return format!("{found}.{HAS_VALUE}"),
        [] => return format!("!{found}.{HAS_VALUE}"),
        [only] => format!("some(x => x == {only})"),
        constants => format!("some([{}].includes)", constants.join(", ")),
    };
    match (is_negated, is_empty_tested) {
        (false, false) => format!("{found}.{equals}"),
        (false, true) => format!("[{found}].some(v => !v.{HAS_VALUE} || v.{equals})"),
        // An empty property differs from no value.
        (true, _) => format!("[{found}].some(v => v.{HAS_VALUE} && !v.{equals})"),
    }
}

/// The path that is null if the field is empty.
fn path_of(field: &QueryField) -> String {
    match field {
        QueryField::Issue => "event.issue?.key".into(),
        QueryField::Project => "event.issue?.fields?.project".into(),
        QueryField::Named(field) => format!("event.issue?.fields?.{field}"),
        QueryField::Account(field) => format!("event.issue?.fields?.{field}?.accountId"),
        QueryField::Custom(id) => format!("event.issue?.fields?.customfield_{id}"),
        QueryField::Property(key, names) => property_values(key, names),
    }
}

/// Returns the test that the field has one of the values; none without values.
///
/// A path is compared with a list in one test, and paths that are compared with equal lists share
/// it: `[a, b].some(x => ['X', 'Y'].includes(x))`.
fn tests<'v>(
    field: &QueryField,
    path: &str,
    texts: impl Iterator<Item = &'v str>,
    comparisons: &mut usize,
) -> Option<String> {
    let mut by_path: Vec<(String, Vec<String>)> = Vec::new();
    for (left, constant) in texts.flat_map(|text| ways(field, path, text)) {
        match by_path.iter_mut().find(|(known, _)| *known == left) {
            Some((_, constants)) => constants.push(constant),
            None => by_path.push((left, vec![constant])),
        }
    }
    let mut groups: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for (left, constants) in by_path {
        let constants = distinct(constants.into_iter());
        *comparisons += constants.len();
        let same = |known: &&mut (Vec<String>, Vec<String>)| known.1 == constants;
        match groups.iter_mut().find(same).filter(|_| constants.len() > 1) {
            Some((lefts, _)) => lefts.push(left),
            None => groups.push((vec![left], constants)),
        }
    }
    let tests = groups.iter().filter_map(|(lefts, constants)| match lefts.as_slice() {
        [left] => includes_any(left, constants),
        lefts => {
            let test = includes_any("x", constants)?;
            Some(format!("[{}].some(x => {test})", lefts.join(", ")))
        }
    });
    let tests: Vec<String> = tests.collect();
    match tests.as_slice() {
        [] => None,
        // A list method binds tighter than `!`, a comparison does not.
        [only] if only.starts_with('[') => Some(only.clone()),
        tests => Some(format!("({})", tests.join(" || "))),
    }
}

/// The test that `left` is one of the constants; none without constants.
fn includes_any(left: &str, constants: &[String]) -> Option<String> {
    match constants {
        [] => None,
        [only] => Some(format!("{left} == {only}")),
        constants => Some(format!("[{}].includes({left})", constants.join(", "))),
    }
}

/// Each text once, in order.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    texts.filter(|text| seen.insert(text.clone())).collect()
}

/// The comparisons that are equivalent to the field having the value.
fn ways(field: &QueryField, path: &str, text: &str) -> Vec<(String, String)> {
    let exact = quoted(text);
    let is_id = text.bytes().all(|byte| byte.is_ascii_digit());
    let id = || (format!("{path}?.id"), exact.clone());
    let name = || (format!("{path}?.name"), exact.clone());
    let name_in_any_case = || (format!("{path}?.name{LOWER}"), quoted(&text.to_lowercase()));
    match field {
        QueryField::Issue if is_id => vec![("event.issue?.id".into(), exact)],
        QueryField::Issue => vec![(path.into(), quoted(&text.to_uppercase()))],
        QueryField::Account(_) | QueryField::Property(..) => vec![(path.into(), exact)],
        QueryField::Custom(_) => {
            let mut ways = vec![(format!("{path}?.value"), exact.clone()), id()];
            ways.extend(constants_of_any_type(text).map(|constant| (path.into(), constant)));
            ways
        }
        QueryField::Named(_) | QueryField::Project if is_id => vec![id(), name()],
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

/// The text as constant, and as number or Boolean if it can be one.
fn constants_of_any_type(text: &str) -> impl Iterator<Item = String> {
    let is_other = is_number(text) || matches!(text, "true" | "false");
    [Some(quoted(text)), is_other.then(|| text.to_owned())].into_iter().flatten()
}

/// Whether the text is a number: `12`, `-1`, `0.5`.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    text.len() <= NUMBER_CHARS_MAX && digits(whole) && digits(fraction)
}

/// The list of all values in an entity property. Lists on the way and at the end are replaced by
/// their elements, so that a list gives several values, as in Jira.
fn property_values(key: &str, names: &[String]) -> String {
    const PROPERTIES: &str = "event.runtime?.issue?.properties";
    let mut values = match is_builtin(key) {
        false => format!("[{PROPERTIES}?.[{}]]{FLATTEN}", quoted(key)),
        true => format!("[{PROPERTIES}]{FLATTEN}{}", member_of_each(key)),
    };
    for name in names {
        values.push_str(&member_of_each(name));
    }
    values
}

/// Replaces each value by its member.
fn member_of_each(name: &str) -> String {
    let name_text = quoted(name);
    if is_builtin(name) {
        // `length` of a text, or the method `get`, is no value of the property.
        return format!(
            ".flatMap(x => typeof x == 'Map' && typeof x[{name_text}] != 'Function' \
             ? x[{name_text}] : null)"
        );
    }
    format!(".flatMap(x => x?.[{name_text}])")
}

fn is_builtin(name: &str) -> bool {
    Member::named(name).is_some()
}

/// Whether the text is a key: letters, digits and underscores, starting with a letter.
pub(super) fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
