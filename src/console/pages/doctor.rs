//! `/doctor`: what is wrong with the broker and this router, and what to do.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use super::problems::findings;
use crate::console::answer::{Members as _, plain};
use crate::console::components::{State as Shape, facts, notice, severity};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::ApiPath;
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/doctor", get(show))
}

async fn show(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    let path = ApiPath::of("doctor");
    let page = Page::new("Doctor", Part::Doctor).from(&path, "switchyard doctor");
    let answer = console.get(&visitor, &path).await;
    shown(&visitor, page, answer.map(|answer| content(&answer)))
}

fn content(answer: &Value) -> Markup {
    let found = answer.list("findings");
    html! {
        @if found.is_empty() { (notice(Shape::Good, &html! { p { strong { "Nothing is wrong." } " Broker, streams, clock, disk and settings were checked just now." } })) }
        (findings(found))
        section aria-labelledby="checks" {
            h2 id="checks" { "Checked" }
            ul.actions { @for check in answer.list("checks") { li { (severity(check.text("status")).word(check.text("check"))) } } }
        }
        section aria-labelledby="broker" {
            h2 id="broker" { "Broker" }
            (facts(answer.entries("broker").into_iter().map(|(name, value)| (name, html! { (plain(value)) })).collect()))
        }
    }
}
