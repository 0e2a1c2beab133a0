//! The lexer: source to tokens, with nom. Templates become text and placeholder tokens in the same
//! flat list, so the lexer never recurses.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_until, take_while, take_while1};
use nom::character::complete::{digit1, one_of, satisfy};
use nom::combinator::{map, opt, recognize, value};
use nom::sequence::{pair, preceded, terminated};
use nom::{IResult, Parser};

use crate::diagnostic::{Code, Diagnostic};
use crate::limits::{SOURCE_CHARS_MAX, SYNTAX_ERRORS_MAX, TRANSLATED_CHARS_MAX};
use crate::span::{Span, slice};

/// A token and its span.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Token<'s> {
    pub(crate) kind: TokenKind<'s>,
    pub(crate) span: Span,
}

/// The kind of a token.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum TokenKind<'s> {
    /// A decimal number.
    Number(f64),
    /// A quoted string, with escapes resolved.
    String(Box<str>),
    /// A name or a reserved word.
    Word(&'s str),
    /// An operator or bracket.
    Punct(&'static str),
    /// The opening backtick of a template.
    TemplateStart,
    /// Text between placeholders, with escapes resolved.
    TemplateText(Box<str>),
    /// `${`
    PlaceholderStart,
    /// The `}` that closes a placeholder.
    PlaceholderEnd,
    /// The closing backtick.
    TemplateEnd,
    /// The end of the source.
    End,
}

/// Operators that share a prefix with others, longest first, so that `?.` wins over `?`.
const PUNCTUATION: [&str; 21] = [
    "=>", "==", "!=", "<=", ">=", "&&", "||", "??", "?.", "?", ".", "!", "<", ">", "+", "-", "*",
    "/", "%", "=", "#",
];

/// JavaScript operators that the language does not have, with the help text.
const FOREIGN: [(&str, Option<&str>); 25] = [
    ("===", Some("write `==`: it never converts between types")),
    ("!==", Some("write `!=`: it never converts between types")),
    ("...", None),
    ("**", None),
    ("++", None),
    ("--", None),
    ("+=", Some(NO_ASSIGNMENT)),
    ("-=", Some(NO_ASSIGNMENT)),
    ("*=", Some(NO_ASSIGNMENT)),
    ("/=", Some(NO_ASSIGNMENT)),
    ("%=", Some(NO_ASSIGNMENT)),
    ("<<", None),
    (">>", None),
    ("&&=", Some(NO_ASSIGNMENT)),
    ("||=", Some(NO_ASSIGNMENT)),
    ("??=", Some(NO_ASSIGNMENT)),
    ("?.(", Some("call without `?.`")),
    ("&=", Some(NO_ASSIGNMENT)),
    ("|=", Some(NO_ASSIGNMENT)),
    ("^=", Some(NO_ASSIGNMENT)),
    ("&", Some("write `&&`")),
    ("|", Some("write `||`")),
    ("^", None),
    ("~", Some("write `text.includes('...')`")),
    ("!~", Some("write `!text.includes('...')`")),
];

const NO_ASSIGNMENT: &str = "values never change; declare a new name: `let y = ...;`";

/// The tokens of a source, and its lexical errors.
#[derive(Debug)]
pub(crate) struct Lexed<'s> {
    /// The last token is [`TokenKind::End`]. At a lexical error the token that was probably
    /// intended is inserted.
    pub(crate) tokens: Vec<Token<'s>>,
    /// In source order.
    pub(crate) errors: Vec<Diagnostic>,
    /// Whether the tokens can be parsed in spite of the errors.
    pub(crate) is_complete: bool,
}

/// Requires that a source is not longer than what authors may write.
///
/// # Errors
/// It is longer than [`SOURCE_CHARS_MAX`].
pub(crate) fn check_length(source: &str) -> Result<(), Diagnostic> {
    length_within(source, SOURCE_CHARS_MAX)
}

fn length_within(source: &str, max: usize) -> Result<(), Diagnostic> {
    // No text has more characters than bytes.
    if source.len() <= max {
        return Ok(());
    }
    let length = source.chars().count();
    if length <= max {
        return Ok(());
    }
    let message = format!("{} of {} characters", grouped(length), grouped(max));
    Err(Diagnostic::error(Code::TooLong, Span::new(0, 0), message)
        .with_help("move long lists into an entity property"))
}

/// Splits `source` into tokens. A source longer than [`TRANSLATED_CHARS_MAX`] yields no tokens.
pub(crate) fn lex(source: &str) -> Lexed<'_> {
    if let Err(error) = length_within(source, TRANSLATED_CHARS_MAX) {
        return Lexed { tokens: Vec::new(), errors: vec![error], is_complete: false };
    }
    let mut lexer = Lexer { source, rest: source, tokens: Vec::new(), braces: Vec::new() };
    let mut errors = Vec::new();
    let mut is_complete = true;
    while let Err(mut error) = lexer.run() {
        is_complete = errors.len() < SYNTAX_ERRORS_MAX && lexer.recover(&error);
        error.is_fatal = !is_complete;
        errors.push(error);
        if !is_complete {
            break;
        }
    }
    let end = Span::new(source.len(), source.len());
    lexer.tokens.push(Token { kind: TokenKind::End, span: end });
    Lexed { tokens: lexer.tokens, errors, is_complete }
}

/// The construct that opened a brace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brace {
    Plain,
    Placeholder,
}

struct Lexer<'s> {
    source: &'s str,
    rest: &'s str,
    tokens: Vec<Token<'s>>,
    /// Open braces, innermost last. They decide whether `}` ends a placeholder.
    braces: Vec<Brace>,
}

type LexResult<'s, T> = IResult<&'s str, T, ()>;

impl<'s> Lexer<'s> {
    /// Reads tokens up to the end or the next lexical error.
    fn run(&mut self) -> Result<(), Diagnostic> {
        while self.skip_blank()? {
            self.token()?;
        }
        if self.braces.contains(&Brace::Placeholder) {
            self.braces.clear();
            let end = Span::new(self.source.len(), self.source.len());
            return Err(unterminated(end, "the template", '`'));
        }
        Ok(())
    }

    /// Skips a lexical error and inserts the token that was probably intended. Returns false if the
    /// rest would be misread.
    fn recover(&mut self, error: &Diagnostic) -> bool {
        let wrong = error.span.text(self.source);
        let rest = slice(self.source, error.span.end as usize..);
        match error.code {
            Code::BadNumber => self.push(TokenKind::Number(0.0), rest),
            Code::ForeignOperator => match suggested_operator(wrong) {
                Some(sign) => self.push(TokenKind::Punct(sign), rest),
                // Two operands need an operator between them.
                None if !self.expects_operand() && !matches!(wrong, "++" | "--") => {
                    self.push(TokenKind::Punct("=="), rest);
                }
                None => self.rest = rest,
            },
            // A `#` comment of another language ends with its line.
            Code::BadCharacter if wrong == "#" => {
                self.rest = rest.find('\n').and_then(|at| rest.get(at..)).unwrap_or_default();
            }
            Code::BadCharacter => self.rest = rest,
            Code::ForeignWord => self.push(TokenKind::String("".into()), rest),
            _ => return false,
        }
        true
    }

    fn offset(&self) -> usize {
        self.source.len() - self.rest.len()
    }

    /// Skips white space and comments; returns false at the end of the source.
    fn skip_blank(&mut self) -> Result<bool, Diagnostic> {
        loop {
            let blank: LexResult<'s, &str> = take_while(is_blank)(self.rest);
            if let Ok((rest, _)) = blank {
                self.rest = rest;
            }
            match comment(self.rest) {
                Ok((rest, _)) => self.rest = rest,
                Err(_) if self.rest.starts_with("/*") => {
                    let span = Span::new(self.offset(), self.offset() + 2);
                    return Err(Diagnostic::error(
                        Code::Unterminated,
                        span,
                        "the comment does not end",
                    )
                    .labelled("starts here")
                    .with_help("close it with `*/`"));
                }
                Err(_) => return Ok(!self.rest.is_empty()),
            }
        }
    }

    fn push(&mut self, kind: TokenKind<'s>, rest: &'s str) {
        let start = self.offset();
        self.rest = rest;
        self.tokens.push(Token { kind, span: Span::new(start, self.offset()) });
    }

    fn token(&mut self) -> Result<(), Diagnostic> {
        if let Ok((rest, word)) = word(self.rest) {
            self.push(TokenKind::Word(word), rest);
            return Ok(());
        }
        if let Ok((rest, digits)) = number(self.rest) {
            return self.number(rest, digits);
        }
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => self.string(quote),
            Some('`') => {
                self.push(TokenKind::TemplateStart, slice(self.rest, 1..));
                self.template_text()
            }
            Some('}') if self.braces.last() == Some(&Brace::Placeholder) => {
                self.braces.pop();
                self.push(TokenKind::PlaceholderEnd, slice(self.rest, 1..));
                self.template_text()
            }
            _ => self.sign(),
        }
    }

    fn number(&mut self, rest: &'s str, digits: &'s str) -> Result<(), Diagnostic> {
        let octal = digits.len() > 1
            && digits.starts_with('0')
            && digits.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
        let glued = rest.chars().next().is_some_and(is_word_start);
        match digits.parse() {
            Ok(number) if !octal && !glued => {
                self.push(TokenKind::Number(number), rest);
                Ok(())
            }
            _ => {
                let tail = rest.len() - rest.trim_start_matches(is_word_rest).len();
                let start = self.offset();
                let span = Span::new(start, start + digits.len() + tail);
                let message =
                    format!("`{}` is not a number of the language", span.text(self.source));
                Err(Diagnostic::error(Code::BadNumber, span, message)
                    .with_help("write decimal digits, such as `255` or `0.5`"))
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<(), Diagnostic> {
        let body = slice(self.rest, 1..);
        let mut unescaped = String::new();
        let mut chars = body;
        loop {
            let plain: LexResult<'s, &str> =
                take_till(|c| c == quote || c == '\\' || c == '\n' || c == '\r')(chars);
            if let Ok((rest, text)) = plain {
                unescaped.push_str(text);
                chars = rest;
            }
            match chars.chars().next() {
                Some('\\') => chars = unescape(chars, &mut unescaped, &[]),
                Some(c) if c == quote => {
                    let rest = slice(chars, 1..);
                    self.push(TokenKind::String(unescaped.into()), rest);
                    return Ok(());
                }
                _ => {
                    let start = self.offset();
                    let span = Span::new(start, start + 1);
                    return Err(unterminated(span, "the string", quote));
                }
            }
        }
    }

    /// Reads template text up to the next placeholder or the end of the template.
    fn template_text(&mut self) -> Result<(), Diagnostic> {
        let mut text = String::new();
        let mut chars = self.rest;
        loop {
            let plain: LexResult<'s, &str> = take_till(|c| matches!(c, '`' | '\\' | '$'))(chars);
            if let Ok((rest, plain)) = plain {
                text.push_str(plain);
                chars = rest;
            }
            let at_end = if chars.starts_with("${") {
                false
            } else if chars.starts_with('`') {
                true
            } else if chars.starts_with('$') {
                text.push('$');
                chars = slice(chars, 1..);
                continue;
            } else if chars.starts_with('\\') {
                chars = unescape(chars, &mut text, &['`', '$']);
                continue;
            } else {
                let start = self.offset();
                return Err(unterminated(Span::new(start, start), "the template", '`'));
            };
            if !text.is_empty() {
                self.push(TokenKind::TemplateText(text.into()), chars);
            }
            if at_end {
                self.push(TokenKind::TemplateEnd, slice(chars, 1..));
            } else {
                self.braces.push(Brace::Placeholder);
                self.push(TokenKind::PlaceholderStart, slice(chars, 2..));
            }
            return Ok(());
        }
    }

    fn sign(&mut self) -> Result<(), Diagnostic> {
        if let Some(sign) = single_char_punct(self.rest) {
            match sign {
                "{" => self.braces.push(Brace::Plain),
                "}" => drop(self.braces.pop()),
                _ => {}
            }
            self.push(TokenKind::Punct(sign), slice(self.rest, 1..));
            return Ok(());
        }
        if let Some(diagnostic) = self.pattern_literal().or_else(|| self.foreign()) {
            return Err(diagnostic);
        }
        let rest = self.rest;
        let Some(sign) = PUNCTUATION.iter().copied().find(|sign| starts_with_sign(rest, sign))
        else {
            return Err(self.bad_character());
        };
        if sign == "#" {
            return Err(self.bad_character());
        }
        self.push(TokenKind::Punct(sign), slice(rest, sign.len()..));
        Ok(())
    }

    /// A JavaScript regular expression literal. Where an operand is expected, `/` cannot be a
    /// division.
    fn pattern_literal(&self) -> Option<Diagnostic> {
        let inside = self.rest.strip_prefix('/').filter(|_| self.expects_operand())?;
        let mut escaped = false;
        let length = inside.find(|c| {
            let ends = matches!(c, '/' | '\n') && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        let (pattern, after) = inside.split_at(length);
        let flags = after.strip_prefix('/')?;
        let flags = flags.len() - flags.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let end = self.offset() + length + 2 + flags;
        let message = "regular expressions between slashes are not part of the language";
        let found = Diagnostic::error(Code::ForeignWord, Span::new(self.offset(), end), message)
            .with_help("a pattern is a text");
        let is_plain = flags == 0 && !pattern.contains(['\'', '/']);
        Some(if is_plain { found.replaced_by(format!("'{pattern}'")) } else { found })
    }

    /// A JavaScript operator at this position, unless it can be read as valid tokens.
    fn foreign(&self) -> Option<Diagnostic> {
        let longest = PUNCTUATION.iter().find(|sign| starts_with_sign(self.rest, sign));
        let (sign, help) = FOREIGN
            .iter()
            .filter(|(sign, _)| self.rest.starts_with(sign))
            .max_by_key(|(sign, _)| sign.len())?;
        if longest.is_some_and(|longest| longest.len() >= sign.len()) {
            return None;
        }
        // `- -x` may be written without the space; `a--` may not.
        if *sign == "--" && self.expects_operand() {
            return None;
        }
        let span = Span::new(self.offset(), self.offset() + sign.len());
        let message = format!("`{sign}` is not an operator of the language");
        let diagnostic = Diagnostic::error(Code::ForeignOperator, span, message);
        Some(match (help, suggested_operator(sign)) {
            (Some(help), Some(meant)) if *help != NO_ASSIGNMENT => {
                diagnostic.with_help(*help).replaced_by(meant)
            }
            (Some(help), _) => diagnostic.with_help(*help),
            (None, _) => diagnostic,
        })
    }

    /// Whether an operand must follow the tokens read so far.
    fn expects_operand(&self) -> bool {
        let mut before = self.tokens.iter().rev().map(|token| &token.kind);
        match before.next() {
            None | Some(TokenKind::PlaceholderStart) => true,
            Some(TokenKind::Punct(sign)) => !matches!(*sign, ")" | "]" | "}"),
            // After a dot any word is a member name.
            Some(TokenKind::Word("return" | "throw" | "typeof")) => {
                !matches!(before.next(), Some(TokenKind::Punct("." | "?.")))
            }
            Some(_) => false,
        }
    }

    fn bad_character(&self) -> Diagnostic {
        let found = self.rest.chars().next();
        debug_assert!(found.is_some(), "the lexer stops at the end");
        let found = found.unwrap_or_default();
        let span = Span::new(self.offset(), self.offset() + found.len_utf8());
        let message = format!("`{found}` has no meaning here");
        let diagnostic = Diagnostic::error(Code::BadCharacter, span, message);
        match found {
            '#' => diagnostic.with_help("a comment starts with `//`"),
            '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => {
                diagnostic.with_help("use straight quotes: `'` or `\"`")
            }
            _ => diagnostic,
        }
    }
}

/// A one-character sign that is not the prefix of an operator.
fn single_char_punct(rest: &str) -> Option<&'static str> {
    Some(match rest.as_bytes().first()? {
        b'(' => "(",
        b')' => ")",
        b'[' => "[",
        b']' => "]",
        b'{' => "{",
        b'}' => "}",
        b',' => ",",
        b';' => ";",
        b':' => ":",
        _ => return None,
    })
}

/// The operator that was probably intended by a foreign one.
fn suggested_operator(sign: &str) -> Option<&'static str> {
    Some(match sign {
        "===" => "==",
        "!==" => "!=",
        "&" => "&&",
        "|" => "||",
        "**" => "*",
        "?.(" => "(",
        "+=" | "-=" | "*=" | "/=" | "%=" | "&&=" | "||=" | "??=" | "&=" | "|=" | "^=" => "==",
        _ => return None,
    })
}

fn unterminated(span: Span, what: &str, quote: char) -> Diagnostic {
    Diagnostic::error(Code::Unterminated, span, format!("{what} does not end"))
        .labelled("starts here")
        .with_help(match quote {
            '`' => "close it with a backtick".to_owned(),
            quote => format!("close it with `{quote}`"),
        })
}

/// `?.` before a digit is a `?` and a number such as `.5`, as in JavaScript.
fn starts_with_sign(rest: &str, sign: &str) -> bool {
    rest.strip_prefix(sign)
        .is_some_and(|after| sign != "?." || !after.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{a0}' | '\u{feff}')
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

fn is_word_rest(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn word(input: &str) -> LexResult<'_, &str> {
    recognize(pair(satisfy(is_word_start), take_while(is_word_rest))).parse(input)
}

fn number(input: &str) -> LexResult<'_, &str> {
    let exponent = || opt((one_of("eE"), opt(one_of("+-")), digit1));
    recognize(alt((
        value((), (digit1, opt(pair(tag("."), digit1)), exponent())),
        value((), (tag("."), digit1, exponent())),
    )))
    .parse(input)
}

fn comment(input: &str) -> LexResult<'_, &str> {
    alt((
        preceded(tag("//"), take_till(|c| c == '\n' || c == '\r')),
        preceded(tag("/*"), terminated(take_until("*/"), tag("*/"))),
    ))
    .parse(input)
}

/// Resolves the escape at the start of `input`. An unknown escape is kept with its backslash, so
/// that `'\d+'` reaches the regular expression engine.
fn unescape<'s>(input: &'s str, out: &mut String, quotable: &[char]) -> &'s str {
    let simple = |input: &'s str| -> LexResult<'s, char> {
        preceded(
            tag("\\"),
            alt((
                value('\n', tag("n")),
                value('\r', tag("r")),
                value('\t', tag("t")),
                value('\u{8}', tag("b")),
                value('\u{c}', tag("f")),
                satisfy(|c| matches!(c, '\\' | '\'' | '"') || quotable.contains(&c)),
            )),
        )
        .parse(input)
    };
    if let Ok((rest, c)) = alt((simple, unicode_escape)).parse(input) {
        out.push(c);
        return rest;
    }
    out.push('\\');
    slice(input, 1..)
}

/// `\uXXXX`, or two of them that form one character. A lone surrogate cannot be represented in
/// UTF-8 and becomes U+FFFD.
fn unicode_escape(input: &str) -> LexResult<'_, char> {
    let (rest, first) = unicode_unit(input)?;
    if let Ok((after, second)) = unicode_unit(rest)
        && let Some(Ok(c)) = char::decode_utf16([first, second]).next()
        && c.len_utf16() == 2
    {
        return Ok((after, c));
    }
    Ok((rest, char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER)))
}

fn unicode_unit(input: &str) -> LexResult<'_, u16> {
    let digits = take_while1(|c: char| c.is_ascii_hexdigit());
    let (rest, digits) = preceded(tag("\\u"), map(digits, |d: &str| d)).parse(input)?;
    let unit = digits.get(..4).and_then(|d| u16::from_str_radix(d, 16).ok());
    let rest_start = input.len() - rest.len() - digits.len() + 4;
    match (unit, input.get(rest_start..)) {
        (Some(unit), Some(rest)) => Ok((rest, unit)),
        _ => Err(nom::Err::Error(())),
    }
}

/// Formats `10412` as `10,412`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
