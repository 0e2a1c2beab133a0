//! `/doctor`: what is wrong with the broker and this router, and what to do.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use super::problems::findings;
use crate::console::answer::Members as _;
use crate::console::components::{
    Column, State as Shape, Table, bytes, column, count, facts, notice, number_column, severity,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::ApiPath;
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

const COLUMNS: &[Column] = &[
    column("Stream", "A stream of the broker, or a key-value bucket."),
    number_column("Messages", "How many it has."),
    number_column("Size", "What they take, of the most that is allowed."),
    number_column("Copies", "Servers that have a copy."),
    column("State", "Whether it works."),
];

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
            @let broker = answer.part("broker");
            (facts(vec![
                ("Address", html! { (broker.text("address")) }),
                ("Server", html! { (broker.text("server")) }),
                ("Version", html! { (broker.text("version")) }),
                ("Stored", html! { (bytes(broker.number("storageUsed"))) }),
            ]))
            @let rows: Vec<_> = broker.list("streams").iter().map(row).collect();
            @if !rows.is_empty() { (Table { label: "Streams", columns: COLUMNS, rows }.show()) }
        }
    }
}

fn row(one: &Value) -> Vec<Markup> {
    let state = if !one.flag("exists") {
        Shape::Bad.word("missing")
    } else if one.number("replicasBehind") > 0 {
        Shape::Warn.word("copies are behind")
    } else {
        Shape::Good.word("works")
    };
    vec![
        html! { (one.text("name")) },
        html! { (count(one.number("messages"))) },
        html! { (bytes(one.number("bytes"))) @if one.number("bytesMax") > 0 { " of " (bytes(one.number("bytesMax"))) } },
        html! { (one.number("replicas")) },
        state,
    ]
}
