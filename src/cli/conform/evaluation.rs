//! The result of an expression.

use serde_json::Value;

/// The result of an expression, here or in Jira.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Evaluation {
    Value(Value),
    Error(String),
}

impl Evaluation {
    /// Renders the result for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Evaluation::Value(value) => value.to_string(),
            Evaluation::Error(message) => format!("error: {message}"),
        }
    }
}
