//! `/sites` and `/sites/{id}`: where events come from: volume, refused webhooks, unmapped names.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use crate::console::answer::{Members as _, plain};
use crate::console::asked::Asked;
use crate::console::components::{
    Column, Table, ago, column, count, empty, facts, field, figure, number_column, pages, refusal,
    search_form,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, ApiRefusal, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

const ASKED: [&str; 1] = ["q"];

const COLUMNS: &[Column] = &[
    column("Site", "The id of a Jira or Confluence site."),
    number_column("Installations", "Apps that are installed there."),
    number_column("Subscriptions", "Subscriptions to its events."),
    number_column("Failing", "Subscriptions that fail now."),
    number_column("Events", "Events that were routed since this router started."),
    number_column("Refused", "Webhooks that were refused lately."),
    number_column("Parked", "Deliveries that wait."),
    number_column("Dead", "Stored dead letters."),
    column("Last event", "When its last event was routed."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/sites", get(list)).route("/sites/{id}", get(show))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("sites"), &ASKED);
    let page = Page::new("Sites", Part::Sites).from(&path, "");
    let answer = console.get(&visitor, &asked.one_page(&path)).await;
    shown(&visitor, page, answer.map(|answer| content(&asked, &answer)))
}

fn content(asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    html! {
        (search_form("/sites", &[field("q", "Search", asked.get("q"), "part of the id of a site")]))
        @if items.is_empty() { (empty("No site yet.", &html! { p.quiet { "A site appears with its first installation or its first event." } })) }
        @else { (Table { label: "Sites", columns: COLUMNS, rows: items.iter().map(row).collect() }.show()) }
        (pages(asked, "/sites", &ASKED, answer))
    }
}

fn row(one: &Value) -> Vec<Markup> {
    vec![
        html! { a href={ "/sites/" (encoded(one.text("id"))) } { (one.text("id")) } },
        html! { (count(one.number("installations"))) },
        html! { (count(one.number("subscriptions"))) },
        html! { (count(one.number("failing"))) },
        html! { (count(one.number("events"))) },
        html! { (count(refused(one))) },
        html! { (count(one.number("parked"))) },
        html! { (count(one.number("deadLetters"))) },
        ago(one.text("lastEvent")),
    ]
}

/// Returns how many webhooks were refused, given as a number or by reason.
fn refused(one: &Value) -> u64 {
    match one.part("refused") {
        Value::Object(reasons) => reasons.values().filter_map(Value::as_u64).sum(),
        other => other.as_u64().unwrap_or_default(),
    }
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let path = ApiPath::of("sites").id(&id);
    let page = Page::new(&id, Part::Sites).below("Sites", "/sites").from(&path, "");
    let answer = console.get(&visitor, &path).await;
    let unmapped = console.get(&visitor, &path.clone().part("unmapped")).await;
    shown(&visitor, page, answer.map(|answer| site(&id, &answer, unmapped.as_ref())))
}

fn site(id: &str, one: &Value, unmapped: Result<&Value, &ApiRefusal>) -> Markup {
    let id = encoded(id);
    html! {
        div.figures {
            (figure("Events", &count(one.number("events")), "routed since this router started"))
            (figure("Matched", &count(one.number("matched")), "matches of all subscriptions"))
            (figure("Refused", &count(refused(one)), "webhooks lately"))
            (figure("Parked", &count(one.number("parked")), "deliveries wait"))
        }
        (facts(vec![
            ("Installations", html! { a href={ "/installations?site=" (id) } { (count(one.number("installations"))) } }),
            ("Subscriptions", html! { a href={ "/subscriptions?site=" (id) } { (count(one.number("subscriptions"))) } }),
            ("Failing", html! { a href={ "/subscriptions?failing=true&site=" (id) } { (count(one.number("failing"))) } }),
            ("Dead letters", html! { a href={ "/dead-letters?site=" (id) } { (count(one.number("deadLetters"))) } }),
            ("Modules", html! { (count(one.part("modules").number("dynamic"))) " of " (count(one.part("modules").number("dynamicMax"))) }),
            ("Last event", ago(one.text("lastEvent"))),
            ("Events", html! { a href={ "/events?site=" (id) } { "Its stored events" } }),
            ("Deliveries", html! { a href={ "/deliveries?site=" (id) } { "Its deliveries" } }),
        ]))
        section aria-labelledby="refused" {
            h2 id="refused" { "Refused webhooks" }
            @let reasons = one.entries("refused");
            @if reasons.is_empty() { p.quiet { "None lately." } }
            @if !one.text("lastRefused").is_empty() { p { "The last one " (ago(one.text("lastRefused"))) "." } }
            dl.facts { @for (reason, number) in reasons { dt { (reason) } dd { (plain(number)) } } }
        }
        @let list = one.list("installationList");
        @if !list.is_empty() { section aria-labelledby="installations" {
            h2 id="installations" { "Installations" }
            ul { @for installation in list { li {
                a href={ "/installations/" (encoded(installation.text("id"))) } { (installation.text("id")) }
                " " span.quiet { (installation.text("app")) ", " (installation.text("state")) }
            } } }
        } }
        section aria-labelledby="unmapped" {
            h2 id="unmapped" { "Webhooks that are no event" }
            @let names = unmapped.map_or(&[][..], |unmapped| unmapped.list("items"));
            @if let Err(refused) = unmapped { (refusal(refused)) }
            @else if names.is_empty() { p.quiet { "Every webhook of this site had a name that is known." } }
            @else {
                p.quiet { "Webhooks with these names were stored under a type of their own. Apps can subscribe to it." }
                dl.facts { @for name in names { dt { (name.text("name")) } dd { code { (name.text("eventType")) } " " (count(name.number("count"))) } } }
            }
        }
    }
}
