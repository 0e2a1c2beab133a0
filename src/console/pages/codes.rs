//! `/codes/{code}`: the page of an error code, as `switchyard explain-code` prints it.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use maud::html;
use switchyard_expr::Code;

use crate::codes::CODES;
use crate::console::layout::{Page, Part};
use crate::console::state::Console;
use crate::console::visitor::Visitor;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/codes/{code}", get(show))
}

async fn show(Extension(visitor): Extension<Visitor>, Path(code): Path<String>) -> Response {
    let of_language = Code::ALL.iter().find(|known| known.to_string() == code);
    let of_language = of_language.map(|known| (known.title(), known.page()));
    let known = of_language
        .or_else(|| CODES.iter().find(|one| one.code == code).map(|one| (one.title, one.page)));
    let Some((title, page)) = known else {
        let content = html! { p { "There is no code " code { (code) } "." } p { a href="/docs/api" { "The API" } } };
        let page = Page::new("No such code", Part::Overview).show(&visitor, &content);
        return (StatusCode::NOT_FOUND, page).into_response();
    };
    let command = format!("switchyard explain-code {code}");
    let title = format!("{code}: {title}");
    let mut shown = Page::new(&title, Part::Overview);
    shown.command = command;
    let content = html! {
        p { (page.cause) }
        @if !page.example.is_empty() { pre { code { (page.example) } } }
        section { h2 { "Instead" } @if page.fix.ends_with('.') { p { (page.fix) } } @else { pre { code { (page.fix) } } } }
    };
    shown.show(&visitor, &content).into_response()
}
