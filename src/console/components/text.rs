//! Texts of the API as a page shows them.

use maud::{Markup, html};

/// Shows a text whose parts between backticks are code.
pub(in crate::console) fn prose(text: &str) -> Markup {
    html! { @for (at, part) in text.split('`').enumerate() {
        @if at % 2 == 1 { code { (part) } } @else { (part) }
    } }
}

/// Shows a text as [`prose`], with a large first letter if its first word is one: an id stays as it is.
pub(in crate::console) fn sentence(text: &str) -> Markup {
    let first_word = text.split(' ').next().unwrap_or_default();
    let is_word = first_word.chars().all(char::is_alphabetic);
    let mut rest = text.chars();
    match rest.next() {
        Some(first) if is_word => prose(&format!("{}{}", first.to_uppercase(), rest.as_str())),
        _ => prose(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_between_backticks_are_code_and_everything_is_escaped() {
        assert_eq!(sentence("use `a < b` now").0, "Use <code>a &lt; b</code> now");
        assert_eq!(sentence("`x` is <b>").0, "<code>x</code> is &lt;b&gt;");
        assert_eq!(sentence("acme-notifier/all: it fails").0, "acme-notifier/all: it fails");
        assert_eq!(sentence("").0, "");
    }
}
