//! What the parts of an expression are, for those who show it with colors.

use crate::lex::{TokenKind, lex};
use crate::parse::is_reserved;
use crate::span::Span;

/// What a part of an expression is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartKind {
    /// A quoted text, or the text of a template.
    Text,
    /// A number.
    Number,
    /// A reserved word, such as `null`.
    Reserved,
}

/// Returns the parts of `source` that have a color, in source order, without overlaps. Mistakes have none, and what
/// follows a mistake that cannot be skipped has none.
pub fn highlighted(source: &str) -> Vec<(Span, PartKind)> {
    let tokens = lex(source).tokens.into_iter();
    let parts = tokens.filter_map(|token| {
        let kind = match token.kind {
            TokenKind::Number(_) => PartKind::Number,
            TokenKind::String(_) | TokenKind::TemplateText(_) => PartKind::Text,
            TokenKind::Word(word) if is_reserved(word) => PartKind::Reserved,
            _ => return None,
        };
        Some((token.span, kind))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_numbers_and_reserved_words_are_found_where_they_are() {
        let source = "event.labels.length > 2 && event.key != null || x == 'it''s'";
        let found: Vec<_> =
            highlighted(source).into_iter().map(|(span, kind)| (span.text(source), kind)).collect();
        assert_eq!(found[..2], [("2", PartKind::Number), ("null", PartKind::Reserved)]);
        assert!(found[2..].iter().all(|(_, kind)| *kind == PartKind::Text), "{found:?}");
        assert_eq!(found[2].0, "'it'");
    }

    #[test]
    fn spans_are_in_order_and_on_character_boundaries_also_with_mistakes() {
        for source in ["", "'open", "`a ${1 + 'b'} c` = 3", "'é' === \u{1F600} 'x'", "@@ 1 'ü'"] {
            let mut end = 0;
            for (span, _) in highlighted(source) {
                assert!(
                    span.start >= end
                        && source.get(span.start as usize..span.end as usize).is_some()
                );
                end = span.end;
            }
        }
    }
}
