//! Error recovery: repairs the token list at a failure, so that the next parse gets further.

use crate::diagnostic::Code;
use crate::lex::{Token, TokenKind};
use crate::parse::input::Failure;
use crate::parse::words::{is_reserved, word_operator};
use crate::span::Span;

/// Inserts, removes or replaces one token at the failure. Returns false if parsing should stop.
pub(super) fn repair(tokens: &mut Vec<Token<'_>>, failure: &Failure) -> bool {
    let span = failure.span();
    if let Failure::Fatal(diagnostic) = failure
        && diagnostic.replacement.as_deref() == Some("!=")
        && let Some(at) = tokens.iter().rposition(|token| token.span.start == span.start)
    {
        // The two words `is not`.
        tokens.remove(at);
        if let Some(not) = tokens.get_mut(at) {
            not.kind = TokenKind::Punct("!=");
        }
        return true;
    }
    let Some(at) = tokens.iter().rposition(|token| token.span == span) else { return false };
    let Some(found) = tokens.get_mut(at) else { return false };
    let what = match failure {
        Failure::Fatal(diagnostic) if diagnostic.code == Code::Assignment => {
            found.kind = TokenKind::Punct("==");
            return true;
        }
        Failure::Fatal(diagnostic) if diagnostic.code == Code::ForeignWord => {
            let TokenKind::Word(word) = found.kind else { return false };
            let Some(punct) = word_operator(word) else { return false };
            found.kind = TokenKind::Punct(punct);
            return true;
        }
        Failure::Fatal(_) => return false,
        Failure::Expected { what, .. } => *what,
    };
    let mismatch = match what {
        _ if starts_operand(&found.kind) && !what.starts_with("an expression") => {
            TokenKind::Punct("&&")
        }
        "the end of the expression" => {
            if !matches!(found.kind, TokenKind::Punct(")" | "]" | "}" | "," | ";")) {
                return false;
            }
            tokens.remove(at);
            return true;
        }
        "a member name" | "a name" => TokenKind::Word("x"),
        _ if what.starts_with("an expression") => TokenKind::Number(0.0),
        _ => match CLOSING.iter().find(|(name, _)| *name == what) {
            Some((_, punct)) => TokenKind::Punct(punct),
            None => return false,
        },
    };
    let empty = Span { start: span.start, end: span.start };
    tokens.insert(at, Token { kind: mismatch, span: empty });
    true
}

const CLOSING: [(&str, &str); 6] =
    [("`)`", ")"), ("`]`", "]"), ("`}`", "}"), ("`:`", ":"), ("`;`", ";"), ("`(`", "(")];

fn starts_operand(kind: &TokenKind<'_>) -> bool {
    match kind {
        TokenKind::Number(_) | TokenKind::String(_) | TokenKind::TemplateStart => true,
        TokenKind::Word(word) => !is_reserved(word),
        _ => false,
    }
}
