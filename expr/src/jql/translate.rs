//! Translation of a query to an expression.

use super::query::QueryTree;
use super::{clause, parse};
use crate::diagnostic::CompileError;

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
