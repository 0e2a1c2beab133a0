//! `/audit`: every change with who made it, what was before and what came after.

use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use crate::console::answer::Members as _;
use crate::console::asked::Asked;
use crate::console::components::{
    PERIODS, State as Shape, ago, empty, facts, field, pages, search_form, select,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::ApiPath;
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

const ASKED: [&str; 4] = ["caller", "operation", "path", "since"];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/audit", get(list))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("audit-log"), &ASKED);
    let command = format!("switchyard audit ls{}", asked.flags(&ASKED));
    let page = Page::new("Audit log", Part::Audit).from(&path, command);
    let answer = console.get(&visitor, &asked.one_page(&path).with("details", "true")).await;
    shown(&visitor, page, answer.map(|answer| content(&asked, &answer)))
}

fn content(asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    let mut periods = vec![("", "all that are kept")];
    periods.extend(PERIODS);
    html! {
        (search_form("/audit", &[
            field("caller", "Who", asked.get("caller"), ""),
            field("operation", "Operation", asked.get("operation"), "pauseSubscription"),
            select("since", "Within", asked.get("since"), &periods),
        ]))
        @if items.is_empty() { (empty("No change is like this.", &html! { p.quiet { "Every change through the API, the commands and this console is recorded before it happens." } })) }
        ul.problems { @for one in items { (entry(one)) } }
        (pages(asked, "/audit", &ASKED, answer))
    }
}

fn entry(one: &Value) -> Markup {
    let status = one.number("status");
    let outcome = match one.text("outcome") {
        "" if (200..400).contains(&status) => Shape::Good.word("done"),
        "" if status == 0 => Shape::Warn.word("outcome unknown"),
        "" => Shape::Bad.word("refused"),
        "done" => Shape::Good.word("done"),
        "unknown" => Shape::Warn.word("outcome unknown"),
        other => Shape::Bad.word(other),
    };
    html! {
        li {
            div.line { strong { (one.text("caller")) } " " code { (one.text("operation")) } " " (outcome) " " (ago(one.text("time"))) }
            (facts(vec![
                ("Path", html! { code { (one.text("path")) } }),
                ("Through", html! { (one.text("via")) }),
                ("From", html! { (one.text("address")) }),
                ("Request", html! { @if !one.text("requestId").is_empty() { code { (one.text("requestId")) } } }),
            ]))
            @for (name, title) in [("before", "Before"), ("after", "After")] {
                @let value = one.part(name);
                @if !value.is_null() { details { summary { (title) } pre tabindex="0" { code { (format!("{:#}", value)) } } } }
            }
        }
    }
}
