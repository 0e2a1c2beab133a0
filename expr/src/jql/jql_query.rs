//! A parsed query: its expression, its normal form, and warnings about it.

use super::query::{QueryField, QueryTree, QueryValue, for_each_clause};
use super::translate::{COMPARISONS_MAX, Translation, translate_tree};
use super::{parse, review};
use crate::diagnostic::{Code, CompileError, Diagnostic};
use crate::span::Span;

/// A query that webhooks support.
#[derive(Debug)]
pub struct Query {
    /// None if the query is blank.
    tree: Option<QueryTree>,
    length: usize,
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    /// The first part that is not JQL, or that webhooks do not support.
    pub fn parse(query: &str) -> Result<Query, CompileError> {
        match parse::parse(query) {
            Ok(tree) => Ok(Query { tree, length: query.len() }),
            Err(diagnostic) => Err(CompileError { diagnostics: vec![*diagnostic] }),
        }
    }

    /// Whether it has no clause, so that every issue matches.
    pub fn is_blank(&self) -> bool {
        self.tree.is_none()
    }

    /// The equivalent expression; none if the query is blank.
    ///
    /// # Errors
    /// It compares with too many values.
    pub fn expression(&self) -> Result<Option<String>, CompileError> {
        let Some(tree) = &self.tree else { return Ok(None) };
        let Translation { expression, comparisons } = translate_tree(tree);
        if comparisons <= COMPARISONS_MAX {
            return Ok(Some(expression));
        }
        let message = format!("{comparisons} comparisons with values of at most {COMPARISONS_MAX}");
        let found = Diagnostic::error(Code::TooLong, Span::new(0, self.length), message)
            .with_help("name each value in one clause only");
        Err(CompileError { diagnostics: vec![found] })
    }

    /// The query in normal form, as Jira lists it; empty if it is blank.
    pub fn normal_form(&self) -> String {
        self.tree.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Warnings about legal but probably unintended clauses.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        self.tree.as_ref().map(review::warnings).unwrap_or_default()
    }

    /// Whether an event without an issue matches. All fields of such an event are empty.
    pub fn matches_without_issue(&self) -> bool {
        self.tree.as_ref().is_none_or(holds_without_issue)
    }

    /// The ids of the custom fields that it tests, each with its position.
    pub fn custom_fields(&self) -> Vec<(&str, Span)> {
        let mut found = Vec::new();
        if let Some(tree) = &self.tree {
            for_each_clause(tree, &mut |clause| {
                if let QueryField::Custom(id) = &clause.field {
                    found.push((id.as_str(), clause.span));
                }
            });
        }
        found
    }
}

fn holds_without_issue(tree: &QueryTree) -> bool {
    match tree {
        QueryTree::Or(trees) => trees.iter().any(holds_without_issue),
        QueryTree::And(trees) => trees.iter().all(holds_without_issue),
        QueryTree::Not(tree) => !holds_without_issue(tree),
        QueryTree::Clause(clause) => {
            !clause.is_negated && clause.values.contains(&QueryValue::Empty)
        }
    }
}

/// Translates a query to an expression; none if the query is blank, which matches every issue.
///
/// # Errors
/// The first part that is not JQL, or that webhooks do not support.
pub fn translate(query: &str) -> Result<Option<String>, CompileError> {
    Query::parse(query)?.expression()
}
