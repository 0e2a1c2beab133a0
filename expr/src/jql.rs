//! Translates the JQL that webhooks may filter by to an expression.
//!
//! The expression is equivalent to the query and uses the same checker and compiler, so a matcher
//! treats both alike. It never fails: a missing value is empty, and on an event without an issue
//! every clause except `= EMPTY` is false.
//!
//! ```text
//! query  = or?            or  = and ("OR" and)*        and = not ("AND" not)*
//! not    = ("NOT" | "!") not | "(" or ")" | clause
//! clause = field ("=" | "!=") value | field "NOT"? "IN" "(" value ("," value)* ")"
//! field  = name ("[" name "]" ("." name)*)?
//! ```
//!
//! Text is compared case-insensitively, as in Jira. `!=` and `NOT IN` exclude empty values.
//!
//! **Source:** Jira dynamic webhooks, "JQL filters": fields, operators, and the text of the
//! refusal, `The clause watchCount is unsupported`.

mod clause;
mod parse;

use crate::CompileError;
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;
use clause::QueryField;

/// Translates a query to an expression; none if the query is blank, which matches every issue.
///
/// # Errors
/// The first part that is not JQL, or that webhooks do not support.
pub fn translate(query: &str) -> Result<Option<String>, CompileError> {
    match parse::parse(query) {
        Ok(tree) => Ok(tree.as_ref().map(written)),
        Err(diagnostic) => Err(CompileError { diagnostics: vec![*diagnostic] }),
    }
}

/// A query.
#[derive(Debug)]
enum QueryTree {
    Or(Vec<QueryTree>),
    And(Vec<QueryTree>),
    Not(Box<QueryTree>),
    Clause(Clause),
}

/// A test of one field.
#[derive(Debug)]
struct Clause {
    place: QueryField,
    is_negated: bool,
    values: Vec<QueryValue>,
}

impl Clause {
    /// Whether the disjunction of the two clauses is one clause with the values of both.
    fn is_joined_by(&self, next: &Clause) -> bool {
        self.place == next.place && !self.is_negated && !next.is_negated
    }
}

/// A value that a field is compared with.
#[derive(Clone, PartialEq, Debug)]
enum QueryValue {
    Text(String),
    Empty,
}

type QueryResult<T> = Result<T, Box<Diagnostic>>;

fn written(tree: &QueryTree) -> String {
    let all = |trees: &[QueryTree]| trees.iter().map(written).collect::<Vec<_>>();
    match tree {
        QueryTree::And(trees) => {
            let mut tests = all(trees);
            // No test fails, so their order is free. An index can use the tests before the first
            // one that needs evaluation.
            tests.sort_by_key(|test| test.contains(clause::LOWER));
            tests.join(" && ")
        }
        QueryTree::Or(trees) => format!("({})", all(trees).join(" || ")),
        QueryTree::Not(tree) => format!("!({})", written(tree)),
        QueryTree::Clause(clause) => clause::written(clause),
    }
}

fn unsupported(name: &str, span: Span) -> Box<Diagnostic> {
    let message = format!("The clause {name} is unsupported");
    Box::new(Diagnostic::error(Code::UnsupportedClause, span, message).with_help(clause::SUPPORTED))
}

fn wrong(span: Span, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Code::BadQuery, span, message))
}

#[cfg(test)]
mod tests;
