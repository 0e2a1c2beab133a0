//! Findings about an expression, and the error that collects them.

use super::code::Code;
use super::position::Position;
use crate::span::Span;

/// The severity of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Severity {
    /// The expression is rejected.
    Error,
    /// The expression is accepted, but probably does not do what its author intended.
    Warning,
}

/// A secondary span that explains a finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The span.
    pub span: Span,
    /// The text of the label.
    pub text: String,
}

/// One finding about an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Stable code.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// The primary span.
    pub span: Span,
    /// What is wrong, in the user's terms.
    pub message: String,
    /// The label of the primary span; empty if the message is sufficient.
    pub label: String,
    /// Secondary spans.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<Box<str>>,
    /// The text to replace [`Diagnostic::span`] with.
    pub replacement: Option<Box<str>>,
    /// Whether parsing stopped here, so that later errors are not reported.
    pub is_fatal: bool,
}

impl Diagnostic {
    /// Creates an error at `span`.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            span,
            message: message.into(),
            label: String::new(),
            labels: Vec::new(),
            help: None,
            replacement: None,
            is_fatal: false,
        }
    }

    /// Creates a warning at `span`.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// Sets the label of the primary span.
    #[must_use]
    pub fn labelled(mut self, text: impl Into<String>) -> Diagnostic {
        self.label = text.into();
        self
    }

    /// Adds a secondary span.
    #[must_use]
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Sets the help text.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<Box<str>>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Sets the replacement of the primary span.
    #[must_use]
    pub fn replaced_by(mut self, text: impl Into<Box<str>>) -> Diagnostic {
        self.replacement = Some(text.into());
        self
    }

    /// The position of the finding in the units of editors and APIs.
    pub fn position(&self, source: &str) -> Position {
        Position::of(self.span, source)
    }
}

/// The error of an expression that does not compile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.summary())]
pub struct CompileError {
    /// All errors and warnings, in source order; at least one is an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl CompileError {
    /// The first error.
    pub fn first_error(&self) -> Option<&Diagnostic> {
        self.diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error)
    }

    fn summary(&self) -> &str {
        self.first_error().map_or("the expression is refused", |first| &first.message)
    }
}
