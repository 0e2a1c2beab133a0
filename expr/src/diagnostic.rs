//! What is wrong with an expression: stable codes, messages, places and advice.

mod pages;

use std::fmt;

use crate::span::Span;

pub use pages::Page;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal;)+) => {
        /// A stable code. Numbers are never reused; 30xx syntax, 31xx names, 32xx types,
        /// 33xx limits, 34xx raised while evaluating, 35xx JQL.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u16)]
        pub enum Code { $($(#[$doc])* $name = $number,)+ }

        impl Code {
            /// Every code, ascending.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// What the code means, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)+ }
            }
        }
    };
}

codes! {
    /// A token stands where another was needed.
    Expected = 3001, "something else was expected here";
    /// `=` stands where only `==` can.
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
    /// Nothing to evaluate.
    Empty = 3008, "there is no expression";
    /// A word of JavaScript that the language does not have.
    ForeignWord = 3009, "not part of the language";
    /// A name that nothing declares.
    UnknownName = 3101, "name is not defined";
    /// `undefined` used as a value.
    Undefined = 3102, "`undefined` is read as null";
    /// A field that payloads do not have.
    UnknownField = 3103, "no such field";
    /// A constructor that is not there, or that would have to load data.
    UnknownConstructor = 3104, "no such constructor";
    /// A member is read of something that may be missing.
    MayBeMissing = 3105, "may be missing";
    /// A payload never holds the value in this spelling.
    UnlikelyValue = 3106, "no such value in payloads";
    /// Values that have no order, or none between them.
    NotComparable = 3201, "values cannot be ordered";
    /// An operand of a wrong type.
    BadOperand = 3202, "operator needs other types";
    /// A value without the member asked for.
    UnknownMember = 3203, "no such member";
    /// Something that is no function is called.
    NotCallable = 3204, "not a function";
    /// An argument that is missing or of a wrong type.
    BadArgument = 3205, "argument is missing or of a wrong type";
    /// A filter yields something else than true or false.
    NotBoolean = 3206, "a filter must be true or false";
    /// Two values of different types are compared for equality.
    NeverEqual = 3207, "values of different types are never equal";
    /// A regular expression the engine cannot run.
    BadPattern = 3208, "not a supported regular expression";
    /// A condition that no event can change.
    Constant = 3209, "a condition that never changes";
    /// The source is too long.
    TooLong = 3301, "expression is too long";
    /// The source nests too deep.
    TooDeep = 3302, "expression nests too deep";
    /// The evaluation takes too many steps.
    TooManySteps = 3303, "evaluation takes too many steps";
    /// The evaluation builds too much.
    TooMuchMemory = 3304, "evaluation builds too much text or data";
    /// Functions or values nest too deep while evaluating.
    TooDeepValue = 3305, "functions or values nest too deep";
    /// The cost grows with more lists than the vendor allows.
    TooComplex = 3306, "more complex than the vendor allows";
    /// More patterns than can be compiled in time.
    TooManyPatterns = 3307, "too many patterns";
    /// A member of null is read, or null is called.
    NullAccess = 3401, "null has no members";
    /// The expression raised an error itself.
    Thrown = 3402, "raised by `throw`";
    /// A date that cannot be read or is out of range.
    BadDate = 3403, "not a date";
    /// `reduce` of nothing without a first value.
    EmptyReduce = 3404, "nothing to reduce";
    /// A count beyond what the method allows.
    BadCount = 3405, "count is out of range";
    /// Text that is not JSON.
    BadJson = 3406, "not JSON";
    /// A field, operator or function of JQL that webhooks do not support.
    UnsupportedClause = 3501, "JQL that webhooks do not support";
    /// Text that is not JQL.
    BadQuery = 3502, "not JQL";
}

/// The family of an error, as conformance cases name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The source does not parse.
    Syntax,
    /// An operand, argument or receiver of a wrong type.
    Type,
    /// Null access, unknown name, `throw`, and values no method can use.
    Runtime,
    /// A bound was reached.
    Limit,
}

impl ErrorKind {
    /// The name used in case files and answers.
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
    /// The four digits.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The code that is written so: `SY-3103`, `sy-3103` or `3103`.
    pub fn from_text(text: &str) -> Option<Code> {
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let number: u16 = digits.parse().ok()?;
        Code::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The family the code belongs to.
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

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Severity {
    /// The expression is refused.
    Error,
    /// The expression is accepted, but probably does not do what was meant.
    Warning,
}

/// A second place that explains a finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What stands there.
    pub text: String,
}

/// One finding about an expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Stable code.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// Where the finding is.
    pub span: Span,
    /// What is wrong, in the user's words.
    pub message: String,
    /// What the place itself is; empty when the message says it all.
    pub label: String,
    /// Further places.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<Box<str>>,
    /// What to write in the place of [`Diagnostic::span`].
    pub replacement: Option<Box<str>>,
    /// Whether reading stopped here, so that later findings are unseen.
    pub is_fatal: bool,
}

impl Diagnostic {
    /// An error at `span`.
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

    /// A warning at `span`.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// Says what stands at the primary place.
    #[must_use]
    pub fn labelled(mut self, text: impl Into<String>) -> Diagnostic {
        self.label = text.into();
        self
    }

    /// Adds a further place.
    #[must_use]
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<Box<str>>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Says what to write in the place of the finding.
    #[must_use]
    pub fn replaced_by(mut self, text: impl Into<Box<str>>) -> Diagnostic {
        self.replacement = Some(text.into());
        self
    }

    /// Where the finding is, in the units editors count in.
    pub fn position(&self, source: &str) -> Position {
        Position::of(self.span, source)
    }
}

/// A span in the units of editors and APIs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// UTF-8 bytes before the place.
    pub offset: usize,
    /// UTF-16 units before the place.
    pub offset16: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in Unicode scalar values.
    pub column: usize,
    /// Length of the place in Unicode scalar values.
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
