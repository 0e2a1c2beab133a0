//! A whole program: parses, and repairs and parses again after a syntax error.

use nom::Parser;

use super::grammar::sequence;
use super::input::{Failure, Input, expected_error, too_deep};
use super::membership;
use super::repair::repair;
use crate::ast::Sequence;
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::{Token, TokenKind, lex};
use crate::limits::{SYNTAX_ERRORS_MAX, TREE_HEIGHT_MAX};

use crate::span::Span;

/// Parses a whole program.
///
/// # Errors
/// All syntax errors in source order, or the limit that the source exceeds.
pub(crate) fn parse(source: &str) -> Result<Sequence, Vec<Diagnostic>> {
    let lexed = lex(source);
    let (mut tokens, mut errors) = (lexed.tokens, lexed.errors);
    if !lexed.is_complete {
        return Err(errors);
    }
    let mut reached = None;
    loop {
        let failure = match program(&tokens) {
            Ok(program) if errors.is_empty() => return Ok(program),
            Ok(_) => break,
            Err(failure) => failure,
        };
        let at = failure.span().start;
        // An error at or before the last one is caused by the repair.
        if reached.is_some_and(|reached| at <= reached) {
            if let Some(last) = errors.last_mut() {
                last.is_fatal = true;
            }
            break;
        }
        reached = Some(at);
        let mut error = failure.to_diagnostic(&tokens);
        membership::advise(&mut error, &tokens, source);
        let is_repaired = repair(&mut tokens, &failure);
        error.is_fatal = !is_repaired && error.code != Code::Empty;
        errors.push(error);
        if !is_repaired || errors.len() >= SYNTAX_ERRORS_MAX {
            break;
        }
    }
    errors.sort_by_key(|error| error.span.start);
    Err(errors)
}

fn program(tokens: &[Token<'_>]) -> Result<Sequence, Failure> {
    let input = Input::new(tokens);
    if matches!(input.first().kind, TokenKind::End) {
        let empty = Diagnostic::error(Code::Empty, input.first().span, "the expression is empty")
            .with_help("a filter is an expression such as `event.issue.key == 'ABC-1'`");
        return Err(Failure::Fatal(Box::new(empty)));
    }
    let (rest, program) = sequence.parse(input).map_err(failure)?;
    if !matches!(rest.first().kind, TokenKind::End) {
        return Err(failure(expected_error(rest, "the end of the expression")));
    }
    if program.height > TREE_HEIGHT_MAX {
        let span = tokens.first().map_or(rest.first().span, |token| token.span);
        return Err(Failure::Fatal(Box::new(too_deep(span))));
    }
    Ok(program)
}

fn failure(error: nom::Err<Failure>) -> Failure {
    match error {
        nom::Err::Error(failure) | nom::Err::Failure(failure) => failure,
        // Tokens are complete input; nom returns `Incomplete` only for streams.
        nom::Err::Incomplete(_) => {
            let early = Diagnostic::error(Code::Expected, Span::NONE, "the expression ends early");
            Failure::Fatal(Box::new(early))
        }
    }
}
