//! Diagnostics: stable codes, severities, messages, spans and suggestions.

mod pages;

use std::fmt;

use crate::span::Span;

pub use pages::Page;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal;)+) => {
        /// A stable code. Numbers are never reused: 30xx syntax, 31xx names, 32xx types, 33xx
        /// limits, 34xx raised during evaluation, 35xx JQL.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u16)]
        pub enum Code { $($(#[$doc])* $name = $number,)+ }

        impl Code {
            /// All codes, in ascending order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// A short title.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)+ }
            }
        }
    };
}

codes! {
    /// A token where the grammar requires another one.
    Expected = 3001, "something else was expected here";
    /// `=` where only `==` is valid.
    Assignment = 3002, "`=` is not an operator";
    /// An operator of JavaScript that the language does not have.
    ForeignOperator = 3003, "not an operator of the language";
    /// A string or template without its closing quote.
    Unterminated = 3004, "text or comment without an end";
    /// A number in a form the language does not have.
    BadNumber = 3005, "not a number of the language";
    /// A character that starts no token.
    BadCharacter = 3006, "no token starts with this character";
    /// An `if` without `else`.
    MissingElse = 3007, "`if` needs `else`";
    /// A source without an expression.
    Empty = 3008, "there is no expression";
    /// A word of JavaScript that the language does not have.
    ForeignWord = 3009, "not part of the language";
    /// A name that is not declared.
    UnknownName = 3101, "name is not defined";
    /// `undefined` used as a value.
    Undefined = 3102, "`undefined` is read as null";
    /// A field that payloads do not have.
    UnknownField = 3103, "no such field";
    /// A constructor that does not exist, or that would load data.
    UnknownConstructor = 3104, "no such constructor";
    /// A member access on a value that may be null.
    MayBeMissing = 3105, "may be missing";
    /// A spelling of a value that payloads never contain.
    UnlikelyValue = 3106, "no such value in payloads";
    /// Operands that have no order, or no common order.
    NotComparable = 3201, "values cannot be ordered";
    /// An operand of a wrong type.
    BadOperand = 3202, "operator needs other types";
    /// A member that the type of the value does not have.
    UnknownMember = 3203, "no such member";
    /// A call of a value that is not a function.
    NotCallable = 3204, "not a function";
    /// An argument that is missing or of a wrong type.
    BadArgument = 3205, "argument is missing or of a wrong type";
    /// A filter whose value is not a Boolean.
    NotBoolean = 3206, "a filter must be true or false";
    /// An equality comparison of different types.
    NeverEqual = 3207, "values of different types are never equal";
    /// A regular expression that the engine does not support.
    BadPattern = 3208, "not a supported regular expression";
    /// A condition that no event can change.
    Constant = 3209, "a condition that never changes";
    /// The source is too long.
    TooLong = 3301, "expression is too long";
    /// The source nests too deeply.
    TooDeep = 3302, "expression nests too deep";
    /// The evaluation needs too many steps.
    TooManySteps = 3303, "evaluation takes too many steps";
    /// The evaluation allocates too much memory.
    TooMuchMemory = 3304, "evaluation builds too much text or data";
    /// Functions or values nest too deeply during evaluation.
    TooDeepValue = 3305, "functions or values nest too deep";
    /// The cost depends on more lists than the vendor allows.
    TooComplex = 3306, "more complex than the vendor allows";
    /// More patterns than can be compiled in time.
    TooManyPatterns = 3307, "too many patterns";
    /// A member access on null, or a call of null.
    NullAccess = 3401, "null has no members";
    /// An error raised by `throw`.
    Thrown = 3402, "raised by `throw`";
    /// A date that cannot be read or is out of range.
    BadDate = 3403, "not a date";
    /// `reduce` of an empty list without an initial value.
    EmptyReduce = 3404, "nothing to reduce";
    /// A count beyond the limit of the method.
    BadCount = 3405, "count is out of range";
    /// Text that is not JSON.
    BadJson = 3406, "not JSON";
    /// A field, operator or function of JQL that webhooks do not support.
    UnsupportedClause = 3501, "JQL that webhooks do not support";
    /// Text that is not JQL.
    BadQuery = 3502, "not JQL";
}

/// The family of an error, as named by conformance cases.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The source does not parse.
    Syntax,
    /// An operand, argument or receiver of a wrong type.
    Type,
    /// Null access, unknown name, `throw`, and values that a method cannot use.
    Runtime,
    /// An exceeded limit.
    Limit,
}

impl ErrorKind {
    /// The name in case files and API responses.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Syntax => "syntax",
            ErrorKind::Type => "type",
            ErrorKind::Runtime => "runtime",
            ErrorKind::Limit => "limit",
        }
    }
}

impl Code {
    /// The number of the code.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Parses `SY-3103`, `sy-3103` or `3103`.
    pub fn from_text(text: &str) -> Option<Code> {
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let number: u16 = digits.parse().ok()?;
        Code::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The family of the code.
    pub fn kind(self) -> ErrorKind {
        match self {
            Code::UnknownConstructor => ErrorKind::Type,
            Code::BadPattern => ErrorKind::Runtime,
            code => match code.number() / 100 {
                30 | 35 => ErrorKind::Syntax,
                32 => ErrorKind::Type,
                33 => ErrorKind::Limit,
                _ => ErrorKind::Runtime,
            },
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SY-{:04}", self.number())
    }
}

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

/// A span in the units of editors and APIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// UTF-8 bytes before the span.
    pub offset: usize,
    /// UTF-16 units before the span.
    pub offset16: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in Unicode scalar values.
    pub column: usize,
    /// Length of the span in Unicode scalar values.
    pub length: usize,
}

impl Position {
    /// Converts `span`; a span outside of `source` is moved to its end.
    pub fn of(span: Span, source: &str) -> Position {
        let offset = (span.start as usize).min(source.len());
        let before = source.get(..offset).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            offset,
            offset16: before.encode_utf16().count(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            length: span.text(source).chars().count(),
        }
    }
}
