//! Parses a query, with nom for the tokens and recursive descent for the operators.

use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, tag_no_case, take_while1};
use nom::character::complete::{anychar, char, multispace0, satisfy};
use nom::combinator::{map, not, opt, peek, recognize, value};
use nom::multi::fold_many0;
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::query::{
    Clause, QueryField, QueryResult, QueryTree, QueryValue, unsupported, unsupported_function,
    wrong,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::limits::{NESTING_MAX, SOURCE_CHARS_MAX};
use crate::span::{Span, slice};

/// Parses a query; none if it is blank.
pub(super) fn parse(query: &str) -> QueryResult<Option<QueryTree>> {
    let length = query.chars().count();
    if length > SOURCE_CHARS_MAX {
        let message = format!("{length} of {SOURCE_CHARS_MAX} characters");
        let span = Span::new(0, 0);
        return Err(Box::new(Diagnostic::error(Code::TooLong, span, message)));
    }
    let mut parser = QueryParser { query, rest: query.trim_start(), depth: 0 };
    if parser.rest.is_empty() {
        return Ok(None);
    }
    let tree = parser.any()?;
    if !parser.rest.is_empty() {
        let start = parser.offset();
        if parser.word("order") {
            return Err(unsupported("ORDER BY", Span::new(start, parser.here().end as usize)));
        }
        return Err(parser.expected("AND, OR or the end"));
    }
    Ok(Some(tree))
}

struct QueryParser<'q> {
    query: &'q str,
    rest: &'q str,
    depth: usize,
}

type ParseResult<'q, T> = IResult<&'q str, T, ()>;

impl<'q> QueryParser<'q> {
    fn offset(&self) -> usize {
        self.query.len() - self.rest.len()
    }

    /// The span of the next word.
    fn here(&self) -> Span {
        let start = self.offset();
        let length = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        Span::new(start, start + length)
    }

    fn expected(&self, what: &str) -> Box<Diagnostic> {
        let found = self.here().text(self.query);
        let found = if found.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
        wrong(self.here(), format!("expected {what}, found {found}"))
    }

    /// Consumes what `parser` matches, and the white space after it.
    fn take<T>(&mut self, parser: impl Fn(&'q str) -> ParseResult<'q, T>) -> Option<T> {
        let (rest, found) = terminated(parser, multispace0).parse(self.rest).ok()?;
        self.rest = rest;
        Some(found)
    }

    fn sign(&mut self, sign: &'static str) -> bool {
        self.take(|rest| tag(sign)(rest)).is_some()
    }

    fn word(&mut self, word: &'static str) -> bool {
        self.take(|rest| keyword(word, rest)).is_some()
    }

    /// `and ("OR" and)*`
    fn any(&mut self) -> QueryResult<QueryTree> {
        let mut trees = vec![self.all()?];
        while self.word("or") || self.sign("||") || self.sign("|") {
            trees.push(self.all()?);
        }
        Ok(if trees.len() == 1 { trees.remove(0) } else { QueryTree::Or(trees) })
    }

    /// `not ("AND" not)*`
    fn all(&mut self) -> QueryResult<QueryTree> {
        let mut trees = vec![self.negation()?];
        while self.word("and") || self.sign("&&") || self.sign("&") {
            trees.push(self.negation()?);
        }
        Ok(if trees.len() == 1 { trees.remove(0) } else { QueryTree::And(trees) })
    }

    fn negation(&mut self) -> QueryResult<QueryTree> {
        if self.depth >= NESTING_MAX {
            let message = format!("the query nests deeper than {NESTING_MAX} levels");
            return Err(Box::new(Diagnostic::error(Code::TooDeep, self.here(), message)));
        }
        self.depth += 1;
        let tree = if self.word("not") || self.sign("!") {
            QueryTree::Not(Box::new(self.negation()?))
        } else if self.sign("(") {
            let tree = self.any()?;
            if !self.sign(")") {
                return Err(self.expected("`)`"));
            }
            tree
        } else {
            QueryTree::Clause(self.clause()?)
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn clause(&mut self) -> QueryResult<Clause> {
        let (field, written, span) = self.field()?;
        let (is_negated, is_list) = if self.sign("!=") {
            (true, false)
        } else if self.sign("=") {
            (false, false)
        } else if self.word("in") {
            (false, true)
        } else if self.word("not") {
            if !self.word("in") {
                return Err(self.expected("IN"));
            }
            (true, true)
        } else {
            return Err(self.operator(written));
        };
        let values = if is_list { self.operands(written)? } else { vec![self.operand(written)?] };
        Ok(Clause { field, name: written.into(), span, is_negated, is_list, values })
    }

    /// A supported field, with its text.
    fn field(&mut self) -> QueryResult<(QueryField, &'q str, Span)> {
        let start = self.offset();
        let ((name, key), path) = self.take(field).ok_or_else(|| self.expected("a field"))?;
        let written = slice(self.query, start..self.offset()).trim_end();
        let span = Span::new(start, start + written.len());
        if self.rest.starts_with('(') {
            return Err(unsupported_function(written, span));
        }
        let supported = QueryField::of(&name, key.as_deref(), path);
        Ok((supported.ok_or_else(|| unsupported(written, span))?, written, span))
    }

    /// The error of a missing or unsupported operator.
    ///
    /// **Source:** answers of Jira to dynamic webhooks, such as `Operator is not is unsupported`.
    fn operator(&mut self, field: &str) -> Box<Diagnostic> {
        let found = self.here();
        let mut found = Span { end: found.start + operator_length(self.rest), ..found };
        if found.text(self.query).is_empty() {
            return self.expected("=, !=, IN or NOT IN");
        }
        let mut instead = "webhooks support =, !=, IN and NOT IN".to_owned();
        if self.word("is") {
            let not = self.here();
            let sign = if self.word("not") {
                found.end = not.end;
                "!="
            } else {
                "="
            };
            instead = format!("{instead}; write `{field} {sign} EMPTY`");
        }
        let words: Vec<&str> = found.text(self.query).split_whitespace().collect();
        let message = format!("Operator {} is unsupported", words.join(" ").to_lowercase());
        Box::new(Diagnostic::error(Code::UnsupportedClause, found, message).with_help(instead))
    }

    fn operands(&mut self, field: &str) -> QueryResult<Vec<QueryValue>> {
        if !self.sign("(") {
            let start = self.offset();
            if let Some(name) = self.take(bare).filter(|_| self.rest.starts_with('(')) {
                return Err(unsupported_function(name, Span::new(start, start + name.len())));
            }
            self.rest = slice(self.query, start..self.query.len());
            return Err(self.expected("`(`"));
        }
        let mut operands = vec![self.operand(field)?];
        while self.sign(",") {
            operands.push(self.operand(field)?);
        }
        if !self.sign(")") {
            return Err(self.expected("`)`"));
        }
        Ok(operands)
    }

    fn operand(&mut self, field: &str) -> QueryResult<QueryValue> {
        let start = self.offset();
        if let Some(text) = self.take(string) {
            return Ok(QueryValue::Text(text));
        }
        let word = self.take(bare).ok_or_else(|| self.expected(&format!("a value of {field}")))?;
        if self.rest.starts_with('(') {
            return Err(unsupported_function(word, Span::new(start, start + word.len())));
        }
        let is_empty = word.eq_ignore_ascii_case("empty") || word.eq_ignore_ascii_case("null");
        Ok(if is_empty { QueryValue::Empty } else { QueryValue::Text(word.to_owned()) })
    }
}

/// Length in bytes of an operator or word.
fn operator_length(rest: &str) -> u32 {
    let sign = rest.find(|c: char| !matches!(c, '<' | '>' | '~' | '!' | '=')).unwrap_or(rest.len());
    let length = if sign > 0 { sign } else { rest.find(char::is_whitespace).unwrap_or(rest.len()) };
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Bare words end at white space, operators, brackets and quotes.
pub(super) fn is_word(c: char) -> bool {
    !c.is_whitespace() && !"=!<>~&|()[],\"'".contains(c)
}

fn bare(input: &str) -> ParseResult<'_, &str> {
    take_while1(is_word)(input)
}

fn keyword<'q>(word: &'static str, input: &'q str) -> ParseResult<'q, ()> {
    value((), terminated(tag_no_case(word), peek(not(satisfy(is_word))))).parse(input)
}

/// `project`, `cf[10010]`, `issue.property[key].path`; names may be quoted.
fn field(input: &str) -> ParseResult<'_, ((String, Option<String>), &str)> {
    let name = alt((string, map(bare, str::to_owned)));
    let key = alt((
        terminated(string, multispace0),
        map(is_not("]"), |key: &str| key.trim_end().to_owned()),
    ));
    let key = delimited((char('['), multispace0), key, char(']'));
    let path = recognize(opt((peek(char('.')), bare)));
    (name.and(opt(key)), path).parse(input)
}

/// Text in double or single quotes; a backslash escapes the next character.
fn string(input: &str) -> ParseResult<'_, String> {
    alt((|input| in_quotes('"', input), |input| in_quotes('\'', input))).parse(input)
}

fn in_quotes(quote: char, input: &str) -> ParseResult<'_, String> {
    let plain = move |c: char| c != quote && c != '\\';
    let piece = alt((
        map(take_while1(plain), str::to_owned),
        map(preceded(char('\\'), anychar), String::from),
    ));
    let text = fold_many0(piece, String::new, |text, piece| text + &piece);
    delimited(char(quote), text, char(quote)).parse(input)
}
