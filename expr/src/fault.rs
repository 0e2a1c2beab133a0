//! Errors of evaluation: small while they travel, words only when somebody asks.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use crate::diagnostic::{Code, ErrorKind};
use crate::span::Span;
use crate::value::Value;

/// An error on its way through an evaluator: a pointer, so that what may fail yields little more
/// than its value.
#[derive(Clone, Debug)]
pub(crate) struct Fault<'v>(Box<Error<'v>>);

#[derive(Clone, Debug)]
pub(crate) struct Error<'v> {
    pub(crate) code: Code,
    pub(crate) span: Span,
    pub(crate) message: Cow<'static, str>,
    /// What `throw` raised.
    pub(crate) thrown: Option<Value<'v>>,
}

impl<'v> Deref for Fault<'v> {
    type Target = Error<'v>;

    fn deref(&self) -> &Error<'v> {
        &self.0
    }
}

impl<'v> Fault<'v> {
    /// A fault whose place the evaluator fills in.
    #[cold]
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Fault<'v> {
        Fault(Box::new(Error { code, span: Span::NONE, message: message.into(), thrown: None }))
    }

    /// What it is about.
    pub(crate) fn into_error(self) -> Error<'v> {
        *self.0
    }

    /// The fault of a `throw` of `value`.
    #[must_use]
    pub(crate) fn throwing(mut self, value: Value<'v>) -> Fault<'v> {
        self.0.thrown = Some(value);
        self
    }

    /// Sets the place, unless an inner expression has set it.
    #[must_use]
    pub(crate) fn at(mut self, span: Span) -> Fault<'v> {
        if self.0.span == Span::NONE {
            self.0.span = span;
        }
        self
    }

    /// Whether `catch` may see it. Limits end the evaluation, or `try` could be used to outrun
    /// them.
    pub(crate) fn is_catchable(&self) -> bool {
        self.code.kind() != ErrorKind::Limit
    }

    /// Null has no members and cannot be called.
    pub(crate) fn null_access() -> Fault<'v> {
        Fault::new(Code::NullAccess, "Type null does not have any properties")
    }
}

impl From<Fault<'_>> for EvalError {
    fn from(fault: Fault<'_>) -> EvalError {
        let error = fault.into_error();
        EvalError { code: error.code, span: error.span, message: error.message }
    }
}

/// Why an evaluation yielded no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct EvalError {
    /// Stable code.
    pub code: Code,
    /// The failing part of the source.
    pub span: Span,
    /// What went wrong. Allocated only when it holds more than fixed words.
    pub message: Cow<'static, str>,
}

impl EvalError {
    /// The family of the error.
    pub fn kind(&self) -> ErrorKind {
        self.code.kind()
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}
