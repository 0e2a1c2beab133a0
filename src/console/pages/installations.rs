//! `/installations` and `/installations/{id}`: apps on sites, with their limits, modules and notices.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use crate::console::answer::{Members as _, plain};
use crate::console::asked::{Asked, shell_word};
use crate::console::components::{
    Column, State as Shape, Table, ago, ago_if_known, check, column, count, empty, facts, field,
    notice, number_column, pages, search_form, select,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

const ASKED: [&str; 5] = ["q", "site", "app", "state", "expiring"];

const COLUMNS: &[Column] = &[
    column("Installation", "An app on a site; the link shows its subscriptions and limits."),
    column("App", "The app, and its product."),
    column("Site", "The site that its events come from."),
    column("State", "Whether its subscriptions are matched."),
    number_column("Modules", "Registered modules, of the most that are allowed."),
    number_column("Failing", "Subscriptions that fail now."),
    number_column("Parked", "Deliveries that wait."),
    column("Last activity", "The last match or delivery since this router started."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/installations", get(list)).route("/installations/{id}", get(show))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = asked.ask(ApiPath::of("installations"), &ASKED);
    let page = Page::new("Installations", Part::Installations).from(&path, "switchyard export");
    let answer = console.get(&visitor, &asked.one_page(&path)).await;
    shown(&visitor, page, answer.map(|answer| content(&asked, &answer)))
}

fn content(asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    let states = [
        ("", "any"),
        ("enabled", "enabled"),
        ("disabled", "disabled"),
        ("uninstalled", "uninstalled"),
    ];
    html! {
        (search_form("/installations", &[
            field("q", "Search", asked.get("q"), "installation, app or site"),
            field("site", "Site", asked.get("site"), ""),
            select("state", "State", asked.get("state"), &states),
            check("expiring", "Webhooks expire within a week", asked.get("expiring") == "true"),
        ]))
        @if items.is_empty() { (empty("No installation is like this.", &html! {
            p { "An installation is an app on a site. Register one:" }
            pre { code { "switchyard apply -f installations/" } }
        })) } @else {
            (Table { label: "Installations", columns: COLUMNS, rows: items.iter().map(row).collect() }.show())
        }
        (pages(asked, "/installations", &ASKED, answer))
    }
}

fn state_word(one: &Value) -> Markup {
    match one.text("state") {
        "enabled" if one.get("licensed") == Some(&Value::Bool(false)) => {
            Shape::Warn.word("enabled, without a licence")
        }
        "enabled" => Shape::Good.word("enabled"),
        "disabled" => Shape::Warn.word("disabled"),
        other => Shape::Quiet.word(other),
    }
}

/// Returns how many modules are registered, of the most that are allowed.
fn used(one: &Value) -> String {
    let modules = one.part("modules");
    match modules.number("dynamicMax") {
        0 => count(modules.number("dynamic")),
        most => format!("{} of {most}", modules.number("dynamic")),
    }
}

fn row(one: &Value) -> Vec<Markup> {
    let counts = one.part("counts");
    let number = |name| if counts.is_null() { one.number(name) } else { counts.number(name) };
    vec![
        html! { a href={ "/installations/" (encoded(one.text("id"))) } { (one.text("id")) } },
        html! { (one.text("app")) small { (one.text("product")) } },
        html! { a href={ "/sites/" (encoded(one.text("cloudId"))) } { (one.text("cloudId")) } },
        state_word(one),
        html! { (used(one)) },
        html! { (count(number("failing"))) },
        html! { (count(number("parked"))) },
        ago(one.text("lastActivity")),
    ]
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let path = ApiPath::of("installations").id(&id);
    let command = format!("switchyard subscriptions ls --installation {}", shell_word(&id));
    let answer = console.get(&visitor, &path).await;
    let mut page = Page::new(&id, Part::Installations)
        .below("Installations", "/installations")
        .from(&path, command);
    if let Ok(found) = &answer {
        page = page.with_state(state_word(found));
    }
    shown(&visitor, page, answer.map(|answer| installation(&id, &answer)))
}

fn installation(id: &str, one: &Value) -> Markup {
    let dropped = one.part("dropped");
    let id = encoded(id);
    html! {
        @for undelivered in one.list("undelivered") {
            (notice(Shape::Bad, &html! { p { "The webhook " code { (undelivered.text("key")) } " is not delivered: " (undelivered.text("reason")) } }))
        }
        @if !dropped.is_null() && !dropped.list("keys").is_empty() {
            (notice(Shape::Warn, &html! { p { "Version " (dropped.text("version")) " of the app dropped the modules "
                @for key in dropped.list("keys") { code { (plain(key)) } " " } (ago(dropped.text("at"))) } }))
        }
        (facts(vec![
            ("App", html! { (one.text("app")) }),
            ("Site", html! { a href={ "/sites/" (encoded(one.text("cloudId"))) } { (one.text("cloudId")) } }),
            ("Product", html! { (one.text("product")) }),
            ("Environment", html! { (one.text("environment")) }),
            ("Modules", html! { (used(one)) }),
            ("Client key", html! { (one.text("clientKey")) }),
            ("Account of the app", html! { (one.text("appAccountId")) }),
            ("Bodies are kept", html! { @if one.number("bodiesDays") > 0 { (one.number("bodiesDays")) " days" } }),
            ("Notices that wait", html! { @if one.number("noticesWaiting") > 0 { (count(one.number("noticesWaiting"))) } }),
            ("Webhooks expire", ago_if_known(one.text("expiresAt"))),
            ("Last activity", ago(one.text("lastActivity"))),
            ("Registered", ago(one.text("createdAt"))),
            ("Changed", ago(one.text("updatedAt"))),
        ]))
        section aria-labelledby="more" {
            h2 id="more" { "Look further" }
            p.actions {
                a href={ "/subscriptions?installation=" (id) } { "Its subscriptions" }
                a href={ "/subscriptions?failing=true&installation=" (id) } { "Those that fail" }
                a href={ "/deliveries?installation=" (id) } { "Its deliveries" }
                a href={ "/dead-letters?installation=" (id) } { "Its dead letters" }
                a href={ "/explain?since=1h&installation=" (id) } { "Why did nothing arrive?" }
                a href={ "/endpoints?installation=" (id) } { "Its endpoints" }
            }
        }
        @if !one.list("functions").is_empty() { section {
            h2 { "Functions" }
            dl.facts { @for function in one.list("functions") { dt { (function.text("function")) } dd { code { (function.text("subject")) } } } }
        } }
    }
}
