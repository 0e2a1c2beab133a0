//! Decisions on stored events as explanations answer them, with what decided.

use maud::{Markup, html};
use serde_json::Value;

use crate::console::answer::Members as _;
use crate::console::components::{State as Shape, ago, marked_filter, milliseconds, values};
use crate::console::operator_api::encoded;

/// Shows decisions on one event, those that were delivered first.
pub(super) fn decision_list(decisions: &[Value]) -> Markup {
    let mut sorted: Vec<&Value> = decisions.iter().collect();
    sorted.sort_by_key(|one| decision_word(one).0 != Shape::Good);
    html! { ul.problems { @for one in sorted { li .(decision_word(one).0.class()) {
        h3 { a href={ "/subscriptions/" (encoded(one.text("subscription"))) } { (one.text("subscription")) } }
        (decision_of(one))
    } } } }
}

/// Returns how a decision is shown.
pub(super) fn decision_word(one: &Value) -> (Shape, &str) {
    let outcome = one.part("delivery").text("outcome");
    match one.text("decision") {
        "delivered" | "matched" if outcome.starts_with("dead") => {
            (Shape::Bad, "matched, but dead-lettered")
        }
        "delivered" | "matched" if outcome.starts_with("parked") => {
            (Shape::Warn, "matched, waits to be delivered")
        }
        "delivered" | "matched" => (Shape::Good, one.text("decision")),
        "waiting" => (Shape::Warn, "waits to be delivered"),
        "failed" | "error" => (Shape::Bad, one.text("decision")),
        "not delivered" if one.text("stage") == "onError" => {
            (Shape::Bad, "not delivered, the filter failed")
        }
        other => (Shape::Quiet, other),
    }
}

/// Shows a decision on an event of a subscription that the page is about.
pub(super) fn decision(event: &Value, one: &Value) -> Markup {
    html! {
        p {
            a href={ "/events/" (encoded(&format!("{}/{}", event.text("site"), event.text("event")))) } {
                strong { (event.text("entity")) } " " (event.text("type"))
            }
            " " (ago(event.text("time")))
        }
        (decision_of(one))
    }
}

fn decision_of(one: &Value) -> Markup {
    let (state, word) = decision_word(one);
    let (delivery, now) = (one.part("delivery"), one.part("now"));
    html! {
        p.actions { (state.word(word)) @if !one.text("stage").is_empty() { span.quiet { "decided by " (stage(one.text("stage"))) } } }
        @if !one.text("because").is_empty() { p { (one.text("because")) } }
        @let span = one.part("span");
        @if !span.text("source").is_empty() { (marked_filter(span.text("source"), None)) }
        (values(one.part("values")))
        @if !delivery.text("id").is_empty() { p.small {
            a href={ "/deliveries/" (encoded(delivery.text("id"))) } { "The delivery" } ": " (delivery.text("outcome"))
            @match delivery.number("attempts") { 0 => {}, 1 => ", 1 attempt", many => { ", " (many) " attempts" } }
            @if delivery.number("status") > 0 { ", answered " (delivery.number("status")) }
            @if delivery.decimal("tookMs").is_some() { " in " (milliseconds(delivery.decimal("tookMs"))) }
            @if !delivery.text("detail").is_empty() { ": " (delivery.text("detail")) }
        } }
        @if !now.text("decision").is_empty() { p.small.quiet { "With the filter of now: " (now.text("decision")) ", " (now.text("because")) } }
    }
}

/// Says what a stage looks at.
fn stage(stage: &str) -> &str {
    match stage {
        "site" => "the site",
        "registration" => "the time: it was registered later",
        "state" => "the state of the subscription",
        "event" => "the event type",
        "appIsLicensed" => "the licence",
        "ignoreSelf" => "who made the change: the app itself",
        "filter" => "the filter",
        "onError" => "what it does when its filter fails",
        "paused" => "the pause of the subscription",
        "endpoint" => "the handler",
        "dropped" => "the limits of its owner",
        "removed" => "the removal of its dead letter",
        other => other,
    }
}
