//! The stable codes of diagnostics, each with its page.
//!
//! A new code is one entry of `codes!`, used where it is reported, and a row of the manual.

use std::fmt;

/// The page of a code, as `switchyard explain-code` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// The cause of the diagnostic.
    pub cause: &'static str,
    /// An expression with the mistake; empty if it would be too long to print.
    pub example: &'static str,
    /// The corrected expression, or what to do.
    pub fix: &'static str,
}

macro_rules! codes {
    ($(
        $(#[$doc:meta])*
        $name:ident = $number:literal {
            title: $title:literal,
            $(kind: $kind:expr,)?
            cause: $cause:literal,
            example: $example:literal,
            fix: $fix:literal,
        }
    )+) => {
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

            /// Cause, example and fix.
            pub fn page(self) -> Page {
                match self {
                    $(Code::$name => Page { cause: $cause, example: $example, fix: $fix },)+
                }
            }

            /// The family of the code.
            pub fn kind(self) -> ErrorKind {
                match self {
                    $($(Code::$name => $kind,)?)+
                    code => ErrorKind::of_number(code.number()),
                }
            }
        }
    };
}

codes! {
    /// A token where the grammar requires another one.
    Expected = 3001 {
        title: "something else was expected here",
        cause: "The grammar does not allow this token here: an operator or a bracket is missing, \
            or there is one too many.",
        example: "event.issue.key ==",
        fix: "event.issue.key == 'A-1'",
    }

    /// `=` where only `==` is valid.
    Assignment = 3002 {
        title: "`=` is not an operator",
        cause: "`=` declares a name, at the start of the expression or of a block only. Inside an \
            expression it is nearly always a mistyped `==`.",
        example: "(event.issue.key = 'A-1')",
        fix: "event.issue.key == 'A-1'",
    }

    /// An operator of JavaScript that the language does not have.
    ForeignOperator = 3003 {
        title: "not an operator of the language",
        cause: "JavaScript has the operator, Jira expressions do not. `==` never converts between \
            types, so there is no `===`; values never change, so there is no `+=` or `++`.",
        example: "event.issue.key === 'A-1'",
        fix: "event.issue.key == 'A-1'",
    }

    /// A string or template without its closing quote.
    Unterminated = 3004 {
        title: "text or comment without an end",
        cause: "A string, a template or a comment does not end. A string ends on the line where \
            it starts; a quote inside it needs a backslash.",
        example: "event.issue.key == 'A-1",
        fix: "event.issue.key == 'A-1'",
    }

    /// A number in a form the language does not have.
    BadNumber = 3005 {
        title: "not a number of the language",
        cause: "Numbers are decimal, with a fraction and an exponent where needed. There are no \
            hexadecimal, octal or grouped numbers.",
        example: "event.size > 0x10",
        fix: "event.size > 16",
    }

    /// A character that starts no token.
    BadCharacter = 3006 {
        title: "no token starts with this character",
        cause: "No name, number, string or operator starts with this character. Quotes are \
            straight, and a comment starts with `//`.",
        example: "# only bugs",
        fix: "// only bugs",
    }

    /// An `if` without `else`.
    MissingElse = 3007 {
        title: "`if` needs `else`",
        cause: "Every expression has a value, so an `if` needs an `else` and both need braces.",
        example: "if (event.issue.key == 'A-1') { true }",
        fix: "event.issue.key == 'A-1'",
    }

    /// A source without an expression.
    Empty = 3008 {
        title: "there is no expression",
        cause: "The source is empty, or contains only comments.",
        example: "",
        fix: "Leave `expression` out of the filter, or write one.",
    }

    /// A word of JavaScript that the language does not have.
    ForeignWord = 3009 {
        title: "not part of the language",
        cause: "The word or form belongs to another language: a JavaScript statement, a JQL \
            operator such as `IN` or `AND`, a pattern between slashes. The statements of this \
            language are `let`, `if` and `try`; lists have methods instead of loops, operators \
            are not words, and patterns are strings.",
        example: "for (let x of event.xs) { x }",
        fix: "event.xs.some(x => x == 1)",
    }

    /// A name that is not declared.
    UnknownName = 3101 {
        title: "name is not defined",
        cause: "The name is not declared. A filter has one variable, `event`; other names are \
            declared by `let` and by function parameters.",
        example: "issue.key == 'A-1'",
        fix: "event.issue.key == 'A-1'",
    }

    /// `undefined` used as a value.
    Undefined = 3102 {
        title: "`undefined` is read as null",
        cause: "There is no `undefined`: a missing member is null.",
        example: "event.comment == undefined",
        fix: "event.comment == null",
    }

    /// A field that payloads do not have.
    UnknownField = 3103 {
        title: "no such field",
        cause: "The events that the filter is for have no such member. It would be null on every \
            event, so the filter would never be true, and no error would show it.",
        example: "event.issue.fields.issueType.name == 'Bug'",
        fix: "event.issue.fields.issuetype.name == 'Bug'",
    }

    /// A constructor that does not exist, or that would load data.
    UnknownConstructor = 3104 {
        title: "no such constructor",
        kind: ErrorKind::Type,
        cause: "There are Date, CalendarDate, Map and RichText. `new Issue` and similar \
            constructors would load data, which filters cannot do.",
        example: "new Issue('A-1').key == 'A-1'",
        fix: "event.issue.key == 'A-1'",
    }

    /// A member access on a value that may be null.
    MayBeMissing = 3105 {
        title: "may be missing",
        cause: "Reading a member of null is an error, and onError decides what happens to the \
            event: IGNORE and IGNORE_AND_LOG drop it, RECEIVE and RECEIVE_AND_LOG deliver it. \
            `?.` makes the whole chain null instead.",
        example: "event.issue.fields.assignee.accountId == 'x'",
        fix: "event.issue.fields.assignee?.accountId == 'x'",
    }

    /// A spelling of a value that payloads never contain.
    UnlikelyValue = 3106 {
        title: "no such value in payloads",
        cause: "Payloads contain the value in another spelling. The changelog item of a status \
            has the `field` `Status` when an issue is created and `status` when it is updated; \
            its `fieldId` is `status` in both.",
        example: "event.changelog?.items.some(i => i.field == 'Status')",
        fix: "event.changelog?.items.some(i => i.fieldId == 'status')",
    }

    /// Operands that have no order, or no common order.
    NotComparable = 3201 {
        title: "values cannot be ordered",
        cause: "`<`, `>`, `<=` and `>=` need two Numbers, two Strings, two Dates or two \
            CalendarDates. Null has no order.",
        example: "1 < '2'",
        fix: "1 < 2",
    }

    /// An operand of a wrong type.
    BadOperand = 3202 {
        title: "operator needs other types",
        cause: "`-`, `*`, `/` and `%` need Numbers; `+` needs two Numbers or a String.",
        example: "'a' * 2 == 1",
        fix: "Number('4') * 2 == 8",
    }

    /// A member that the type of the value does not have.
    UnknownMember = 3203 {
        title: "no such member",
        cause: "Values of that type have no such member. Some JavaScript methods do not exist: \
            write `text.indexOf('x') == 0` for `startsWith`, and `list.filter(f)[0]` for `find`.",
        example: "'abc'.startsWith('a')",
        fix: "'abc'.indexOf('a') == 0",
    }

    /// A call of a value that is not a function.
    NotCallable = 3204 {
        title: "not a function",
        cause: "Only functions and methods can be called.",
        example: "'a'() == 1",
        fix: "'a'.trim() == 'a'",
    }

    /// An argument that is missing or of a wrong type.
    BadArgument = 3205 {
        title: "argument is missing or of a wrong type",
        cause: "An argument of a method is missing or has the wrong type.",
        example: "'a'.includes(1)",
        fix: "'a'.includes('1')",
    }

    /// A filter whose value is not a Boolean.
    NotBoolean = 3206 {
        title: "a filter must be true or false",
        cause: "A filter must yield `true` or `false`. Any other value is an error: the result is \
            not converted to a Boolean.",
        example: "event.issue.key",
        fix: "event.issue.key != null",
    }

    /// An equality comparison of different types.
    NeverEqual = 3207 {
        title: "values of different types are never equal",
        cause: "`==` never converts, so values of different types are never equal. Ids are \
            Strings in most payloads.",
        example: "'a' == 1",
        fix: "'a' == '1'",
    }

    /// A regular expression that the engine does not support.
    BadPattern = 3208 {
        title: "not a supported regular expression",
        kind: ErrorKind::Runtime,
        cause: "Patterns are matched in linear time, so look-around and back-references are not \
            supported.",
        example: "'a'.match('(?=a)') != null",
        fix: "'a'.match('a') != null",
    }

    /// A condition that no event can change.
    Constant = 3209 {
        title: "a condition that never changes",
        cause: "No event can change the condition: it compares one value with two constants, or \
            tests a value that is never null.",
        example: "event.issue.key == 'A-1' && event.issue.key == 'A-2'",
        fix: "event.issue.key == 'A-1' || event.issue.key == 'A-2'",
    }

    /// The source is too long.
    TooLong = 3301 {
        title: "expression is too long",
        cause: "A filter has at most 10,000 characters.",
        example: "",
        fix: "Move long lists into an entity property and test it with `includes`.",
    }

    /// The source nests too deeply.
    TooDeep = 3302 {
        title: "expression nests too deep",
        cause: "Brackets, blocks, functions and prefix operators nest at most 128 deep, and the \
            tree of operators at most 256.",
        example: "",
        fix: "Name parts with `let`, or put alternatives into a list: `['a', 'b'].includes(x)`.",
    }

    /// The evaluation needs too many steps.
    TooManySteps = 3303 {
        title: "evaluation takes too many steps",
        cause: "An evaluation has 50,000 steps. Nested functions multiply: the usual cause is \
            iterating over one list for each element of another.",
        example: "",
        fix: "Test the cheap conditions first, and iterate over each list once.",
    }

    /// The evaluation allocates too much memory.
    TooMuchMemory = 3304 {
        title: "evaluation builds too much text or data",
        cause: "One evaluation may allocate 1 MiB of text and data in total, freed memory \
            included.",
        example: "",
        fix: "Reduce data early: filter lists before mapping them, slice texts before joining.",
    }

    /// Functions or values nest too deeply during evaluation.
    TooDeepValue = 3305 {
        title: "functions or values nest too deep",
        cause: "Values nest at most 128 deep, and so do functions that call each other.",
        example: "let f = g => g(g); f(f)",
        fix: "Iterate with list methods instead of recursive functions.",
    }

    /// The cost depends on more lists than the vendor allows.
    TooComplex = 3306 {
        title: "more complex than allowed",
        cause: "The cost of a filter is estimated when it is registered, as the vendor does. \
            Rejected are more than three lists, three combinations of lists, or three lists inside \
            of each other. A constant part over 10,000, which the vendor may reject, is a warning.",
        example: "event.a.map(a => a.b.map(b => b.c.map(c => c.d.map(d => d)))).length > 0",
        fix: "Test the cheap conditions first, and iterate over fewer lists.",
    }

    /// More patterns than can be compiled in time.
    TooManyPatterns = 3307 {
        title: "too many patterns",
        cause: "An expression has at most 8 different patterns, of 1,024 bytes together: \
            compiling them is the most expensive part of a registration.",
        example: "",
        fix: "Join alternatives in one pattern, `'a|b'`, or use `includes`.",
    }

    /// A member access on null, or a call of null.
    NullAccess = 3401 {
        title: "null has no members",
        cause: "A member of null was read, or null was called. A missing member is null, so \
            reading a member of it fails.",
        example: "event.missing.key",
        fix: "event.missing?.key",
    }

    /// An error raised by `throw`.
    Thrown = 3402 {
        title: "raised by `throw`",
        cause: "The expression raised an error with `throw`.",
        example: "throw 'no'",
        fix: "Remove `throw`, or catch it with `try`.",
    }

    /// A date that cannot be read or is out of range.
    BadDate = 3403 {
        title: "not a date",
        cause: "The text is not an ISO 8601 date, or the result is outside the years 0 to 9999.",
        example: "new Date('x') != null",
        fix: "new Date('2026-01-31T12:00:00Z') != null",
    }

    /// `reduce` of an empty list without an initial value.
    EmptyReduce = 3404 {
        title: "nothing to reduce",
        cause: "`reduce` of an empty list needs an initial value.",
        example: "[].reduce((a, b) => a)",
        fix: "[].reduce((a, b) => a, 0)",
    }

    /// A count beyond the limit of the method.
    BadCount = 3405 {
        title: "count is out of range",
        cause: "The count of `repeat`, `padStart` and `padEnd` is 0 to 100.",
        example: "'a'.repeat(101)",
        fix: "'a'.repeat(100)",
    }

    /// Text that is not JSON.
    BadJson = 3406 {
        title: "not JSON",
        cause: "The argument of `JSON.parse` is not JSON.",
        example: "JSON.parse('{')",
        fix: "JSON.parse('{}')",
    }

    /// A state of an evaluation that the compiler rules out.
    Internal = 3407 {
        title: "internal error",
        cause: "The evaluation reached a state that the compiler rules out. This is a bug of the \
            filter language; the filter has no verdict on the event.",
        example: "",
        fix: "Report the filter and the event.",
    }

    /// A field, operator or function of JQL that webhooks do not support.
    UnsupportedClause = 3501 {
        title: "JQL that webhooks do not support",
        cause: "Webhooks filter by issueKey, project, issuetype, status, priority, assignee, \
            reporter, issue.property and cf[id], with =, !=, IN and NOT IN. Other fields, \
            functions and ORDER BY are rejected; test them in the handler.",
        example: "project = OPS AND assignee is EMPTY",
        fix: "project = OPS AND assignee = EMPTY",
    }

    /// Text that is not JQL.
    BadQuery = 3502 {
        title: "not JQL",
        cause: "The query is not valid JQL: an operator, a value or a parenthesis is missing.",
        example: "project = OPS status != Done",
        fix: "project = OPS AND status != Done",
    }
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
    /// The family of codes in the range of `number`.
    fn of_number(number: u16) -> ErrorKind {
        match number / 100 {
            30 | 35 => ErrorKind::Syntax,
            32 => ErrorKind::Type,
            33 => ErrorKind::Limit,
            _ => ErrorKind::Runtime,
        }
    }

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
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SY-{:04}", self.number())
    }
}
