//! The token slice as nom input, the depth limit, and parse failures as diagnostics.

use std::iter::Enumerate;

use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Needed};

use super::words::{is_foreign, jql_keyword_hint, word_operator};
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::{Token, TokenKind};
use crate::limits::NESTING_MAX;
use crate::span::Span;

/// The remaining tokens, and the nesting depth of the current production.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'t, 's> {
    tokens: &'t [Token<'s>],
    depth: usize,
}

pub(super) type Parsed<'t, 's, T> = IResult<Input<'t, 's>, T, Failure>;

static END: Token<'static> = Token { kind: TokenKind::End, span: Span::NONE };

impl<'t, 's> Input<'t, 's> {
    pub(super) fn new(tokens: &'t [Token<'s>]) -> Self {
        Input { tokens, depth: 0 }
    }

    /// The next token; [`TokenKind::End`] after the last one.
    pub(super) fn first(&self) -> &'t Token<'s> {
        self.peek(0)
    }

    /// The token `ahead` positions further.
    pub(super) fn peek(&self, ahead: usize) -> &'t Token<'s> {
        self.tokens.get(ahead).or(self.tokens.last()).unwrap_or(&END)
    }

    pub(super) fn rest(&self, count: usize) -> Self {
        Input { tokens: self.tokens.get(count..).unwrap_or_default(), depth: self.depth }
    }

    pub(super) fn is_punct(&self, punct: &str) -> bool {
        matches!(self.first().kind, TokenKind::Punct(found) if found == punct)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.first().kind, TokenKind::Word(found) if found == word)
    }

    /// The span of the last token before this input, which was read from `start` on.
    pub(super) fn before(&self, start: Self) -> Span {
        let read = start.tokens.len().saturating_sub(self.tokens.len());
        start.peek(read.saturating_sub(1)).span
    }

    /// Runs `parser` one nesting level deeper.
    pub(super) fn nested<T>(
        self,
        parser: impl FnOnce(Self) -> Parsed<'t, 's, T>,
    ) -> Parsed<'t, 's, T> {
        // The outermost expression has nesting level 0.
        if self.depth > NESTING_MAX {
            return Err(nom::Err::Failure(Failure::Fatal(Box::new(too_deep(self.first().span)))));
        }
        let (rest, output) = parser(Input { depth: self.depth + 1, ..self })?;
        Ok((Input { depth: self.depth, ..rest }, output))
    }
}

pub(super) fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(
        Code::TooDeep,
        span,
        format!("brackets, blocks and operators nest deeper than {NESTING_MAX} levels"),
    )
    .with_help("name parts with `let`, or use a list and `includes`")
}

/// The reason why a production did not match. It is cheap to create: most failures only mean that
/// another branch matches.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another token is required at the span.
    Expected { what: &'static str, span: Span },
    /// The message of a committed production.
    Fatal(Box<Diagnostic>),
}

impl Failure {
    /// The span of the failure.
    pub(super) fn span(&self) -> Span {
        match self {
            Failure::Expected { span, .. } => *span,
            Failure::Fatal(diagnostic) => diagnostic.span,
        }
    }

    /// Converts the failure to a diagnostic; `tokens` are the parsed tokens.
    pub(super) fn to_diagnostic(&self, tokens: &[Token<'_>]) -> Diagnostic {
        match self {
            Failure::Fatal(diagnostic) => (**diagnostic).clone(),
            Failure::Expected { what, span } => {
                let token = tokens.iter().rfind(|token| token.span == *span);
                let kind = &token.unwrap_or(&END).kind;
                let message = format!("expected {what}, found {}", describe(kind));
                let found = Diagnostic::error(Code::Expected, *span, message);
                // In a map the next token would be a comma or brace.
                if *what == "`:`" && !matches!(kind, TokenKind::Punct("," | "}")) {
                    return found.with_help(
                        "write both branches: `condition ? value : other`; a condition alone is \
                         true or false",
                    );
                }
                found
            }
        }
    }
}

impl<'t, 's> ParseError<Input<'t, 's>> for Failure {
    fn from_error_kind(input: Input<'t, 's>, _: ErrorKind) -> Self {
        failure(input, "an expression")
    }

    fn append(_: Input<'t, 's>, _: ErrorKind, other: Self) -> Self {
        other
    }
}

fn failure(input: Input<'_, '_>, what: &'static str) -> Failure {
    Failure::Expected { what, span: input.first().span }
}

/// A recoverable failure: nom tries the next branch.
pub(super) fn mismatch(input: Input<'_, '_>, what: &'static str) -> nom::Err<Failure> {
    nom::Err::Error(failure(input, what))
}

/// A committed failure, with a specific message for well-known mistakes.
pub(super) fn expected_error(input: Input<'_, '_>, what: &'static str) -> nom::Err<Failure> {
    let token = input.first();
    let diagnostic = match token.kind {
        TokenKind::Punct("=") => assignment(token.span),
        TokenKind::Word(word) if is_foreign(word) => foreign_word(word, token.span),
        TokenKind::Word(word)
            if word.eq_ignore_ascii_case("is")
                && matches!(input.peek(1).kind, TokenKind::Word(next) if next.eq_ignore_ascii_case("not")) =>
        {
            word_operator_error("is not", "!=", token.span.to(input.peek(1).span))
        }
        TokenKind::Word(word) => match (jql_keyword_hint(word), word_operator(word)) {
            (Some(help), _) => not_an_operator(word, token.span).with_help(help),
            (None, Some(symbol)) => word_operator_error(word, symbol, token.span),
            (None, None) => return nom::Err::Failure(failure(input, what)),
        },
        _ => return nom::Err::Failure(failure(input, what)),
    };
    nom::Err::Failure(Failure::Fatal(Box::new(diagnostic)))
}

/// The error of the operator `symbol`, written as a word.
pub(super) fn word_operator_error(word: &str, symbol: &'static str, span: Span) -> Diagnostic {
    not_an_operator(word, span).with_help(format!("write `{symbol}`")).replaced_by(symbol)
}

fn not_an_operator(word: &str, span: Span) -> Diagnostic {
    let message = format!("`{word}` is not an operator of the language");
    Diagnostic::error(Code::ForeignWord, span, message)
}

fn assignment(span: Span) -> Diagnostic {
    Diagnostic::error(Code::Assignment, span, "expected `==`, found `=`")
        .labelled("assignment is not part of the language")
        .with_help("compare with `==`")
        .replaced_by("==")
}

/// A committed failure at an `if`, with both conditional forms as help.
pub(super) fn expected_of_if(input: Input<'_, '_>, what: &'static str) -> nom::Err<Failure> {
    let token = input.first();
    let message = format!("expected {what}, found {}", describe(&token.kind));
    fatal_error(Diagnostic::error(Code::Expected, token.span, message).with_help(
        "write `condition ? value : other`; or, where a filter, function or block starts, \
         `if (condition) { value } else { other }`",
    ))
}

pub(super) fn foreign_word(word: &str, span: Span) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(Code::ForeignWord, span, format!("`{word}` is not part of the language"));
    match word {
        "const" | "var" => diagnostic.with_help("declare names with `let`"),
        "function" => diagnostic.with_help("write an arrow function: `x => ...`"),
        "for" | "while" | "do" => {
            diagnostic.with_help("use the methods of lists: `map`, `filter`, `some`, `every`")
        }
        "in" => diagnostic.with_help("write `['a', 'b'].includes(value)`"),
        _ => diagnostic,
    }
}

/// A committed failure with its own diagnostic.
pub(super) fn fatal_error(diagnostic: Diagnostic) -> nom::Err<Failure> {
    nom::Err::Failure(Failure::Fatal(Box::new(diagnostic)))
}

fn describe(kind: &TokenKind<'_>) -> String {
    match kind {
        TokenKind::Number(_) => "a number".into(),
        TokenKind::String(_) => "a string".into(),
        TokenKind::Word(word) => format!("`{word}`"),
        TokenKind::Punct(punct) => format!("`{punct}`"),
        TokenKind::TemplateStart | TokenKind::TemplateText(_) => "a template".into(),
        TokenKind::PlaceholderStart => "`${`".into(),
        TokenKind::PlaceholderEnd => "`}`".into(),
        TokenKind::TemplateEnd => "the end of the template".into(),
        TokenKind::End => "the end".into(),
    }
}

/// Matches one sign; a failure is recoverable.
pub(super) fn punct<'t, 's: 't>(
    punct: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, Span> + Clone {
    move |input| {
        if input.is_punct(punct) {
            Ok((input.rest(1), input.first().span))
        } else {
            Err(mismatch(input, punct_name(punct)))
        }
    }
}

/// Matches one sign; a failure is committed.
pub(super) fn expect<'t, 's: 't>(
    wanted: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, Span> + Clone {
    move |input| {
        punct(wanted)(input)
            .map_err(|_: nom::Err<Failure>| expected_error(input, punct_name(wanted)))
    }
}

fn punct_name(punct: &'static str) -> &'static str {
    match punct {
        "(" => "`(`",
        ")" => "`)`",
        "[" => "`[`",
        "]" => "`]`",
        "{" => "`{`",
        "}" => "`}`",
        "," => "`,`",
        ";" => "`;`",
        ":" => "`:`",
        "=>" => "`=>`",
        _ => "another sign",
    }
}

impl<'t, 's> nom::Input for Input<'t, 's> {
    type Item = &'t Token<'s>;
    type Iter = std::slice::Iter<'t, Token<'s>>;
    type IterIndices = Enumerate<std::slice::Iter<'t, Token<'s>>>;

    fn input_len(&self) -> usize {
        self.tokens.len()
    }

    fn take(&self, index: usize) -> Self {
        Input { tokens: self.tokens.get(..index).unwrap_or(self.tokens), depth: self.depth }
    }

    fn take_from(&self, index: usize) -> Self {
        self.rest(index)
    }

    fn take_split(&self, index: usize) -> (Self, Self) {
        (self.take_from(index), self.take(index))
    }

    fn position<P: Fn(Self::Item) -> bool>(&self, predicate: P) -> Option<usize> {
        self.tokens.iter().position(predicate)
    }

    fn iter_elements(&self) -> Self::Iter {
        self.tokens.iter()
    }

    fn iter_indices(&self) -> Self::IterIndices {
        self.tokens.iter().enumerate()
    }

    fn slice_index(&self, count: usize) -> Result<usize, Needed> {
        if self.tokens.len() >= count {
            Ok(count)
        } else {
            Err(Needed::new(count - self.tokens.len()))
        }
    }
}
