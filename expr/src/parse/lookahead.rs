//! Lookahead: which production starts at a token.

use super::input::Input;
use super::terminals::name;
use crate::lex::TokenKind;

/// `let`, or a name followed by a single `=`.
pub(super) fn starts_declaration(input: Input<'_, '_>) -> bool {
    input.is_word("let") || (name(input).is_ok() && input.rest(1).is_punct("="))
}

pub(super) fn starts_link(input: Input<'_, '_>) -> bool {
    matches!(input.first().kind, TokenKind::Punct("." | "?." | "[" | "("))
}

/// Whether an arrow function starts here. Looks ahead over `name =>` or a parenthesized list of
/// names, never over an expression.
pub(super) fn starts_lambda(input: Input<'_, '_>) -> bool {
    let arrow_at = |at: usize| matches!(input.peek(at).kind, TokenKind::Punct("=>"));
    match input.first().kind {
        TokenKind::Word(_) => arrow_at(1),
        TokenKind::Punct("(") => {
            let mut at = 1;
            while matches!(input.peek(at).kind, TokenKind::Word(_) | TokenKind::Punct(",")) {
                at += 1;
            }
            matches!(input.peek(at).kind, TokenKind::Punct(")")) && arrow_at(at + 1)
        }
        _ => false,
    }
}

/// A `{` after an arrow opens a map if `}` or a key with `:` follows, otherwise a block.
pub(super) fn starts_map(input: Input<'_, '_>) -> bool {
    match input.peek(1).kind {
        TokenKind::Punct("}") => true,
        TokenKind::Word(_) | TokenKind::String(_) => {
            matches!(input.peek(2).kind, TokenKind::Punct(":"))
        }
        _ => false,
    }
}
