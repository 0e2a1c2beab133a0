//! A query as a tree of clauses.

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
    /// The field as written, with its position.
    pub(super) name: Box<str>,
    pub(super) span: Span,
    pub(super) is_negated: bool,
    /// Whether the values are a list, of `IN` or `NOT IN`.
    pub(super) is_list: bool,
    pub(super) values: Vec<QueryValue>,
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
    /// A value in an entity property: the key, and the names that lead to the value.
    Property(String, Vec<String>),
    /// A custom field, by id: a value or an option.
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
                QueryField::Custom(id.to_owned())
            }
            ("issue.property", Some(key)) => {
                let names = path.split('.').filter(|name| !name.is_empty());
                QueryField::Property(key.to_owned(), names.map(str::to_owned).collect())
            }
            _ => return None,
        })
    }
}

/// Visits the clauses in order. Recursion is bounded by the nesting of queries.
pub(super) fn for_each_clause<'t>(tree: &'t QueryTree, visit: &mut impl FnMut(&'t Clause)) {
    match tree {
        QueryTree::Or(trees) | QueryTree::And(trees) => {
            trees.iter().for_each(|tree| for_each_clause(tree, visit));
        }
        QueryTree::Not(tree) => for_each_clause(tree, visit),
        QueryTree::Clause(clause) => visit(clause),
    }
}

/// The fields that webhooks can filter by.
const SUPPORTED: &str = "webhooks support issueKey, project, issuetype, status, \
    priority, assignee, reporter, issue.property[key].path and cf[id]";

/// **Source:** Jira dynamic webhooks: the text of the refusal.
pub(super) fn unsupported(name: &str, span: Span) -> Box<Diagnostic> {
    let message = format!("The clause {name} is unsupported");
    Box::new(Diagnostic::error(Code::UnsupportedClause, span, message).with_help(SUPPORTED))
}

pub(super) fn unsupported_function(name: &str, span: Span) -> Box<Diagnostic> {
    let message = format!("The clause {name}() is unsupported");
    let help = "functions are not supported: list the values, or test them in the handler";
    Box::new(Diagnostic::error(Code::UnsupportedClause, span, message).with_help(help))
}

pub(super) fn wrong(span: Span, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Code::BadQuery, span, message))
}
