//! The part of JQL that webhooks may filter by, written as an expression.
//!
//! A query becomes the expression that means the same on an event, and goes through the same
//! checker and compiler: a matcher sees no difference. The expression never fails: what an event
//! lacks is empty, and on an event without an issue every clause but `= EMPTY` is false.
//!
//! ```text
//! query  = or?            or  = and ("OR" and)*        and = not ("AND" not)*
//! not    = ("NOT" | "!") not | "(" or ")" | clause
//! clause = field ("=" | "!=") value | field "NOT"? "IN" "(" value ("," value)* ")"
//! field  = name ("[" name "]" ("." name)*)?
//! ```
//!
//! Text is compared as Jira does, whatever the case. `!=` and `NOT IN` leave out what is empty.
//!
//! **Source:** Jira dynamic webhooks, "JQL filters": fields, operators, and the text of the
//! refusal, `The clause watchCount is unsupported`.

mod clause;
mod parse;

use crate::Rejected;
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;
use clause::Place;

/// Translates a query; none if it is blank, which every issue matches.
///
/// # Errors
/// The first thing in it that is no JQL, or that webhooks do not support.
pub fn translate(query: &str) -> Result<Option<String>, Rejected> {
    match parse::parse(query) {
        Ok(tree) => Ok(tree.as_ref().map(written)),
        Err(diagnostic) => Err(Rejected { diagnostics: vec![*diagnostic] }),
    }
}

/// A query.
#[derive(Debug)]
enum Tree {
    Or(Vec<Tree>),
    And(Vec<Tree>),
    Not(Box<Tree>),
    Clause(Clause),
}

/// A test of one field.
#[derive(Debug)]
struct Clause {
    place: Place,
    is_negated: bool,
    values: Vec<Operand>,
}

impl Clause {
    /// Whether one of the two holds where their values together would.
    fn is_joined_by(&self, next: &Clause) -> bool {
        self.place == next.place && !self.is_negated && !next.is_negated
    }
}

/// What a field is compared with.
#[derive(Clone, PartialEq, Debug)]
enum Operand {
    Text(String),
    Empty,
}

type Refused<T> = Result<T, Box<Diagnostic>>;

fn written(tree: &Tree) -> String {
    let all = |trees: &[Tree]| trees.iter().map(written).collect::<Vec<_>>();
    match tree {
        Tree::And(trees) => {
            let mut tests = all(trees);
            // None of them fails, so their order is free; an index reads up to the first that has
            // to be evaluated.
            tests.sort_by_key(|test| test.contains(clause::LOWER));
            tests.join(" && ")
        }
        Tree::Or(trees) => format!("({})", all(trees).join(" || ")),
        Tree::Not(tree) => format!("!({})", written(tree)),
        Tree::Clause(clause) => clause::written(clause),
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
