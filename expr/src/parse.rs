//! The parser: tokens to syntax tree, on nom's input types.
//!
//! There is one function for each production of the grammar in `README.md`. Infix operators are
//! read into a flat list of operands and grouped by precedence afterwards. Nesting therefore costs
//! the same few stack frames for any number of precedence levels; [`Input::nested`] bounds its
//! depth.
//!
//! After a syntax error the parser repairs the token list and parses again. One call thus reports
//! several errors, and the productions contain no recovery code.

mod expression;
mod input;
mod repair;
mod sequence;

use nom::Parser;

use crate::ast::Sequence;
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::{Token, TokenKind, lex};
use crate::limits::{SYNTAX_ERRORS_MAX, TREE_HEIGHT_MAX};
use crate::parse::input::{Failure, Input, expected_error, too_deep};
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
        let is_repaired = repair::repair(&mut tokens, &failure);
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
    let (rest, program) = sequence::sequence.parse(input).map_err(failure)?;
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

#[cfg(test)]
mod tests;
