//! `/subscriptions`: search, with what each delivers, how it fails, and since when.

use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use crate::console::answer::{Members as _, plain};
use crate::console::asked::Asked;
use crate::console::components::{
    Column, Table, ago, check, column, count, empty, field, number_column, pages, search_form,
    select, subscription_state, success,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

/// What the URL may ask for; the API has the same names.
const ASKED: [&str; 7] = ["q", "state", "failing", "site", "installation", "app", "event"];

const COLUMNS: &[Column] = &[
    column(
        "Subscription",
        "Installation and key of the module, its app, and where its matches are sent.",
    ),
    column(
        "State",
        "Whether its events are matched and delivered now, and why it fails if it does.",
    ),
    column(
        "Events and filter",
        "The event types that it asks for. Without a filter it gets every event of these types.",
    ),
    number_column("Matched", "Events that matched since this router started."),
    number_column("Success", "Delivered, of all attempts since this router started."),
    number_column("Errors", "Evaluations of the filter that failed."),
    number_column("Parked", "Deliveries that wait to be attempted again."),
    number_column("Dead", "Deliveries that were dead-lettered; they are dead letters."),
    column("Last match", "When an event matched."),
    column("Last failure", "What the handler or the filter said the last time that it failed."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/subscriptions", get(list))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("subscriptions"), &ASKED);
    let command = format!("switchyard subscriptions ls{}", asked.flags(&ASKED));
    let page = Page::new("Subscriptions", Part::Subscriptions).from(&path, command);
    let answer = console.get(&visitor, &asked.one_page(&path)).await;
    shown(&visitor, page, answer.map(|answer| content(&asked, &answer)))
}

fn content(asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    let states = [
        ("", "any"),
        ("active", "active"),
        ("paused", "paused"),
        ("inactive", "inactive"),
        ("undelivered", "undelivered"),
        ("shadowed", "shadowed"),
        ("expired", "expired"),
    ];
    html! {
        (search_form("/subscriptions", &[
            field("q", "Search", asked.get("q"), "key, event type or part of a filter"),
            select("state", "State", asked.get("state"), &states),
            field("installation", "Installation", asked.get("installation"), ""),
            field("site", "Site", asked.get("site"), ""),
            check("failing", "Only failing", asked.get("failing") == "true"),
        ]))
        (chips(asked, answer.part("counts")))
        @if items.is_empty() {
            @if ASKED.iter().all(|name| asked.get(name).is_empty()) { (teach()) }
            @else { (empty("No subscription is like this.", &html! { p { a href="/subscriptions" { "Show all subscriptions" } } })) }
        } @else {
            (Table { label: "Subscriptions", columns: COLUMNS, rows: items.iter().map(row).collect() }.show())
            (pages(asked, "/subscriptions", &ASKED, answer))
        }
        @for hint in answer.list("hints") { p.quiet { (plain(hint)) } }
    }
}

/// Shows how many there are of each state and how many fail, each a link to them.
fn chips(asked: &Asked, counts: &Value) -> Markup {
    let number = |value: &Value| count(value.as_u64().unwrap_or_default());
    html! {
        @if !counts.is_null() { p.actions {
            a href=(asked.link("/subscriptions", &ASKED, ("failing", "true"))) { "failing " (count(counts.number("failing"))) }
            @for (state, found) in counts.entries("states") {
                a href=(asked.link("/subscriptions", &ASKED, ("state", state))) { (state) " " (number(found)) }
            }
        } }
    }
}

fn row(one: &Value) -> Vec<Markup> {
    let stats = one.part("stats");
    let (delivered, failed) = (stats.number("delivered"), stats.number("failedAttempts"));
    let problem = one.part("lastProblem");
    vec![
        html! {
            a href={ "/subscriptions/" (encoded(one.text("id"))) } { (one.text("id")) }
            small { (one.text("app")) } small { (target(one)) }
        },
        subscription_state(one.text("state"), one.text("failing")),
        events(one),
        html! { (count(stats.number("matched"))) },
        html! { (success(delivered, failed)) },
        html! { (count(stats.number("errors"))) },
        html! { (count(stats.number("parked"))) },
        html! { (count(stats.number("dead"))) },
        ago(stats.text("lastMatch")),
        html! { @if problem.text("text").is_empty() { span.quiet { "none" } } @else { (problem.text("text")) small { (ago(problem.text("at"))) } } },
    ]
}

/// Returns where the matches of a subscription are sent.
pub(super) fn target(subscription: &Value) -> String {
    let members = subscription.entries("handler");
    let wanted = ["url", "subject", "function", "endpoint"];
    let found = wanted.iter().find_map(|name| members.iter().find(|(known, _)| known == name));
    found.map_or(String::new(), |(_, value)| format!("→ {}", plain(value)))
}

/// Shows event types; those that follow each other with one filter have it once.
fn events(one: &Value) -> Markup {
    let same = |one: &Value, other: &Value| one.text("expression") == other.text("expression");
    html! {
        @for events in one.list("events").chunk_by(same) {
            @for event in events { small { (event.text("eventType")) } }
            @match events.first().map_or("", |event| event.text("expression")) {
                "" => {}
                filter => code { (shortened(filter)) }
            }
        }
    }
}

/// Returns the beginning of a text that is long for a table.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn teach() -> Markup {
    let command = "switchyard modules add -i INSTALLATION -f trigger.json";
    let example = "{\"type\": \"trigger\", \"data\": {\"endpoint\": \"hook\", \"events\": [\"avi:jira:created:issue\"],\n  \
        \"filter\": {\"expression\": \"event.issue.fields.project.key == 'OPS'\"}}}";
    empty(
        "No subscriptions yet. An app registers a trigger, and its subscription appears here.",
        &html! {
            p { "Register one by hand, with this file " code { "trigger.json" } ":" }
            pre { code { (example) } }
            pre { code { (command) } }
            p { a href="/try" { "Try a filter first" } }
        },
    )
}
