//! `/deliveries` and `/deliveries/{id}`: the log of attempts, and one delivery with its phases and answers.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use super::posted::posted;
use crate::console::answer::{Members as _, plain};
use crate::console::asked::{Asked, shell_word};
use crate::console::components::{
    Action, Column, PERIODS, Table, ago, column, done, empty, facts, field, milliseconds,
    number_column, outcome, pages, search_form, select,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;
use crate::domain::Scope;

const ASKED: [&str; 8] =
    ["subscription", "entity", "outcome", "class", "site", "installation", "event", "since"];
const OUTCOMES: [(&str, &str); 5] = [
    ("", "any"),
    ("delivered", "delivered"),
    ("failed", "failed"),
    ("parked", "parked"),
    ("dead", "dead"),
];

const COLUMNS: &[Column] = &[
    column(
        "Delivery",
        "The subscription that the event was sent to; the link shows every attempt.",
    ),
    column("Outcome", "What became of it so far."),
    column("Event", "The issue or page, and what happened."),
    column("Answer", "The status that the handler answered, or why there was none."),
    number_column("Attempt", "The number of the attempt, from 1."),
    number_column("Took", "From the start of the attempt to its answer."),
    column("Recorded", "When the attempt ended."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/{id}", get(show))
        .route("/deliveries/{id}/redeliver", post(redeliver))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("deliveries"), &ASKED);
    let command = format!("switchyard deliveries ls{}", asked.flags(&ASKED));
    let page = Page::new("Deliveries", Part::Deliveries).from(&path, command);
    let answer = console.get(&visitor, &asked.one_page(&path)).await;
    shown(&visitor, page, answer.map(|answer| content(&visitor, &asked, &answer)))
}

fn content(visitor: &Visitor, asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    let mut periods = vec![("", "all that are kept")];
    periods.extend(PERIODS);
    let mut fields = vec![
        field("subscription", "Subscription", asked.get("subscription"), "installation/key"),
        field("entity", "Issue or page", asked.get("entity"), "OPS-42"),
    ];
    if visitor.is_operator() {
        fields.push(field("site", "Site", asked.get("site"), ""));
    }
    fields.push(select("outcome", "Outcome", asked.get("outcome"), &OUTCOMES));
    fields.push(select("since", "Within", asked.get("since"), &periods));
    html! {
        (search_form("/deliveries", &fields))
        @if items.is_empty() { (empty("No delivery is like this.", &html! {
            p { "Nothing was sent, so look at what decided: " a href="/explain" { "why did nothing arrive?" } }
        })) } @else { (delivery_table(items)) }
        (pages(asked, "/deliveries", &ASKED, answer))
        @if answer.get("nextCursor").is_some() && !answer.text("examinedUntil").is_empty() { p.quiet { "Looked at the log until " (ago(answer.text("examinedUntil"))) "." } }
        @for hint in answer.list("hints") { p.quiet { (plain(hint)) } }
    }
}

/// Shows records of the log.
pub(super) fn delivery_table(items: &[Value]) -> Markup {
    Table { label: "Deliveries", columns: COLUMNS, rows: items.iter().map(row).collect() }.show()
}

fn row(one: &Value) -> Vec<Markup> {
    let event = one.part("event");
    vec![
        html! { a href={ "/deliveries/" (encoded(one.text("id"))) } { (one.text("subscription")) } },
        html! { (outcome(one.text("outcome"))) @if !one.text("reason").is_empty() { small { (one.text("reason")) } } },
        html! { @if event.text("entity").is_empty() { (event.text("id")) } @else { (event.text("entity")) } small { (event.text("type")) } },
        html! {
            @if one.number("status") > 0 { (one.number("status")) } @else if !one.text("class").is_empty() { (one.text("class")) }
            @if !one.text("detail").is_empty() { small { (one.text("detail")) } }
        },
        html! { (one.number("attempt")) },
        html! { (milliseconds(one.decimal("tookMs"))) },
        ago(one.text("recordedAt")),
    ]
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = ApiPath::of("deliveries").id(&id);
    let command = format!("switchyard deliveries show {}", shell_word(&id));
    let answer = console.get(&visitor, &path).await;
    let title = match &answer {
        Ok(found) if !found.text("subscription").is_empty() => {
            let event = found.part("event");
            let entity = if event.text("entity").is_empty() {
                event.text("id")
            } else {
                event.text("entity")
            };
            format!("{entity} to {}", found.text("subscription"))
        }
        _ => format!("Delivery {id}"),
    };
    let mut page =
        Page::new(&title, Part::Deliveries).below("Deliveries", "/deliveries").from(&path, command);
    if let Ok(found) = &answer {
        page = page.with_state(outcome(found.text("outcome")));
    }
    shown(&visitor, page, answer.map(|answer| delivery(&visitor, &id, &asked, &answer)))
}

fn delivery(visitor: &Visitor, id: &str, asked: &Asked, answer: &Value) -> Markup {
    let event = answer.part("event");
    let attempts = match answer.list("attempts") {
        [] => answer.list("items"),
        attempts => attempts,
    };
    let again = Action {
        path: format!("/deliveries/{}/redeliver", encoded(id)),
        label: "Redeliver",
        effect: "The handler receives this one delivery again, under the same delivery id.",
        is_dangerous: false,
        values: Vec::new(),
    };
    html! {
        (done(asked.get("done")))
        @if visitor.may(Scope::Operate) { (again.show(visitor)) }
        (facts(vec![
            ("Subscription", html! { a href={ "/subscriptions/" (encoded(answer.text("subscription"))) } { (answer.text("subscription")) } }),
            ("Event", html! {
                a href={ "/events/" (encoded(&format!("{}/{}", event.text("site"), event.text("id")))) } { (event.text("entity")) " " (event.text("type")) }
            }),
            ("Site", html! { (event.text("site")) }),
            ("Delivery id", html! { code { (id) } }),
        ]))
        section aria-labelledby="attempts" {
            h2 id="attempts" { "Attempts" }
            @if attempts.is_empty() { (empty("No attempt in the log yet.", &html! { p { "An attempt appears when it ends. Reload the page in a few seconds." } })) }
            @for one in attempts { (attempt(one)) }
        }
    }
}

/// The phases of an attempt in their order, in words.
const PHASES: [(&str, &str); 6] = [
    ("queue", "waited for its turn"),
    ("dns", "looked up the name"),
    ("connect", "connected"),
    ("tls", "negotiated TLS"),
    ("firstByte", "waited for the answer"),
    ("body", "read the answer"),
];

fn attempt(one: &Value) -> Markup {
    let phases = one.entries("phasesMs");
    let longest =
        phases.iter().filter_map(|(_, ms)| ms.as_f64()).fold(0.0_f64, f64::max).max(0.001);
    html! {
        div.card {
            div.line {
                strong { "Attempt " (one.number("attempt")) } " " (outcome(one.text("outcome"))) " " (ago(one.text("startedAt")))
            }
            (facts(vec![
                ("Answer", html! { @if one.number("status") > 0 { (one.number("status")) " " } (one.text("class")) }),
                ("Cause", html! { (one.text("detail")) }),
                ("Reason", html! { (one.text("reason")) }),
                ("Blame", html! { (blame(one.text("blame"))) }),
                ("Took", html! { (milliseconds(one.decimal("tookMs"))) }),
                ("Next attempt", html! { @if !one.text("nextAttemptAt").is_empty() { (ago(one.text("nextAttemptAt"))) } }),
                ("By", html! { (one.text("source")) " " (one.text("job")) }),
                ("Router", html! { (one.text("router")) }),
            ]))
            @if !phases.is_empty() { div.phases { @for (name, text) in PHASES {
                @if let Some(ms) = one.part("phasesMs").decimal(name) {
                    @let id = format!("phase-{name}-{}", one.number("attempt"));
                    label for=(id) { (text) }
                    span.number { (milliseconds(Some(ms))) }
                    meter id=(id) min="0" max=(longest) value=(ms) {}
                }
            } } }
            @let response = one.part("response");
            @if !response.is_null() { details { summary { "What the handler answered" }
                pre tabindex="0" { code { (format!("{:#}", response)) } }
            } }
        }
    }
}

/// Says who has to look at a failure.
fn blame(blame: &str) -> &str {
    match blame {
        "handler" | "receiver" => "the handler",
        "network" => "the network between this router and the handler",
        "router" => "this router",
        other => other,
    }
}

async fn redeliver(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let page = Page::new("Redeliver", Part::Deliveries).below("Deliveries", "/deliveries");
    let path = ApiPath::of("deliveries").id(&id).part("redeliver");
    let answer = console.post(&visitor, &path, None).await;
    posted(&visitor, page, answer, &format!("/deliveries/{}?done=redelivered", encoded(&id)))
}
