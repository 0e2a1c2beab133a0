//! `/dead-letters`: deliveries that were dead-lettered, by reason, with their bodies; redrives say what they will do first.

use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::posted::posted;
use crate::console::answer::{Members as _, plain};
use crate::console::asked::{Asked, shell_word};
use crate::console::components::{
    Action, Column, PERIODS, Table, ago, column, count, done, empty, facts, field, figure,
    number_column, pages, search_form, select,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::{Console, refused_page, shown};
use crate::console::visitor::Visitor;
use crate::domain::Scope;

const ASKED: [&str; 5] = ["subscription", "reason", "site", "installation", "since"];

const COLUMNS: &[Column] = &[
    column(
        "Dead letter",
        "The subscription whose delivery was dead-lettered; the link shows its body.",
    ),
    column("Reason", "Why it was dead-lettered."),
    column("Event", "The issue or page, and what happened."),
    column("Last error", "What the last attempt ended with."),
    number_column("Attempts", "How often it was attempted."),
    column("Given up", "When it became a dead letter."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/dead-letters", get(list))
        .route("/dead-letters/redrive", post(redrive))
        .route("/dead-letters/{id}", get(show))
        .route("/dead-letters/{id}/redrive", post(redrive_one))
        .route("/dead-letters/{id}/delete", post(delete))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("dlq"), &ASKED);
    let command = format!("switchyard dlq ls{}", asked.flags(&ASKED));
    let page = Page::new("Dead letters", Part::DeadLetters).from(&path, command);
    let answer = console.get(&visitor, &asked.one_page(&path)).await;
    shown(&visitor, page, answer.map(|answer| content(&visitor, &asked, &answer)))
}

fn content(visitor: &Visitor, asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    let mut periods = vec![("", "all that are kept")];
    periods.extend(PERIODS);
    let redrive = Action {
        path: "/dead-letters/redrive".to_owned(),
        label: "Redrive these…",
        effect: "Says first how many they are and how long it takes.",
        is_dangerous: false,
        values: ASKED.iter().map(|name| (*name, asked.get(name).to_owned())).collect(),
    };
    html! {
        (done(asked.get("done")))
        (search_form("/dead-letters", &[
            field("subscription", "Subscription", asked.get("subscription"), "installation/key"),
            field("reason", "Reason", asked.get("reason"), "rejected_404"),
            field("site", "Site", asked.get("site"), ""),
            select("since", "Within", asked.get("since"), &periods),
        ]))
        @if items.is_empty() {
            (empty("No dead letters.", &html! { p.quiet { "A delivery becomes one when its attempts are used up, or when its handler refuses it for good." } }))
        } @else {
            (reasons(asked, items))
            @if visitor.may(Scope::Operate) && visitor.is_operator() { (redrive.show(visitor)) }
            (Table { label: "Dead letters", columns: COLUMNS, rows: items.iter().map(row).collect() }.show())
        }
        (pages(asked, "/dead-letters", &ASKED, answer))
        @for hint in answer.list("hints") { p.quiet { (plain(hint)) } }
    }
}

/// Links the reasons on this page, each with its number.
fn reasons(asked: &Asked, items: &[Value]) -> Markup {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    items.iter().for_each(|one| *counts.entry(one.text("reason")).or_default() += 1);
    html! {
        p.actions { span.quiet { "On this page:" } @for (reason, number) in counts {
            a href=(asked.link("/dead-letters", &ASKED, ("reason", reason))) { (reason) " " (number) }
        } }
    }
}

fn row(one: &Value) -> Vec<Markup> {
    let event = one.part("event");
    let name = if one.text("subscription").is_empty() {
        "an event that could not be read"
    } else {
        one.text("subscription")
    };
    vec![
        html! { a href={ "/dead-letters/" (encoded(one.text("id"))) } { (name) } },
        html! { (one.text("reason")) },
        html! { (event.text("entity")) small { (event.text("type")) } },
        html! { (one.text("error")) @if !one.text("lastClass").is_empty() { small { (one.text("lastClass")) } } },
        html! { (one.number("attempts")) },
        ago(one.text("storedAt")),
    ]
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let path = ApiPath::of("dlq").id(&id);
    let command = format!("switchyard dlq show {}", shell_word(&id));
    let title = format!("Dead letter {id}");
    let page = Page::new(&title, Part::DeadLetters)
        .below("Dead letters", "/dead-letters")
        .from(&path, command);
    let answer = console.get(&visitor, &path).await;
    shown(&visitor, page, answer.map(|answer| letter(&visitor, &id, &answer)))
}

fn letter(visitor: &Visitor, id: &str, answer: &Value) -> Markup {
    let event = answer.part("event");
    let action = |action: &str, label, effect, is_dangerous| {
        let path = format!("/dead-letters/{}/{action}", encoded(id));
        Action { path, label, effect, is_dangerous, values: Vec::new() }.show(visitor)
    };
    html! {
        @if visitor.may(Scope::Operate) && visitor.is_operator() { div.actions {
            (action("redrive", "Redrive this one", "It is delivered again, and leaves the dead letters when it succeeds.", false))
            (action("delete", "Delete this one", "It cannot be delivered any more.", true))
        } }
        (facts(vec![
            ("Subscription", html! { @if !answer.text("subscription").is_empty() {
                a href={ "/subscriptions/" (encoded(answer.text("subscription"))) } { (answer.text("subscription")) }
            } }),
            ("Reason", html! { (answer.text("reason")) }),
            ("Last error", html! { (answer.text("error")) }),
            ("Attempts", html! { (answer.number("attempts")) }),
            ("Event", html! {
                a href={ "/events/" (encoded(&format!("{}/{}", answer.text("site"), event.text("id")))) } { (event.text("entity")) " " (event.text("type")) }
            }),
            ("Delivery", html! { @if !answer.text("deliveryId").is_empty() {
                a href={ "/deliveries/" (encoded(answer.text("deliveryId"))) } { code { (answer.text("deliveryId")) } }
            } }),
            ("First attempt", html! { @if !answer.text("firstSeen").is_empty() { (ago(answer.text("firstSeen"))) } }),
            ("Given up", ago(answer.text("storedAt"))),
        ]))
        section aria-labelledby="body" {
            h2 id="body" { "Body" }
            @if !answer.text("bodyRemoved").is_empty() { p.quiet { "The body was removed: " (answer.text("bodyRemoved")) } }
            @if let Some(body) = answer.get("body") {
                pre tabindex="0" { code { (match body { Value::String(text) => text.clone(), body => format!("{:#}", body) }) } }
            }
            @if answer.number("omittedBytes") > 0 { p.quiet { (count(answer.number("omittedBytes"))) " more bytes are not shown." } }
        }
    }
}

/// Shows what a redrive will do, and starts it when the visitor says so.
async fn redrive(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Asked>,
) -> Response {
    let given =
        ASKED.iter().map(|name| (*name, form.get(name))).filter(|(_, value)| !value.is_empty());
    let query: Map<String, Value> =
        given.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let is_confirmed = form.get("confirmed") == "true";
    let body = json!({"query": query, "dryRun": !is_confirmed});
    let path = ApiPath::of("dlq").part("redrive");
    let page =
        Page::new("Redrive dead letters", Part::DeadLetters).below("Dead letters", "/dead-letters");
    let answer = console.post(&visitor, &path, Some(&body)).await;
    if is_confirmed {
        let next = match &answer {
            Ok(job) => format!("/jobs?done=redriven#{}", job.text("id")),
            Err(_) => String::new(),
        };
        return posted(&visitor, page, answer, &next);
    }
    let planned = match answer {
        Ok(planned) => planned,
        Err(refused) => return refused_page(&visitor, page, &refused),
    };
    page.show(&visitor, &plan(&visitor, &form, &planned)).into_response()
}

fn plan(visitor: &Visitor, form: &Asked, planned: &Value) -> Markup {
    let letters = planned.part("counts").number("matched");
    let label = format!("Redrive {} deliveries", count(letters));
    let effect = format!(
        "They are delivered again at {} a second, about {} s. Each leaves the dead letters when it is handed over.",
        planned.number("rate"),
        planned.number("etaSeconds").max(1),
    );
    let mut values: Vec<(&str, String)> =
        ASKED.iter().map(|name| (*name, form.get(name).to_owned())).collect();
    values.push(("confirmed", "true".to_owned()));
    let action = Action {
        path: "/dead-letters/redrive".to_owned(),
        label: &label,
        effect: &effect,
        is_dangerous: true,
        values,
    };
    html! {
        div.figures { (figure("Dead letters", &count(letters), "are like this now")) }
        @if letters > 0 { (action.show(visitor)) } @else { p { "No dead letter is like this now." } }
        p { a href=(form.link("/dead-letters", &ASKED, ("cursor", ""))) { "Back without a change" } }
    }
}

async fn redrive_one(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let page = Page::new("Redrive", Part::DeadLetters).below("Dead letters", "/dead-letters");
    let path = ApiPath::of("dlq").part("redrive");
    let answer = console.post(&visitor, &path, Some(&json!({"ids": [id]}))).await;
    posted(&visitor, page, answer, "/jobs?done=redriven")
}

async fn delete(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let page = Page::new("Delete", Part::DeadLetters).below("Dead letters", "/dead-letters");
    let path = ApiPath::of("dlq").id(&id);
    let answer = console.operator_api.send(&visitor, Method::DELETE, &path, None).await;
    posted(&visitor, page, answer, "/dead-letters?done=deleted")
}
