//! Problems as sentences, each with links to what it speaks of.

use maud::{Markup, html};
use serde_json::Value;

use crate::console::answer::Members as _;
use crate::console::components::{State, prose, sentence, severity};
use crate::console::operator_api::encoded;

/// Shows problems, or findings of the doctor, the worst first.
pub(super) fn findings(found: &[Value]) -> Markup {
    let mut sorted: Vec<&Value> = found.iter().collect();
    sorted.sort_by_key(|one| match severity(severity_of(one)) {
        State::Bad => 0,
        State::Warn => 1,
        _ => 2,
    });
    html! {
        ul.problems { @for one in sorted {
            @let state = severity(severity_of(one));
            li .(state.class()) {
                p { (state.word(severity_of(one))) " " strong { (sentence(text(one))) } }
                @if !one.text("fix").is_empty() { p { "Next: " (prose(one.text("fix"))) } }
                (subjects(one.list("subjects")))
            }
        } }
    }
}

/// Returns the severity; a problem of the registry has none, and is a warning.
fn severity_of(one: &Value) -> &str {
    match one.text("severity") {
        "" => "warning",
        severity => severity,
    }
}

/// Returns what is wrong: `message` of a finding, `reason` of a problem.
fn text(one: &Value) -> &str {
    match one.text("message") {
        "" => one.text("reason"),
        message => message,
    }
}

/// Links what a problem is about.
pub(super) fn subjects(found: &[Value]) -> Markup {
    html! {
        @if !found.is_empty() {
            p.actions { @for subject in found { @if let Some((name, path)) = link(subject) {
                a href=(path) { (name) }
            } } }
        }
    }
}

fn link(subject: &Value) -> Option<(String, String)> {
    let id = subject.text("id");
    let of = |folder: &str| Some((id.to_owned(), format!("/{folder}/{}", encoded(id))));
    match subject.text("kind") {
        "subscription" => of("subscriptions"),
        "installation" => of("installations"),
        "endpoint" => of("endpoints"),
        "site" => of("sites"),
        "webhook" => Some((id.to_owned(), format!("/installations?q={}", encoded(id)))),
        "stream" | "broker" => Some((format!("the broker: {id}"), "/doctor".to_owned())),
        _ => None,
    }
}
