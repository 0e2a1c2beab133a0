//! Filters with colors, and with the deciding part marked.

use maud::{Markup, html};
use switchyard_expr::highlight::{PartKind, highlighted};

/// Shows a filter with colors.
pub(in crate::console) fn filter(text: &str) -> Markup {
    marked_filter(text, None)
}

/// Shows a filter with colors and a part marked: its offset and length in bytes.
pub(in crate::console) fn marked_filter(text: &str, marked: Option<(usize, usize)>) -> Markup {
    let marked = marked
        .map(|(offset, length)| (offset, offset.saturating_add(length).min(text.len())))
        .filter(|(start, end)| {
            start < end && text.is_char_boundary(*start) && text.is_char_boundary(*end)
        });
    html! {
        pre.filter { code {
            @match marked {
                None => (colored(text, 0, text.len())),
                Some((start, end)) => {
                    (colored(text, 0, start)) mark { (colored(text, start, end)) } (colored(text, end, text.len()))
                }
            }
        } }
    }
}

/// Shows the part of a text between two offsets, with the colors of the whole text.
fn colored(text: &str, start: usize, end: usize) -> Markup {
    let mut pieces: Vec<(&str, Option<PartKind>)> = Vec::new();
    let mut at = start;
    for (span, kind) in highlighted(text) {
        let from = (span.start as usize).clamp(at, end);
        let to = (span.end as usize).clamp(from, end);
        pieces.push((text.get(at..from).unwrap_or_default(), None));
        pieces.push((text.get(from..to).unwrap_or_default(), Some(kind)));
        at = to;
    }
    pieces.push((text.get(at..end).unwrap_or_default(), None));
    html! {
        @for (piece, kind) in pieces { @if !piece.is_empty() {
            @match kind {
                None => (piece),
                Some(PartKind::Text) => span.string { (piece) },
                Some(PartKind::Number) => span.number { (piece) },
                Some(PartKind::Reserved) => span.word { (piece) },
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(markup: &Markup) -> String {
        let without_tags = regex::Regex::new("<[^>]*>").unwrap();
        let text = without_tags.replace_all(&markup.0, "").into_owned();
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
    }

    #[test]
    fn a_filter_is_shown_whole_and_escaped_wherever_the_mark_is() {
        let source = "event.x < 3 && event.y == '<script>é' || null";
        for marked in [
            None,
            Some((0, 9)),
            Some((17, 3)),
            Some((26, 12)),
            Some((36, 1)),
            Some((40, 900)),
            Some((900, 1)),
        ] {
            let shown = marked_filter(source, marked);
            assert_eq!(text_of(&shown), source, "{marked:?}");
            assert!(!shown.0.contains("<script>"));
        }
    }
}
