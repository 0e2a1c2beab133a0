//! A query as a tree of clauses.

use std::fmt::Write;

use crate::ast::quoted;
use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// A query.
#[derive(Debug)]
pub(super) enum QueryTree {
    Or(Vec<QueryTree>),
    And(Vec<QueryTree>),
    Not(Box<QueryTree>),
    Clause(Clause),
}

/// A test of one field.
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) field: QueryField,
    pub(super) is_negated: bool,
    pub(super) values: Vec<QueryValue>,
}

impl Clause {
    /// Whether the disjunction of the two clauses is one clause with the values of both.
    pub(super) fn is_joined_by(&self, next: &Clause) -> bool {
        self.field == next.field && !self.is_negated && !next.is_negated
    }
}

/// A value that a field is compared with.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum QueryValue {
    Text(String),
    Empty,
}

pub(super) type QueryResult<T> = Result<T, Box<Diagnostic>>;

/// A field, and the path of its values in an event.
#[derive(PartialEq, Debug)]
pub(super) enum QueryField {
    /// By key or id.
    Issue,
    /// By key, id or name.
    Project,
    /// An entity with an id and a name.
    Named(&'static str),
    /// A person, by account id.
    Account(&'static str),
    /// An entity property, with the path of its value.
    Property(String),
    /// A custom field: a value or an option, with its path.
    Custom(String),
}

impl QueryField {
    /// The field `name`, `name[key]` or `name[key].path`; none if webhooks do not support it.
    pub(super) fn of(name: &str, key: Option<&str>, path: &str) -> Option<QueryField> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let name = name.to_ascii_lowercase();
        Some(match (name.as_str(), key) {
            ("issuekey" | "key" | "issue" | "id", None) => QueryField::Issue,
            ("project", None) => QueryField::Project,
            ("issuetype" | "type", None) => QueryField::Named("issuetype"),
            ("status", None) => QueryField::Named("status"),
            ("priority", None) => QueryField::Named("priority"),
            ("assignee", None) => QueryField::Account("assignee"),
            ("reporter", None) => QueryField::Account("reporter"),
            ("cf", Some(id)) if path.is_empty() && is_number(id) => {
                QueryField::Custom(format!("event.issue?.fields?.customfield_{id}"))
            }
            ("issue.property", Some(key)) => {
                let mut found = format!("event.runtime?.issue?.properties?.[{}]", quoted(key));
                for name in path.split('.').filter(|name| !name.is_empty()) {
                    // Infallible: the target is a string.
                    let _ = write!(found, "?.[{}]", quoted(name));
                }
                QueryField::Property(found)
            }
            _ => return None,
        })
    }
}

/// The fields that webhooks can filter by.
const SUPPORTED: &str = "webhooks support issueKey, project, issuetype, status, \
    priority, assignee, reporter, issue.property[key].path and cf[id]";

pub(super) fn unsupported(name: &str, span: Span) -> Box<Diagnostic> {
    let message = format!("The clause {name} is unsupported");
    Box::new(Diagnostic::error(Code::UnsupportedClause, span, message).with_help(SUPPORTED))
}

pub(super) fn wrong(span: Span, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Code::BadQuery, span, message))
}
