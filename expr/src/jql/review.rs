//! Warnings about queries that are legal but match nothing, or not what their author means.

use super::clause::is_key;
use super::query::{Clause, QueryField, QueryTree, QueryValue, for_each_clause};
use crate::diagnostic::{Code, Diagnostic};
use crate::limits::{REMEMBERED_MAX, WARNINGS_MAX};

/// Returns the warnings about a query, in source order.
pub(super) fn warnings(tree: &QueryTree) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for_each_clause(tree, &mut |clause| found.extend(no_account(clause)));
    contradictions(tree, &mut found);
    found.sort_by_key(|warning| warning.span.start);
    found.truncate(WARNINGS_MAX);
    found
}

/// People are compared by account id. Names and e-mail addresses are none.
fn no_account(clause: &Clause) -> Option<Diagnostic> {
    let QueryField::Account(field) = clause.field else { return None };
    let is_name = |text: &str| text.contains(char::is_whitespace) || text.contains('@');
    let name = clause.values.iter().find_map(|value| match value {
        QueryValue::Text(text) if is_name(text) => Some(text),
        _ => None,
    })?;
    let message = format!("`{name}` is not an account id, so no {field} equals it");
    let help = format!("write the account id of the person: `{field} = 5b10ac8d82e05b22cc7d4ef5`");
    Some(Diagnostic::warning(Code::UnlikelyValue, clause.span, message).with_help(help))
}

/// Reports what no issue satisfies: `a = 1 AND a = 2`, `project = EMPTY`.
fn contradictions(tree: &QueryTree, found: &mut Vec<Diagnostic>) {
    match tree {
        QueryTree::And(trees) => {
            let mut seen: Vec<&Clause> = Vec::new();
            for tree in trees {
                let QueryTree::Clause(clause) = tree else {
                    contradictions(tree, found);
                    continue;
                };
                found.extend(never_empty(clause));
                let Some(values) = comparable_values(clause) else { continue };
                let differs = |other: &&&Clause| {
                    other.field == clause.field
                        && comparable_values(other)
                            .is_some_and(|known| known.iter().all(|value| !values.contains(value)))
                };
                if let Some(other) = seen.iter().find(differs) {
                    let name = &clause.name;
                    let message = format!("this is never true: `{name}` has one value");
                    found.push(
                        Diagnostic::warning(Code::Constant, clause.span, message)
                            .with_label(other.span, "the other value")
                            .with_help(format!("for one or the other write `{name} IN (...)`")),
                    );
                } else if seen.len() < REMEMBERED_MAX {
                    seen.push(clause);
                }
            }
        }
        QueryTree::Or(trees) => trees.iter().for_each(|tree| contradictions(tree, found)),
        QueryTree::Clause(clause) => found.extend(never_empty(clause)),
        // Never true inside of NOT is always true.
        QueryTree::Not(_) => {}
    }
}

/// Reports `project = EMPTY`: every issue has a key, a project, a type and a status.
fn never_empty(clause: &Clause) -> Option<Diagnostic> {
    let is_required = matches!(
        clause.field,
        QueryField::Issue | QueryField::Project | QueryField::Named("issuetype" | "status")
    );
    let only_empty = clause.values.iter().all(|value| *value == QueryValue::Empty);
    (is_required && only_empty && !clause.is_negated).then(|| {
        let name = &clause.name;
        let message = format!("this is never true: every issue has a value of `{name}`");
        Diagnostic::warning(Code::Constant, clause.span, message)
            .with_help(format!("for every issue write `{name} != EMPTY`"))
    })
}

/// The values of a clause, if two different texts among them cannot be the same value: an id and a
/// name can.
fn comparable_values(clause: &Clause) -> Option<Vec<String>> {
    let is_id = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if clause.is_negated {
        return None;
    }
    let values = clause.values.iter().map(|value| match (value, &clause.field) {
        (QueryValue::Text(text), QueryField::Account(_)) => Some(text.clone()),
        (QueryValue::Text(text), QueryField::Named(_) | QueryField::Issue) if !is_id(text) => {
            Some(text.to_lowercase())
        }
        (QueryValue::Text(text), QueryField::Project) if is_key(text) => Some(text.to_lowercase()),
        _ => None,
    });
    values.collect()
}
