//! What the checker says about a filter.

use maud::{Markup, html};
use serde_json::Value;

use super::filter::marked_filter;
use super::notice::code_link;
use super::state::severity;
use super::text::{prose, sentence};
use crate::console::answer::Members as _;

/// Shows the diagnostics of a filter, each with the part that it is about.
pub(in crate::console) fn diagnostics(source: &str, found: &[Value]) -> Markup {
    html! {
        @if !found.is_empty() { ul.problems {
            @for one in found {
                @let state = severity(one.text("severity"));
                li .(state.class()) {
                    p { (state.word(one.text("severity"))) " " strong { (sentence(one.text("message"))) } " " small { (code_link(one.text("code"))) } }
                    (marked_filter(source, span(one)))
                @for label in one.list("labels") { @if !label.text("text").is_empty() { p.small { (prose(label.text("text"))) } } }
                    @if !one.text("help").is_empty() { p.small { "Next: " (prose(one.text("help")))
                        @if !one.text("replacement").is_empty() { ": " code { (one.text("replacement")) } }
                    } }
                }
            }
        } }
    }
}

/// Shows the warnings about a module, which have a path instead of a source.
pub(in crate::console) fn warnings(found: &[Value]) -> Markup {
    html! {
        @if !found.is_empty() { ul.problems { @for one in found { li.warn {
            p { (sentence(one.text("message"))) " " small { (code_link(one.text("code"))) } }
            @if !one.text("help").is_empty() { p.small { "Next: " (prose(one.text("help"))) } }
        } } } }
    }
}

/// Returns the marked part of an answer: offset and length in bytes.
pub(in crate::console) fn span(of: &Value) -> Option<(usize, usize)> {
    let number = |name| usize::try_from(of.number(name)).ok();
    of.get("offset")?;
    Some((number("offset")?, number("length")?))
}
