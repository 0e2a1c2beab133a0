//! The verdict of a filter.

use crate::diagnostic::Code;
use crate::fault::EvalError;
use crate::span::Span;
use crate::value::Value;

/// The result of a filter on an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The filter is true.
    Match,
    /// The filter is false.
    NoMatch,
    /// The filter has no verdict: it raised an error or its value is not a Boolean.
    Failed(EvalError),
}

/// The error of a filter whose value is not a Boolean.
pub(crate) fn not_boolean(value: &Value<'_>, source_len: usize) -> EvalError {
    let message = match value {
        Value::Null => "A filter must yield true or false, not null",
        Value::Number(_) => "A filter must yield true or false, not a Number",
        Value::String(_) => "A filter must yield true or false, not a String",
        Value::List(_) => "A filter must yield true or false, not a List",
        Value::Map(_) => "A filter must yield true or false, not a Map",
        _ => "A filter must yield true or false",
    };
    let span = Span::new(0, source_len);
    EvalError { code: Code::NotBoolean, span, message: message.into() }
}
