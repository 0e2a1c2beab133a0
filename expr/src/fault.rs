//! Evaluation errors: one pointer while they propagate, formatted on demand.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use crate::diagnostic::{Code, ErrorKind};
use crate::span::Span;
use crate::value::Value;

/// An error that propagates through an evaluator. It is a pointer, so that the `Result` of a
/// fallible operation is little larger than its value.
#[derive(Clone, Debug)]
pub(crate) struct Fault<'v>(Box<Error<'v>>);

#[derive(Clone, Debug)]
pub(crate) struct Error<'v> {
    pub(crate) code: Code,
    pub(crate) span: Span,
    pub(crate) message: Cow<'static, str>,
    /// The value of a `throw`.
    pub(crate) thrown: Option<Value<'v>>,
}

impl<'v> Deref for Fault<'v> {
    type Target = Error<'v>;

    fn deref(&self) -> &Error<'v> {
        &self.0
    }
}

impl<'v> Fault<'v> {
    /// An error whose span the evaluator sets.
    #[cold]
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Fault<'v> {
        Fault(Box::new(Error { code, span: Span::NONE, message: message.into(), thrown: None }))
    }

    /// The contents of the error.
    pub(crate) fn into_error(self) -> Error<'v> {
        *self.0
    }

    /// Adds the value of the `throw` that raised the error.
    #[must_use]
    pub(crate) fn throwing(mut self, value: Value<'v>) -> Fault<'v> {
        self.0.thrown = Some(value);
        self
    }

    /// Sets the span, unless an inner expression has set it.
    #[must_use]
    pub(crate) fn at(mut self, span: Span) -> Fault<'v> {
        if self.0.span == Span::NONE {
            self.0.span = span;
        }
        self
    }

    /// Whether `catch` can catch it. Limits end the evaluation, because `try` could be used to
    /// exceed them otherwise; so do internal errors.
    pub(crate) fn is_catchable(&self) -> bool {
        self.code.kind() != ErrorKind::Limit && self.code != Code::Internal
    }

    /// The error of a state that the compiler rules out. Failing the evaluation keeps such a state
    /// visible; a default value would change verdicts.
    #[cold]
    pub(crate) fn internal(what: &'static str) -> Fault<'v> {
        Fault::new(Code::Internal, what)
    }

    /// The error of reading a member of null, or of calling null.
    pub(crate) fn null_access() -> Fault<'v> {
        Fault::new(Code::NullAccess, "Type null does not have any properties")
    }
}

/// Returns the entry of a table that the compiler has filled.
pub(crate) fn entry<'v, T>(table: &[T], at: u32) -> Result<&T, Fault<'v>> {
    table.get(at as usize).ok_or_else(|| Fault::internal("an index is outside of its table"))
}

impl From<Fault<'_>> for EvalError {
    fn from(fault: Fault<'_>) -> EvalError {
        let error = fault.into_error();
        EvalError { code: error.code, span: error.span, message: error.message }
    }
}

/// The reason why an evaluation has no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct EvalError {
    /// The stable code.
    pub code: Code,
    /// The failing part of the source.
    pub span: Span,
    /// The message. Allocated only if it contains more than fixed text.
    pub message: Cow<'static, str>,
}

impl EvalError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.code.kind()
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
