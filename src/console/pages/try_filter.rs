//! `/try`: a filter and an event, checked as you type, with the part that decided.

use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::console::answer::{Members as _, plain};
use crate::console::asked::{Asked, shell_word};
use crate::console::components::{
    State as Shape, count, diagnostics, empty, marked_filter, notice, pretty_sample, refusal,
    select, span, values,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, ApiRefusal};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;
use crate::registry::catalog;

/// What is shown first.
const FIRST: &str =
    "event.issue.fields.priority.name == 'High' &&\nevent.issue.fields.project.key == 'OPS'";

/// The sample that is shown first.
const FIRST_SAMPLE: &str = "avi:jira:created:issue";

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/try", get(show)).route("/try/check", get(check))
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let expression =
        if asked.raw("expression").is_empty() { FIRST } else { asked.raw("expression") };
    let sample = if asked.get("sample").is_empty() { FIRST_SAMPLE } else { asked.get("sample") };
    let event = match asked.raw("event") {
        "" => pretty_sample(sample),
        event => event.to_owned(),
    };
    let command = format!("switchyard test -e {} --with event.json", shell_word(expression));
    let mut page = Page::new("Try a filter", Part::TryFilter);
    page.command = command;
    let result = tried(&console, &visitor, expression, &event).await;
    let names: Vec<String> = catalog::names().collect();
    let options: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let content = html! {
        p.quiet { "The same checker and evaluator as in routing. Nothing is stored or delivered." }
        form.filters method="get" action="/try" {
            input type="hidden" name="expression" value=(expression);
            (select("sample", "Sample event", sample, &options))
            div.field { button { "Use this sample" } }
        }
        form.two method="get" action="/try" {
            div.card {
                div.field {
                    label for="expression" { "Filter" }
                    textarea id="expression" name="expression" rows="8" maxlength="10000" spellcheck="false" data-check="/try/check" { (expression) }
                }
                div.actions { button.main { "Try" } a.button href="/try" { "Start again" } }
                div id="check" aria-live="polite" { (checked(expression, &console, &visitor).await) }
            }
            div.card {
                div.field {
                    label for="event" { "Event" }
                    textarea id="event" name="event" rows="16" maxlength="30000" spellcheck="false" { (event) }
                }
            }
        }
        section aria-labelledby="result" { h2 id="result" { "Result" } (result) }
    };
    shown(&visitor, page, Ok(content))
}

/// Returns what the checker says, without a page around it.
async fn check(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Markup {
    checked(asked.raw("expression"), &console, &visitor).await
}

async fn checked(expression: &str, console: &Console, visitor: &Visitor) -> Markup {
    let path = ApiPath::of("filters:check");
    match console.post(visitor, &path, Some(&json!({"expression": expression}))).await {
        Err(refused) => refusal(&refused),
        Ok(answer) => html! {
            @if answer.flag("valid") {
                p { (Shape::Good.word("The filter is valid")) }
                @let index = answer.part("index");
                @if !index.list("keys").is_empty() {
                    p.small.quiet { "The index looks up: " @for key in index.list("keys") { code { (plain(key)) } " " } }
                } @else { p.small.quiet { "No part of it can be looked up: it is evaluated on every event of its types." } }
            } @else { p { (Shape::Bad.word("The filter has mistakes")) } }
            (diagnostics(expression, answer.list("diagnostics")))
        },
    }
}

async fn tried(console: &Console, visitor: &Visitor, expression: &str, event: &str) -> Markup {
    let event: Value = match serde_json::from_str(event) {
        Ok(event) => event,
        Err(error) => {
            return notice(Shape::Bad, &html! { p { "The event is not JSON: " (error) } });
        }
    };
    let body = json!({"expression": expression, "event": event});
    let answer: Result<Value, ApiRefusal> =
        console.post(visitor, &ApiPath::of("filters:test"), Some(&body)).await;
    match answer {
        Err(refused) => refusal(&refused),
        Ok(answer) if answer.text("verdict").is_empty() => {
            empty("Nothing to try.", &html! { p { "Correct the filter first." } })
        }
        Ok(answer) => verdict(expression, &answer),
    }
}

fn verdict(expression: &str, answer: &Value) -> Markup {
    let state = match answer.text("verdict") {
        "true" => Shape::Good.word("matches: the event would be delivered"),
        "false" => Shape::Quiet.word("does not match: the event would not be delivered"),
        _ => Shape::Bad.word("the filter fails on this event"),
    };
    let error = answer.part("error");
    html! {
        div.card {
            p { (state) }
            @if !answer.text("because").is_empty() { p { (answer.text("because")) } }
            @if !error.text("message").is_empty() { p { (error.text("message")) } }
            (marked_filter(expression, span(answer.part("span"))))
            (values(answer.part("values")))
            p.small.quiet { (count(answer.number("steps"))) " of " (count(answer.number("stepsMax"))) " steps" }
        }
    }
}
