//! What to write instead of `a in b`, `a not in b` and `text contains b`, in the words of the source.

use super::words::is_reserved;
use crate::diagnostic::{Code, Diagnostic};
use crate::lex::{Token, TokenKind};
use crate::span::Span;

/// Longest operand that is repeated in a help text, in bytes.
const OPERAND_BYTES_MAX: usize = 120;

/// Replaces the help of a foreign operator by the equivalent call, if its operands are plain values.
pub(super) fn advise(error: &mut Diagnostic, tokens: &[Token<'_>], source: &str) {
    if error.code != Code::ForeignWord {
        return;
    }
    let start = error.span.start;
    let Some(at) = tokens.iter().position(|token| token.span.start == start) else { return };
    let word = |at: usize| match tokens.get(at).map(|token| &token.kind) {
        Some(TokenKind::Word(word)) => word.to_ascii_lowercase(),
        _ => String::new(),
    };
    let (list_is_right, is_negated, operator) = match word(at).as_str() {
        "in" => (true, false, at..at + 1),
        "not" if word(at + 1) == "in" => (true, true, at..at + 2),
        "contains" | "has" | "like" => (false, false, at..at + 1),
        _ => return,
    };
    let operands = before(tokens, operator.start).zip(behind(tokens, operator.end));
    let Some((left, right)) = operands else { return };
    let (left, right) = (left.text(source), right.text(source));
    if left.len().max(right.len()) > OPERAND_BYTES_MAX {
        return;
    }
    let (list, value) = if list_is_right { (right, left) } else { (left, right) };
    let sign = if is_negated { "!" } else { "" };
    error.help = Some(format!("write `{sign}{list}.includes({value})`").into());
}

/// The value that ends before the token at `end`: a literal, a list or a chain of members.
fn before(tokens: &[Token<'_>], end: usize) -> Option<Span> {
    let last = tokens.get(end.checked_sub(1)?)?;
    let mut start = end;
    while let Some(at) = start.checked_sub(1) {
        let after_value =
            start < end && !matches!(kind(tokens, start), TokenKind::Punct("." | "?."));
        let after_group = matches!(kind(tokens, start), TokenKind::Punct("(" | "["));
        match kind(tokens, at) {
            TokenKind::Punct("." | "?.") => start = at,
            // A name is called or indexed by the group behind it.
            TokenKind::Punct(")" | "]") if !after_value || after_group => {
                start = group_start(tokens, at)?;
            }
            TokenKind::Word(word) if !after_value || (after_group && !is_reserved(word)) => {
                start = at
            }
            TokenKind::Number(_) | TokenKind::String(_) if !after_value => start = at,
            _ => break,
        }
    }
    (start < end).then(|| tokens.get(start).map(|first| first.span.to(last.span)))?
}

/// The value that starts at the token `start`.
fn behind(tokens: &[Token<'_>], start: usize) -> Option<Span> {
    let first = tokens.get(start)?;
    let mut end = start;
    loop {
        let is_start = end == start;
        let after_dot = matches!(kind(tokens, end.saturating_sub(1)), TokenKind::Punct("." | "?."));
        match kind(tokens, end) {
            TokenKind::Punct("." | "?.") if !is_start => end += 1,
            TokenKind::Punct("(" | "[") => end = group_end(tokens, end)? + 1,
            TokenKind::Word(_) if is_start || after_dot => end += 1,
            TokenKind::Number(_) | TokenKind::String(_) if is_start => end += 1,
            _ => break,
        }
    }
    let last = tokens.get(end.checked_sub(1)?)?;
    (end > start).then(|| first.span.to(last.span))
}

/// The index of the bracket that opens the group which the token at `end` closes.
fn group_start(tokens: &[Token<'_>], end: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for at in (0..=end).rev() {
        match kind(tokens, at) {
            TokenKind::Punct(")" | "]") => depth += 1,
            TokenKind::Punct("(" | "[") => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The index of the bracket that closes the group which the token at `start` opens.
fn group_end(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for at in start..tokens.len() {
        match kind(tokens, at) {
            TokenKind::Punct("(" | "[") => depth += 1,
            TokenKind::Punct(")" | "]") => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn kind<'t, 's>(tokens: &'t [Token<'s>], at: usize) -> &'t TokenKind<'s> {
    tokens.get(at).map_or(&TokenKind::End, |token| &token.kind)
}
