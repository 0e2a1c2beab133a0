//! What each code is about, at length: the pages that `switchyard explain-code` prints.

use super::Code;

/// A page about a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// How it comes about.
    pub cause: &'static str,
    /// An expression that has the mistake; empty where it would be too long to print.
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
            "`=` gives a name to a value, at the start of the expression or of a block only. Inside of an expression it is nearly always a comparison with one sign too few.",
            "(event.issue.key = 'A-1')",
            "event.issue.key == 'A-1'",
        ),
        Code::ForeignOperator => page(
            "JavaScript has the operator, Jira expressions do not. `==` never converts between types, so there is no `===`; values never change, so there is no `+=` or `++`.",
            "event.issue.key === 'A-1'",
            "event.issue.key == 'A-1'",
        ),
        Code::Unterminated => page(
            "A string, a template or a comment starts and does not end. A string stands on one line; a quote inside of it needs a backslash.",
            "event.issue.key == 'A-1",
            "event.issue.key == 'A-1'",
        ),
        Code::BadNumber => page(
            "Numbers are decimal, with a fraction and an exponent where needed. There are no hexadecimal, octal or grouped numbers.",
            "event.size > 0x10",
            "event.size > 16",
        ),
        Code::BadCharacter => page(
            "No name, number, string or operator starts with the character. Quotes are straight, and a comment starts with `//`.",
            "# only bugs",
            "// only bugs",
        ),
        Code::MissingElse => page(
            "Every expression has a value, so an `if` needs an `else` and both need braces.",
            "if (event.issue.key == 'A-1') { true }",
            "event.issue.key == 'A-1'",
        ),
        Code::Empty => page(
            "The text is empty, or holds comments only.",
            "",
            "Leave `expression` out of the filter, or write one.",
        ),
        Code::ForeignWord => page(
            "A word or form of another language: a statement of JavaScript, an operator of JQL such as `IN` or `AND`, a pattern between slashes. Statements here are `let`, `if` and `try`; loops are methods of lists, operators are signs, patterns are text.",
            "for (let x of event.xs) { x }",
            "event.xs.some(x => x == 1)",
        ),
        _ => page(
            "Something stands where the grammar has no place for it: an operator or a bracket is missing, or there is one too many.",
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
            "The events that the filter is for have no such member. It would be null on every event: the filter would never be true, and nobody would be told.",
            "event.issue.fields.issueType.name == 'Bug'",
            "event.issue.fields.issuetype.name == 'Bug'",
        ),
        Code::UnknownConstructor => page(
            "There are Date, CalendarDate, Map and RichText. `new Issue` and the like would have to load data, which filters cannot.",
            "new Issue('A-1').key == 'A-1'",
            "event.issue.key == 'A-1'",
        ),
        Code::MayBeMissing => page(
            "A member of null is an error, and onError decides what happens to the event then: IGNORE and IGNORE_AND_LOG drop it, RECEIVE and RECEIVE_AND_LOG deliver it. `?.` makes the whole chain null instead.",
            "event.issue.fields.assignee.accountId == 'x'",
            "event.issue.fields.assignee?.accountId == 'x'",
        ),
        Code::UnlikelyValue => page(
            "Payloads hold the value in another spelling. The item of a status has the `field` `Status` when an issue is created and `status` when it is updated; its `fieldId` is `status` in both.",
            "event.changelog?.items.some(i => i.field == 'Status')",
            "event.changelog?.items.some(i => i.fieldId == 'status')",
        ),
        _ => page(
            "Nothing declares the name. In a filter there is one variable, `event`; other names come from `let` and from the parameters of functions.",
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
            "Values of that type have no such member. Some methods of JavaScript are missing: `text.indexOf('x') == 0` stands for `startsWith`, `list.filter(f)[0]` for `find`.",
            "'abc'.startsWith('a')",
            "'abc'.indexOf('a') == 0",
        ),
        Code::NotCallable => {
            page("Only functions and methods can be called.", "'a'() == 1", "'a'.trim() == 'a'")
        }
        Code::BadArgument => page(
            "A method needs an argument that is missing, or of another type.",
            "'a'.includes(1)",
            "'a'.includes('1')",
        ),
        Code::NotBoolean => page(
            "A filter must yield `true` or `false`. Any other value counts as an error: there is no truthiness at the top.",
            "event.issue.key",
            "event.issue.key != null",
        ),
        Code::NeverEqual => page(
            "`==` never converts, so values of different types are never equal. Ids are Strings in most payloads.",
            "'a' == 1",
            "'a' == '1'",
        ),
        Code::BadPattern => page(
            "Patterns run in linear time: there is no look-around and no back-reference.",
            "'a'.match('(?=a)') != null",
            "'a'.match('a') != null",
        ),
        Code::Constant => page(
            "No event can change the condition: it compares one value with two constants, or tests something that is always there.",
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
            "One evaluation may build 1 MiB of text and data in total, whether or not it keeps them.",
            "",
            "Test before you build: filter lists before mapping them, slice texts before joining.",
        ),
        Code::TooComplex => page(
            "The vendor estimates the cost of a filter when it is deployed and refuses one that walks more than three lists. Here it is accepted: 50,000 steps an event are the only bound.",
            "",
            "Test the cheap conditions first, and walk fewer lists.",
        ),
        Code::TooManyPatterns => page(
            "An expression has at most 8 different patterns, of 1,024 bytes together: compiling them is the costliest part of a registration.",
            "",
            "Join alternatives in one pattern, `'a|b'`, or use `includes`.",
        ),
        Code::TooDeepValue => page(
            "Values nest at most 128 deep, and so do functions that call each other.",
            "let f = g => g(g); f(f)",
            "Walk lists with their methods instead of with functions that call themselves.",
        ),
        _ => page(
            "An evaluation has 50,000 steps. Functions inside of functions multiply: a list walked for each element of another is the usual cause.",
            "",
            "Test the cheap conditions first, and walk each list once.",
        ),
    }
}

fn queries(code: Code) -> Page {
    match code {
        Code::UnsupportedClause => page(
            "Webhooks filter by issueKey, project, issuetype, status, priority, assignee, reporter, issue.property and cf[id], with =, !=, IN and NOT IN. Other fields, functions and ORDER BY are refused; test the rest in the handler.",
            "project = OPS AND assignee is EMPTY",
            "project = OPS AND assignee = EMPTY",
        ),
        _ => page(
            "The query does not read as JQL: an operator, a value or a parenthesis is missing.",
            "project = OPS status != Done",
            "project = OPS AND status != Done",
        ),
    }
}

fn raised(code: Code) -> Page {
    match code {
        Code::Thrown => page(
            "The expression raised an error itself.",
            "throw 'no'",
            "Remove `throw`, or catch it with `try`.",
        ),
        Code::BadDate => page(
            "The text is no date of ISO 8601, or the result lies outside of the years 0 to 9999.",
            "new Date('x') != null",
            "new Date('2026-01-31T12:00:00Z') != null",
        ),
        Code::EmptyReduce => page(
            "`reduce` of an empty list needs a first value.",
            "[].reduce((a, b) => a)",
            "[].reduce((a, b) => a, 0)",
        ),
        Code::BadCount => page(
            "`repeat`, `padStart` and `padEnd` count from 0 to 100.",
            "'a'.repeat(101)",
            "'a'.repeat(100)",
        ),
        Code::BadJson => page(
            "`JSON.parse` was given text that is not JSON.",
            "JSON.parse('{')",
            "JSON.parse('{}')",
        ),
        _ => page(
            "A member of null was read, or null was called. A missing member is null, so the next step fails.",
            "event.missing.key",
            "event.missing?.key",
        ),
    }
}
