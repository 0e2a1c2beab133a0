//! Productions of sequences: declarations, `if`, `try`, blocks.

use nom::Parser;
use nom::combinator::opt;
use nom::sequence::delimited;

use crate::ast::{Body, Expr, Name, Sequence};
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::TokenKind;
use crate::parse::expression::{expression, name, parenthesised};
use crate::parse::input::{
    Input, Parsed, expect, expected_error, expected_of_if, fatal_error, mismatch, punct,
};

/// Words that cannot be variable names.
pub(super) fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "let"
            | "return"
            | "if"
            | "else"
            | "try"
            | "catch"
            | "throw"
            | "typeof"
            | "new"
            | "null"
            | "true"
            | "false"
    )
}

/// `sequence = (declaration ";")* "return"? body ";"?`
pub(super) fn sequence<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    let mut input = input;
    let mut declarations = Vec::new();
    while starts_declaration(input) {
        let (rest, declared) = declaration(input)?;
        declarations.push(declared);
        input = rest;
    }
    let (input, _) = opt(word("return")).parse(input)?;
    if matches!(input.first().kind, TokenKind::End | TokenKind::Punct("}"))
        && !declarations.is_empty()
    {
        return Err(expected_error(input, "an expression after the declarations"));
    }
    let (input, body) = body(input)?;
    let (input, _) = opt(punct(";")).parse(input)?;
    Ok((input, Sequence::new(declarations, body)))
}

/// `declaration = "let"? identifier "=" expression`, with its `;`.
fn declaration<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, (Name, Expr)> {
    let start = if input.is_word("let") { input.rest(1) } else { input };
    let (rest, name) = name(start).map_err(|_| expected_error(start, "a name"))?;
    if !rest.is_punct("=") {
        return Err(expected_error(rest, "`=`"));
    }
    let (rest, value) = expression(rest.rest(1))?;
    let (rest, _) = expect(";")(rest)?;
    Ok((rest, (name, value)))
}

/// `let`, or a name followed by a single `=`.
fn starts_declaration(input: Input<'_, '_>) -> bool {
    input.is_word("let") || (name(input).is_ok() && input.rest(1).is_punct("="))
}

fn body<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Body> {
    match input.first().kind {
        TokenKind::Word("if") => conditional_body(input),
        TokenKind::Word("try") => try_body(input),
        _ => {
            let (rest, value) = expression(input)?;
            Ok((rest, Body::Expr(value)))
        }
    }
}

/// `"if" "(" expression ")" block ("else" "if" ...)* "else" block`
fn conditional_body<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Body> {
    let start = input.first().span;
    let mut arms = Vec::new();
    let mut input = input;
    loop {
        let condition = input.rest(1);
        if !condition.is_punct("(") {
            return Err(expected_of_if(condition, "`(`"));
        }
        let (rest, condition) = parenthesised(condition)?;
        let (rest, then) = branch(rest)?;
        arms.push((condition, then));
        if !rest.is_word("else") {
            let message = "this `if` has no `else`, so it may have no value";
            return Err(fatal_error(
                Diagnostic::error(Code::MissingElse, start, message)
                    .with_help("write `if (...) { ... } else { ... }`"),
            ));
        }
        input = rest.rest(1);
        if !input.is_word("if") {
            let (rest, otherwise) = branch(input)?;
            return Ok((rest, Body::If { arms, otherwise: Box::new(otherwise) }));
        }
    }
}

/// A block of an `if`.
fn branch<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    if input.is_punct("{") { block(input) } else { Err(expected_of_if(input, "`{`")) }
}

/// `"try" block "catch" "(" identifier? ")" block`
fn try_body<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Body> {
    let span = input.first().span;
    let (input, attempt) = block(input.rest(1))?;
    let (input, _) = word("catch").parse(input).map_err(|_| expected_error(input, "`catch`"))?;
    let (input, error) = delimited(expect("("), opt(name), expect(")")).parse(input)?;
    let (input, handler) = block(input)?;
    let (attempt, handler) = (Box::new(attempt), Box::new(handler));
    Ok((input, Body::Try { attempt, error, handler, span }))
}

/// `block = "{" sequence "}"`
pub(super) fn block<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    input.nested(braced)
}

/// A block whose nesting level is counted by the enclosing production.
pub(super) fn braced<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Sequence> {
    let (rest, _) = expect("{")(input)?;
    let (rest, sequence) = sequence(rest)?;
    let (rest, _) = expect("}")(rest)?;
    Ok((rest, sequence))
}

fn word<'t, 's: 't>(word: &'static str) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, ()> + Clone {
    move |input| {
        if input.is_word(word) {
            Ok((input.rest(1), ()))
        } else {
            Err(mismatch(input, "a keyword"))
        }
    }
}
