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
//! Text is compared case-insensitively, as in Jira. `!=` and `NOT IN` exclude empty values. An entity
//! property that is a list, or has lists on the way to a value, has several values: `=` asks for any
//! of them, `!=` for some value and none that is equal.
//!
//! **Source:** Jira dynamic webhooks, "JQL filters": fields, operators, and the text of the
//! refusal, `The clause watchCount is unsupported`. Jira, "Entity properties": lists give several
//! values, and numbers are compared as numbers.

mod clause;
mod jql_query;
mod normal;
mod parse;
mod query;
mod review;
mod translate;

pub use jql_query::{Query, translate};

#[cfg(test)]
mod tests;
