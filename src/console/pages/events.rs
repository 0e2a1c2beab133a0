//! `/events` and `/events/{ref}`: stored events, and for one every subscription with its decision.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::decision_view::decision_list;
use crate::console::answer::{Members as _, plain};
use crate::console::asked::{Asked, shell_word};
use crate::console::components::{
    Column, PERIODS, Table, ago, ago_if_known, column, count, empty, facts, field, number_column,
    pages, refusal, search_form, select,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, ApiRefusal, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

const ASKED: [&str; 4] = ["entity", "type", "site", "since"];

const COLUMNS: &[Column] = &[
    column(
        "Event",
        "The issue, page or other entity that it is about; the link shows what every subscription decided.",
    ),
    column("Type", "What happened, as apps subscribe to it."),
    column("Site", "The Jira or Confluence site it came from."),
    column("Stored", "When this router's broker stored it."),
    number_column("Size", "Bytes of its body."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/events", get(list)).route("/events/{event}", get(show))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("events"), &ASKED);
    let command = format!("switchyard events recent{}", asked.flags(&ASKED));
    let page = Page::new("Events", Part::Events).from(&path, command);
    let answer = console.get(&visitor, &asked.one_page(&path)).await;
    shown(&visitor, page, answer.map(|answer| content(&asked, &answer)))
}

fn content(asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    let mut periods = vec![("", "all that are stored")];
    periods.extend(PERIODS);
    html! {
        (search_form("/events", &[
            field("entity", "Issue or page", asked.get("entity"), "OPS-42"),
            field("type", "Event type", asked.get("type"), "avi:jira:created:issue"),
            field("site", "Site", asked.get("site"), ""),
            select("since", "Within", asked.get("since"), &periods),
        ]))
        @if items.is_empty() { (empty("No stored event is like this.", &html! {
            p { "Events are stored for some days. Send a sample: " code { "switchyard trigger avi:jira:created:issue" } }
        })) } @else {
            (Table { label: "Events", columns: COLUMNS, rows: items.iter().map(row).collect() }.show())
        }
        (pages(asked, "/events", &ASKED, answer))
        @let retained = answer.part("retained");
        @if !retained.text("since").is_empty() { p.quiet { "Stored events begin " (ago(retained.text("since"))) "." } }
        @for hint in answer.list("hints") { p.quiet { (plain(hint)) } }
    }
}

fn row(one: &Value) -> Vec<Markup> {
    let reference = match one.text("ref") {
        "" => format!("{}/{}", one.text("site"), one.text("id")),
        reference => reference.to_owned(),
    };
    let name = if one.text("entity").is_empty() { one.text("id") } else { one.text("entity") };
    let stored =
        if one.text("storedAt").is_empty() { one.text("time") } else { one.text("storedAt") };
    vec![
        html! { a href={ "/events/" (encoded(&reference)) } { (name) } small { "sequence " (one.number("sequence")) } },
        html! { (one.text("type")) @if !one.text("unreadable").is_empty() { "cannot be read" small { (one.text("unreadable")) } } },
        html! { (one.text("site")) },
        ago(stored),
        html! { (count(one.number("bytes"))) },
    ]
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(reference): Path<String>,
) -> Response {
    let path = ApiPath::of("events").id(&reference);
    let command = format!(
        "switchyard explain --event {}",
        shell_word(reference.rsplit('/').next().unwrap_or_default())
    );
    let answer = console.get(&visitor, &path.clone().with("body", "true")).await;
    let title = match &answer {
        Ok(event) if !event.text("entity").is_empty() => {
            format!("{} {}", event.text("entity"), event.text("type"))
        }
        _ => format!("Event {reference}"),
    };
    let page = Page::new(&title, Part::Events).below("Events", "/events").from(&path, command);
    let event = match answer {
        Ok(event) => event,
        Err(refused) => return shown(&visitor, page, Err(refused)),
    };
    let decisions = decisions(&console, &visitor, &event).await;
    shown(&visitor, page, Ok(event_page(&event, &decisions)))
}

/// Asks for the decision of every subscription on an event.
async fn decisions(
    console: &Console,
    visitor: &Visitor,
    event: &Value,
) -> Result<Value, ApiRefusal> {
    let site = event.text("site");
    let question = match event.number("sequence") {
        0 => json!({"site": site, "event": event.text("id")}),
        sequence => json!({"site": site, "sequence": sequence}),
    };
    console.post(visitor, &ApiPath::of("explain"), Some(&question)).await
}

fn event_page(event: &Value, decisions: &Result<Value, ApiRefusal>) -> Markup {
    let outcomes = event.part("deliveries");
    html! {
        (facts(vec![
            ("Type", html! { code { (event.text("type")) } }),
            ("Entity", html! { @if !event.text("entity").is_empty() {
                a href={ "/events?entity=" (encoded(event.text("entity"))) } { (event.text("entity")) }
            } }),
            ("Site", html! { a href={ "/sites/" (encoded(event.text("site"))) } { (event.text("site")) } }),
            ("Happened", ago_if_known(event.text("time"))),
            ("Stored", ago(event.text("storedAt"))),
            ("Made by app", html! { (event.text("originApp")) }),
            ("Deliveries", html! {
                (outcomes.number("total")) " in all: " (outcomes.number("delivered")) " delivered, "
                (outcomes.number("parked")) " parked, " (outcomes.number("dead")) " dead"
            }),
            ("Id", html! { code { (event.text("id")) } }),
        ]))
        section aria-labelledby="decisions" {
            h2 id="decisions" { "What every subscription decided" }
            @match decisions {
                Err(refused) => (refusal(refused)),
                Ok(answer) => {
                    @for found in answer.list("events") {
                        @let list = found.list("decisions");
                        @if list.is_empty() { (empty("No subscription of this site looks at it.", &html! { p { "Apps register triggers for its type: " code { (event.text("type")) } } })) }
                        (decision_list(list))
                        @if found.number("leftOut") > 0 { p.quiet { (found.number("leftOut")) " more subscriptions were not looked at." } }
                    }
                    @for hint in answer.list("hints") { p.quiet { (plain(hint)) } }
                }
            }
        }
        @if let Some(body) = event.get("body") { section aria-labelledby="body" {
            h2 id="body" { "Body" }
            pre tabindex="0" { code { (format!("{:#}", body)) } }
        } }
    }
}
