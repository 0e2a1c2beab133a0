//! The part of JQL that webhooks may filter by, written as an expression.
//!
//! A query becomes the expression that means the same on an event, and goes through the same
//! checker and compiler: a matcher sees no difference. The expression never fails: what an event
//! lacks is empty.
//!
//! ```text
//! query  = or?            or  = and ("OR" and)*        and = not ("AND" not)*
//! not    = ("NOT" | "!") not | "(" or ")" | clause
//! clause = field ("=" | "!=") value | field "NOT"? "IN" "(" value ("," value)* ")"
//! ```
//!
//! Text is compared as Jira does, whatever the case. `!=` and `NOT IN` leave out what is empty.
//!
//! **Source:** Jira dynamic webhooks, "JQL filters": fields, operators, and the text of the
//! refusal, `The clause watchCount is unsupported`.

mod clause;
mod parse;

use std::fmt::Write;

use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;
use crate::{Compiled, Profile, Rejected, compile};

/// Translates a query; an empty one matches everything.
///
/// # Errors
/// The first thing in it that is no JQL, or that webhooks do not support.
pub fn translate(query: &str) -> Result<String, Rejected> {
    let mut out = String::new();
    let written = match parse::parse(query) {
        Ok(Some(tree)) => write(&tree, &mut out),
        Ok(None) => {
            out.push_str("true");
            Ok(())
        }
        Err(refusal) => Err(refusal),
    };
    match written {
        Ok(()) => Ok(out),
        Err(diagnostic) => Err(Rejected { diagnostics: vec![*diagnostic] }),
    }
}

/// Translates and compiles a query.
///
/// # Errors
/// As [`translate`]; also a query that is too long as an expression.
pub fn compile_query(query: &str) -> Result<Compiled, Rejected> {
    compile(&translate(query)?, Profile::Filter).map_err(|rejected| {
        // What was written is the query: its translation is no place to point at.
        let why = rejected.to_string();
        let whole = Span::new(0, query.len());
        let message = format!("written as an expression, the query is refused: {why}");
        let code = rejected.first_error().map_or(Code::TooLong, |error| error.code);
        Rejected { diagnostics: vec![Diagnostic::error(code, whole, message)] }
    })
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
    field: String,
    span: Span,
    is_negated: bool,
    values: Vec<Operand>,
}

/// What a field is compared with.
#[derive(Clone, PartialEq, Debug)]
enum Operand {
    Text(String),
    Empty,
}

type Refused<T> = Result<T, Box<Diagnostic>>;

fn write(tree: &Tree, out: &mut String) -> Refused<()> {
    let joined = |trees: &[Tree], joint: &str, out: &mut String| {
        for (at, tree) in trees.iter().enumerate() {
            if at > 0 {
                out.push_str(joint);
            }
            write(tree, out)?;
        }
        Ok(())
    };
    match tree {
        Tree::And(trees) => joined(trees, " && ", out),
        Tree::Or(trees) => {
            out.push('(');
            joined(trees, " || ", out)?;
            out.push(')');
            Ok(())
        }
        Tree::Not(tree) => {
            out.push_str("!(");
            write(tree, out)?;
            out.push(')');
            Ok(())
        }
        Tree::Clause(clause) => clause::write(clause, out),
    }
}

/// A string of the language.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\\' | '\'' => {
                let _ = write!(out, "\\{c}");
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
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
