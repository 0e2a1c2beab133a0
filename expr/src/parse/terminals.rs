//! Terminals: literals, names, keys and keywords.

use super::input::{
    Input, Parsed, expected_error, expected_of_if, fatal_error, foreign_word, mismatch,
    word_operator_error,
};
use super::words::{is_foreign, is_reserved};
use crate::ast::{Expr, ExprKind, Name};
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::TokenKind;

/// A literal or a name.
pub(super) fn leaf<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Expr> {
    let token = input.first();
    let kind = match &token.kind {
        TokenKind::Number(number) => ExprKind::Number(*number),
        TokenKind::String(text) => ExprKind::String(text.clone()),
        TokenKind::Word("null") => ExprKind::Null,
        TokenKind::Word("true") => ExprKind::Bool(true),
        TokenKind::Word("false") => ExprKind::Bool(false),
        TokenKind::Word("if") => return Err(expected_of_if(input, "an expression")),
        TokenKind::Word(word) if is_foreign(word) => {
            return Err(fatal_error(foreign_word(word, token.span)));
        }
        // Two adjacent names are never valid.
        TokenKind::Word(word)
            if word.eq_ignore_ascii_case("not")
                && matches!(input.peek(1).kind, TokenKind::Word(_)) =>
        {
            return Err(fatal_error(word_operator_error(word, "!", token.span)));
        }
        TokenKind::Word(word) if !is_reserved(word) => ExprKind::Name((*word).into()),
        TokenKind::Punct("+") => {
            return Err(fatal_error(
                Diagnostic::error(Code::ForeignOperator, token.span, "there is no unary `+`")
                    .with_help("convert text with `Number(text)`"),
            ));
        }
        _ => return Err(expected_error(input, "an expression")),
    };
    Ok((input.rest(1), Expr::new(kind, token.span)))
}

/// A name that can be declared.
pub(super) fn name<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Name> {
    match input.first().kind {
        TokenKind::Word(word) if !is_reserved(word) => {
            Ok((input.rest(1), Name { text: word.into(), span: input.first().span }))
        }
        _ => Err(mismatch(input, "a name")),
    }
}

/// Any word can be a member name, reserved or not.
pub(super) fn member_name<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Name> {
    match input.first().kind {
        TokenKind::Word(word) => {
            Ok((input.rest(1), Name { text: word.into(), span: input.first().span }))
        }
        _ => Err(expected_error(input, "a member name")),
    }
}

pub(super) fn key<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Box<str>> {
    match &input.first().kind {
        TokenKind::Word(word) => Ok((input.rest(1), (*word).into())),
        TokenKind::String(text) => Ok((input.rest(1), text.clone())),
        _ => Err(mismatch(input, "a key")),
    }
}

pub(super) fn word<'t, 's: 't>(
    word: &'static str,
) -> impl Fn(Input<'t, 's>) -> Parsed<'t, 's, ()> + Clone {
    move |input| {
        if input.is_word(word) {
            Ok((input.rest(1), ()))
        } else {
            Err(mismatch(input, "a keyword"))
        }
    }
}
