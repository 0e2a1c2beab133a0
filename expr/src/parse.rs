//! Tokens to tree, with nom.
//!
//! One function a production of the grammar in `README.md`. Infix operators are read as one flat
//! row of operands and grouped by precedence afterwards, so nesting costs the same few stack
//! frames whatever the number of precedence levels; [`Input::nested`] bounds how often.

mod expression;
mod input;
mod sequence;

use nom::Parser;

use crate::ast::Sequence;
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::{TokenKind, lex};
use crate::limits::TREE_HEIGHT_MAX;
use crate::parse::input::{Failure, Input, expected, too_deep};

/// Reads a whole program.
///
/// # Errors
/// The first place where the source stops being an expression, or a limit it breaks.
pub(crate) fn parse(source: &str) -> Result<Sequence, Diagnostic> {
    let tokens = lex(source)?;
    let input = Input::new(&tokens);
    if matches!(input.first().kind, TokenKind::End) {
        return Err(Diagnostic::error(Code::Empty, input.first().span, "the expression is empty")
            .with_help("a filter is an expression such as `event.issue.key == 'ABC-1'`"));
    }
    let (rest, program) = sequence::sequence.parse(input).map_err(diagnostic)?;
    if !matches!(rest.first().kind, TokenKind::End) {
        return Err(diagnostic(expected(rest, "the end of the expression")));
    }
    if program.height > TREE_HEIGHT_MAX {
        return Err(too_deep(tokens.first().map_or(rest.first().span, |token| token.span)));
    }
    Ok(program)
}

fn diagnostic(error: nom::Err<Failure>) -> Diagnostic {
    match error {
        nom::Err::Error(failure) | nom::Err::Failure(failure) => failure.into_diagnostic(),
        // Tokens are complete input; nom asks for more only on streams.
        nom::Err::Incomplete(_) => {
            Diagnostic::error(Code::Expected, crate::span::Span::NONE, "the expression ends early")
        }
    }
}

#[cfg(test)]
mod tests;
