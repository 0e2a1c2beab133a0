//! What was done, what was refused, and what to do where there is nothing yet.

use maud::{Markup, html};

use super::state::State;
use super::text::{prose, sentence};
use crate::console::answer::Members as _;
use crate::console::operator_api::ApiRefusal;

/// What the page says after an action; the URL has the code only, so that no link can make a page say anything else.
const DONE: [(&str, &str); 19] = [
    ("paused", "Paused. Matches are kept and wait until you resume it."),
    ("resumed", "Resumed. What waited is delivered now."),
    ("disabled", "Disabled. Its events are matched no longer."),
    ("redelivered", "A new delivery was started. Its attempt appears below within seconds."),
    ("redriven", "The redrive was started. Its progress is below."),
    ("deleted", "Deleted."),
    ("reset", "The breaker is reset. The next delivery that is due is attempted."),
    ("enabled", "The endpoint is enabled."),
    ("tested", "The test was sent."),
    (
        "promoted",
        "The shadow filter delivers now. The filter before it is kept, and you can roll back.",
    ),
    ("rolled-back", "The filter before the promotion delivers again."),
    ("shadow-set", "The shadow filter is counted from now on. It delivers nothing."),
    ("shadow-removed", "The shadow filter was removed."),
    ("job-paused", "The job pauses after its present step."),
    ("job-resumed", "The job goes on."),
    ("job-cancelled", "The job ends after its present step."),
    ("replay-started", "The replay was started. Its progress is below."),
    ("token-removed", "The token was removed. It is refused from now on."),
    ("token-changed", "The token was changed."),
];

/// Shows what an action did; `code` is the parameter `done` of the page.
pub(in crate::console) fn done(code: &str) -> Markup {
    match DONE.iter().find(|(known, _)| *known == code) {
        Some((_, text)) => html! { div.notice.good role="status" { p { (text) } } },
        None => html! {},
    }
}

/// Shows a sentence that the reader should not miss.
pub(in crate::console) fn notice(state: State, text: &Markup) -> Markup {
    html! { div.notice .(state.class()) role="status" { (text) } }
}

/// Shows why the API refused, with the page of each code.
pub(in crate::console) fn refusal(refusal: &ApiRefusal) -> Markup {
    html! {
        div.notice.bad role="alert" {
            p { strong { (sentence(&refusal.message)) } }
            @for error in &refusal.errors {
                @if error.text("message") != refusal.message {
                    p { @if !error.text("path").is_empty() { code { (error.text("path")) } ": " } (prose(error.text("message"))) }
                }
                @if !error.text("help").is_empty() { p { "Next: " (prose(error.text("help"))) } }
                @if !error.text("code").is_empty() { p.small { (code_link(error.text("code"))) } }
            }
        }
    }
}

/// Links a code to its page.
pub(in crate::console) fn code_link(code: &str) -> Markup {
    html! { a href={ "/codes/" (code) } { (code) } }
}

/// Shows what a list would have, and how it gets its first entry.
pub(in crate::console) fn empty(text: &str, how: &Markup) -> Markup {
    html! { div.empty { p { strong { (text) } } (how) } }
}
