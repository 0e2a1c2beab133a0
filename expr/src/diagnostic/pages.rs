//! What each code is about, at length: the pages that `switchyard explain-code` prints.

use super::Code;

/// A page about a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// How it comes about.
    pub cause: &'static str,
    /// An expression with the mistake; empty if it would be too long to print.
    pub example: &'static str,
    /// What to write instead, or to do.
    pub fix: &'static str,
}

const fn page(cause: &'static str, example: &'static str, fix: &'static str) -> Page {
    Page { cause, example, fix }
}

impl Code {
    /// Cause, example and fix.
    pub fn page(self) -> Page {
        match self.number() / 100 {
            30 => syntax(self),
            31 => names(self),
            32 => types(self),
            33 => limits(self),
            35 => queries(self),
            _ => raised(self),
        }
    }
}

fn syntax(code: Code) -> Page {
    match code {
        Code::Assignment => page(
            "`=` declares a name, at the start of the expression or of a block only. Inside an expression it is nearly always a mistyped `==`.",
            "(event.issue.key = 'A-1')",
            "event.issue.key == 'A-1'",
        ),
        Code::ForeignOperator => page(
            "JavaScript has the operator, Jira expressions do not. `==` never converts between types, so there is no `===`; values never change, so there is no `+=` or `++`.",
            "event.issue.key === 'A-1'",
            "event.issue.key == 'A-1'",
        ),
        Code::Unterminated => page(
            "A string, a template or a comment does not end. A string ends on the line where it starts; a quote inside it needs a backslash.",
            "event.issue.key == 'A-1",
            "event.issue.key == 'A-1'",
        ),
        Code::BadNumber => page(
            "Numbers are decimal, with a fraction and an exponent where needed. There are no hexadecimal, octal or grouped numbers.",
            "event.size > 0x10",
            "event.size > 16",
        ),
        Code::BadCharacter => page(
            "No name, number, string or operator starts with this character. Quotes are straight, and a comment starts with `//`.",
            "# only bugs",
            "// only bugs",
        ),
        Code::MissingElse => page(
            "Every expression has a value, so an `if` needs an `else` and both need braces.",
            "if (event.issue.key == 'A-1') { true }",
            "event.issue.key == 'A-1'",
        ),
        Code::Empty => page(
            "The source is empty, or contains only comments.",
            "",
            "Leave `expression` out of the filter, or write one.",
        ),
        Code::ForeignWord => page(
            "The word or form belongs to another language: a JavaScript statement, a JQL operator such as `IN` or `AND`, a pattern between slashes. The statements of this language are `let`, `if` and `try`; lists have methods instead of loops, operators are not words, and patterns are strings.",
            "for (let x of event.xs) { x }",
            "event.xs.some(x => x == 1)",
        ),
        _ => page(
            "The grammar does not allow this token here: an operator or a bracket is missing, or there is one too many.",
            "event.issue.key ==",
            "event.issue.key == 'A-1'",
        ),
    }
}

fn names(code: Code) -> Page {
    match code {
        Code::Undefined => page(
            "There is no `undefined`: a missing member is null.",
            "event.comment == undefined",
            "event.comment == null",
        ),
        Code::UnknownField => page(
            "The events that the filter is for have no such member. It would be null on every event, so the filter would never be true, and no error would show it.",
            "event.issue.fields.issueType.name == 'Bug'",
            "event.issue.fields.issuetype.name == 'Bug'",
        ),
        Code::UnknownConstructor => page(
            "There are Date, CalendarDate, Map and RichText. `new Issue` and similar constructors would load data, which filters cannot do.",
            "new Issue('A-1').key == 'A-1'",
            "event.issue.key == 'A-1'",
        ),
        Code::MayBeMissing => page(
            "Reading a member of null is an error, and onError decides what happens to the event: IGNORE and IGNORE_AND_LOG drop it, RECEIVE and RECEIVE_AND_LOG deliver it. `?.` makes the whole chain null instead.",
            "event.issue.fields.assignee.accountId == 'x'",
            "event.issue.fields.assignee?.accountId == 'x'",
        ),
        Code::UnlikelyValue => page(
            "Payloads contain the value in another spelling. The changelog item of a status has the `field` `Status` when an issue is created and `status` when it is updated; its `fieldId` is `status` in both.",
            "event.changelog?.items.some(i => i.field == 'Status')",
            "event.changelog?.items.some(i => i.fieldId == 'status')",
        ),
        _ => page(
            "The name is not declared. A filter has one variable, `event`; other names are declared by `let` and by function parameters.",
            "issue.key == 'A-1'",
            "event.issue.key == 'A-1'",
        ),
    }
}

fn types(code: Code) -> Page {
    match code {
        Code::BadOperand => page(
            "`-`, `*`, `/` and `%` need Numbers; `+` needs two Numbers or a String.",
            "'a' * 2 == 1",
            "Number('4') * 2 == 8",
        ),
        Code::UnknownMember => page(
            "Values of that type have no such member. Some JavaScript methods do not exist: write `text.indexOf('x') == 0` for `startsWith`, and `list.filter(f)[0]` for `find`.",
            "'abc'.startsWith('a')",
            "'abc'.indexOf('a') == 0",
        ),
        Code::NotCallable => {
            page("Only functions and methods can be called.", "'a'() == 1", "'a'.trim() == 'a'")
        }
        Code::BadArgument => page(
            "An argument of a method is missing or has the wrong type.",
            "'a'.includes(1)",
            "'a'.includes('1')",
        ),
        Code::NotBoolean => page(
            "A filter must yield `true` or `false`. Any other value is an error: the result is not converted to a Boolean.",
            "event.issue.key",
            "event.issue.key != null",
        ),
        Code::NeverEqual => page(
            "`==` never converts, so values of different types are never equal. Ids are Strings in most payloads.",
            "'a' == 1",
            "'a' == '1'",
        ),
        Code::BadPattern => page(
            "Patterns are matched in linear time, so look-around and back-references are not supported.",
            "'a'.match('(?=a)') != null",
            "'a'.match('a') != null",
        ),
        Code::Constant => page(
            "No event can change the condition: it compares one value with two constants, or tests a value that is never null.",
            "event.issue.key == 'A-1' && event.issue.key == 'A-2'",
            "event.issue.key == 'A-1' || event.issue.key == 'A-2'",
        ),
        _ => page(
            "`<`, `>`, `<=` and `>=` need two Numbers, two Strings, two Dates or two CalendarDates. Null has no order.",
            "1 < '2'",
            "1 < 2",
        ),
    }
}

fn limits(code: Code) -> Page {
    match code {
        Code::TooLong => page(
            "A filter has at most 10,000 characters.",
            "",
            "Move long lists into an entity property and test it with `includes`.",
        ),
        Code::TooDeep => page(
            "Brackets, blocks, functions and prefix operators nest at most 128 deep, and the tree of operators at most 256.",
            "",
            "Name parts with `let`, or put alternatives into a list: `['a', 'b'].includes(x)`.",
        ),
        Code::TooMuchMemory => page(
            "One evaluation may allocate 1 MiB of text and data in total, freed memory included.",
            "",
            "Reduce data early: filter lists before mapping them, slice texts before joining.",
        ),
        Code::TooComplex => page(
            "The vendor estimates the cost of a filter at deployment and rejects one that iterates over more than three lists. Switchyard accepts it: 50,000 steps per event are the only limit.",
            "",
            "Test the cheap conditions first, and iterate over fewer lists.",
        ),
        Code::TooManyPatterns => page(
            "An expression has at most 8 different patterns, of 1,024 bytes together: compiling them is the most expensive part of a registration.",
            "",
            "Join alternatives in one pattern, `'a|b'`, or use `includes`.",
        ),
        Code::TooDeepValue => page(
            "Values nest at most 128 deep, and so do functions that call each other.",
            "let f = g => g(g); f(f)",
            "Iterate with list methods instead of recursive functions.",
        ),
        _ => page(
            "An evaluation has 50,000 steps. Nested functions multiply: the usual cause is iterating over one list for each element of another.",
            "",
            "Test the cheap conditions first, and iterate over each list once.",
        ),
    }
}

fn queries(code: Code) -> Page {
    match code {
        Code::UnsupportedClause => page(
            "Webhooks filter by issueKey, project, issuetype, status, priority, assignee, reporter, issue.property and cf[id], with =, !=, IN and NOT IN. Other fields, functions and ORDER BY are rejected; test them in the handler.",
            "project = OPS AND assignee is EMPTY",
            "project = OPS AND assignee = EMPTY",
        ),
        _ => page(
            "The query is not valid JQL: an operator, a value or a parenthesis is missing.",
            "project = OPS status != Done",
            "project = OPS AND status != Done",
        ),
    }
}

fn raised(code: Code) -> Page {
    match code {
        Code::Thrown => page(
            "The expression raised an error with `throw`.",
            "throw 'no'",
            "Remove `throw`, or catch it with `try`.",
        ),
        Code::BadDate => page(
            "The text is not an ISO 8601 date, or the result is outside the years 0 to 9999.",
            "new Date('x') != null",
            "new Date('2026-01-31T12:00:00Z') != null",
        ),
        Code::EmptyReduce => page(
            "`reduce` of an empty list needs an initial value.",
            "[].reduce((a, b) => a)",
            "[].reduce((a, b) => a, 0)",
        ),
        Code::BadCount => page(
            "The count of `repeat`, `padStart` and `padEnd` is 0 to 100.",
            "'a'.repeat(101)",
            "'a'.repeat(100)",
        ),
        Code::BadJson => {
            page("The argument of `JSON.parse` is not JSON.", "JSON.parse('{')", "JSON.parse('{}')")
        }
        _ => page(
            "A member of null was read, or null was called. A missing member is null, so reading a member of it fails.",
            "event.missing.key",
            "event.missing?.key",
        ),
    }
}
