//! `/endpoints` and `/endpoints/{id}`: where matches are sent, whether it works, and when it is tried next.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use super::posted::posted;
use crate::console::answer::Members as _;
use crate::console::asked::{Asked, shell_word};
use crate::console::components::{
    Action, Column, State as Shape, Table, ago, breaker, check, column, count, done, empty, facts,
    field, figure, milliseconds, notice, number_column, pages, search_form, select,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;
use crate::domain::Scope;

const ASKED: [&str; 4] = ["installation", "app", "state", "failing"];

const COLUMNS: &[Column] = &[
    column("Endpoint", "The address, and the installation that it belongs to."),
    column(
        "State",
        "Whether deliveries are sent. After failures they stop, and one is tried from time to time.",
    ),
    number_column("Subscriptions", "How many send their matches there."),
    number_column("Parked", "Deliveries that wait for it."),
    number_column("Failed", "Attempts that failed, of all since this router started."),
    number_column("Answers in", "Average time of an attempt."),
    column("Last failure", "What the last failed attempt ended with."),
    column("Next attempt", "When it is tried next, if it is stopped."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/endpoints", get(list))
        .route("/endpoints/{id}", get(show))
        .route("/endpoints/{id}/{action}", post(act))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("endpoints"), &ASKED);
    let command = format!("switchyard endpoints ls{}", asked.flags(&ASKED));
    let page = Page::new("Endpoints", Part::Endpoints).from(&path, command);
    let answer = console.get(&visitor, &asked.one_page(&path)).await;
    shown(&visitor, page, answer.map(|answer| content(&asked, &answer)))
}

fn content(asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    let states = [
        ("", "any"),
        ("closed", "delivering"),
        ("open", "stopped after failures"),
        ("half_open", "trying one delivery"),
        ("paused", "paused"),
        ("disabled", "disabled"),
        ("idle", "nothing to deliver"),
    ];
    html! {
        (search_form("/endpoints", &[
            field("installation", "Installation", asked.get("installation"), ""),
            field("app", "App", asked.get("app"), ""),
            select("state", "State", asked.get("state"), &states),
            check("failing", "Only failing", asked.get("failing") == "true"),
        ]))
        @if items.is_empty() { (empty("No endpoint is like this.", &html! { p.quiet { "An endpoint appears with the first subscription that sends its matches there." } })) }
        @else { (Table { label: "Endpoints", columns: COLUMNS, rows: items.iter().map(row).collect() }.show()) }
        (pages(asked, "/endpoints", &ASKED, answer))
    }
}

fn row(one: &Value) -> Vec<Markup> {
    let failure = one.part("lastFailure");
    vec![
        html! { a href={ "/endpoints/" (encoded(one.text("id"))) } { (address(one)) } small { (one.text("installation")) } },
        breaker(one.text("state"), one.flag("failing")),
        html! { (count(one.number("subscriptions"))) },
        html! { (count(one.number("parked"))) },
        html! { (count(one.number("failedAttempts"))) " of " (count(one.number("attempts"))) },
        html! { (milliseconds(one.decimal("averageMs"))) },
        html! { @if failure.text("class").is_empty() { span.quiet { "none" } } @else { (failure.text("class")) small { (failure.text("detail")) " " (ago(failure.text("at"))) } } },
        html! { @if !one.text("nextAttemptAt").is_empty() { (ago(one.text("nextAttemptAt"))) } },
    ]
}

fn address(one: &Value) -> &str {
    if one.text("address").is_empty() { one.text("id") } else { one.text("address") }
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = ApiPath::of("endpoints").id(&id);
    let command = format!("switchyard endpoints show {}", shell_word(&id));
    let answer = console.get(&visitor, &path).await;
    let title = answer.as_ref().map_or(id.clone(), |found| address(found).to_owned());
    let mut page =
        Page::new(&title, Part::Endpoints).below("Endpoints", "/endpoints").from(&path, command);
    if let Ok(found) = &answer {
        page = page.with_state(breaker(found.text("state"), found.flag("failing")));
    }
    shown(&visitor, page, answer.map(|answer| endpoint(&visitor, &id, &asked, &answer)))
}

fn endpoint(visitor: &Visitor, id: &str, asked: &Asked, one: &Value) -> Markup {
    let failure = one.part("lastFailure");
    let button = |action: &str, label, effect| {
        let path = format!("/endpoints/{}/{action}", encoded(id));
        Action { path, label, effect, is_dangerous: false, values: Vec::new() }.show(visitor)
    };
    let (attempts, failed) = (one.number("attempts"), one.number("failedAttempts"));
    html! {
        (done(asked.get("done")))
        @if !one.text("explanation").is_empty() {
            (notice(if one.flag("failing") { Shape::Bad } else { Shape::Info }, &html! {
                p { strong { (one.text("explanation")) } }
                @if !one.text("nextAttemptAt").is_empty() { p { "It is tried again " (ago(one.text("nextAttemptAt"))) "." } }
            }))
        }
        @if visitor.may(Scope::Operate) { div.actions {
            (button("test", "Send a test", "One signed request; its answer is shown."))
            @match one.text("state") {
                "open" => (button("reset-breaker", "Try it now", "The next delivery that is due is attempted; if it succeeds, the others follow.")),
                "disabled" => (button("enable", "Enable", "Its subscriptions are delivered again.")),
                _ => {}
            }
        } }
        div.figures {
            (figure("Parked", &count(one.number("parked")), "deliveries wait for it"))
            (figure("Failed attempts", &count(failed), &format!("of {} since this router started", count(attempts))))
            (figure("Answers in", &milliseconds(one.decimal("averageMs")), "on average"))
            (figure("Subscriptions", &count(one.number("subscriptions")), "send their matches there"))
        }
        (facts(vec![
            ("Installation", html! { a href={ "/installations/" (encoded(one.text("installation"))) } { (one.text("installation")) } }),
            ("App", html! { (one.text("app")) }),
            ("Site", html! { (one.text("cloudId")) }),
            ("Stopped", html! { @let breaker = one.part("breaker"); @if !breaker.is_null() {
                (ago(breaker.text("since"))) ", after: " (breaker.text("cause")) @if breaker.text("scope") != "endpoint" { ", for the whole " (breaker.text("scope")) }
            } }),
            ("Last success", ago(one.text("lastSuccess"))),
            ("Last failure", html! { @if !failure.text("class").is_empty() { (failure.text("class")) ": " (failure.text("detail")) " " (ago(failure.text("at"))) } }),
            ("Subscriptions", html! { a href={ "/subscriptions?installation=" (encoded(one.text("installation"))) } { "of this installation" } }),
        ]))
    }
}

async fn act(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path((id, action)): Path<(String, String)>,
) -> Response {
    let page = Page::new(&id, Part::Endpoints).below("Endpoints", "/endpoints");
    let (action, done) = match action.as_str() {
        "test" => ("test", "tested"),
        "enable" => ("enable", "enabled"),
        _ => ("reset-breaker", "reset"),
    };
    let answer = console.post(&visitor, &ApiPath::of("endpoints").id(&id).part(action), None).await;
    let tested = match answer {
        Ok(tested) if action == "test" => tested,
        answer => {
            return posted(
                &visitor,
                page,
                answer,
                &format!("/endpoints/{}?done={done}", encoded(&id)),
            );
        }
    };
    let state = if tested.flag("accepted") { Shape::Good } else { Shape::Bad };
    let content = html! {
        (notice(state, &html! {
            p { strong { @if tested.flag("accepted") { "The endpoint accepted the test." } @else { "The endpoint did not accept the test." } } }
            p { (tested.text("class")) @if tested.number("status") > 0 { ", status " (tested.number("status")) } ", " (tested.number("tookMs")) " ms" }
            @if !tested.text("detail").is_empty() { p { (tested.text("detail")) } }
        }))
        @let response = tested.part("response");
        @if !response.is_null() { pre tabindex="0" { code { (format!("{:#}", response)) } } }
        p { a href={ "/endpoints/" (encoded(&id)) } { "Back to the endpoint" } }
    };
    page.show(&visitor, &content).into_response()
}
