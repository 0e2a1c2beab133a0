//! `/`: what needs somebody first, then how much is going on.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use super::problems::findings;
use crate::console::answer::Members as _;
use crate::console::components::{
    Column, State as Shape, Table, ago, column, count, curve, empty, notice, number_column,
    subscription_state, success,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, ApiRefusal, encoded};
use crate::console::state::{Console, refused_page, shown};
use crate::console::visitor::Visitor;

/// Subscriptions that are named.
const BUSIEST: &str = "8";
/// Problems that are shown.
const PROBLEMS: &str = "50";

const COLUMNS: &[Column] = &[
    column("Subscription", "The link shows its filter and what it did."),
    column("State", "Whether its events are matched and delivered now."),
    number_column("Matched", "Events that matched since this router started."),
    number_column("Success", "Delivered, of all attempts."),
    number_column("Parked", "Deliveries that wait."),
    column("Last match", "When an event matched."),
];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/", get(show))
}

async fn show(State(console): State<Console>, Extension(visitor): Extension<Visitor>) -> Response {
    if !visitor.is_operator() {
        return of_installation(&console, &visitor).await;
    }
    let (problems, history, busiest) = (
        ApiPath::of("problems").with("limit", PROBLEMS),
        ApiPath::of("history").with("since", "1h"),
        ApiPath::of("subscriptions").with("sort", "volume").with("limit", BUSIEST),
    );
    let page = Page::new("Overview", Part::Overview).from(&problems, "switchyard doctor");
    let (problems, history, busiest) = tokio::join!(
        console.get(&visitor, &problems),
        console.get(&visitor, &history),
        console.get(&visitor, &busiest)
    );
    shown(
        &visitor,
        page,
        problems.map(|problems| content(&problems, history.as_ref().ok(), &busiest)),
    )
}

fn content(problems: &Value, history: Option<&Value>, top: &Result<Value, ApiRefusal>) -> Markup {
    let found = problems.list("items");
    html! {
        section aria-labelledby="problems" {
            div.line { h2 id="problems" { "Problems" } span.quiet { (found.len()) @if problems.get("nextCursor").is_some() { " and more" } } }
            @if found.is_empty() {
                (notice(Shape::Good, &html! { p { strong { "Nothing needs you." } " Broker, endpoints, filters and shares were checked just now." } }))
            }
            (findings(found))
        }
        @if let Some(history) = history { (figures(history)) }
        @if let Ok(top) = top { section aria-labelledby="busiest" {
            h2 id="busiest" { "Busiest subscriptions" }
            @let items: Vec<&Value> = top.list("items").iter().filter(|one| one.part("stats").number("matched") > 0).collect();
            @if items.is_empty() { (empty("No subscription has matched yet.", &html! {
                p { "Send a sample event and see it arrive:" } pre { code { "switchyard trigger avi:jira:created:issue" } }
                p { a href="/subscriptions" { "See the subscriptions" } }
            })) } @else { (Table { label: "Busiest subscriptions", columns: COLUMNS, rows: items.into_iter().map(row).collect() }.show()) }
        } }
    }
}

fn row(one: &Value) -> Vec<Markup> {
    let stats = one.part("stats");
    vec![
        html! {
            a href={ "/subscriptions/" (encoded(one.text("id"))) } { (one.text("id")) }
            small { (one.text("app")) }
        },
        subscription_state(one.text("state"), one.text("failing")),
        html! { (count(stats.number("matched"))) },
        html! { (success(stats.number("delivered"), stats.number("failedAttempts"))) },
        html! { (count(stats.number("parked"))) },
        ago(stats.text("lastMatch")),
    ]
}

/// The series that are drawn: the member of a sample, its name, its unit, and whether more of it is bad.
const SERIES: [(&str, &str, &str, bool); 4] = [
    ("events", "Events", "a second", false),
    ("matches", "Matches", "a second", false),
    ("failedAttempts", "Failed attempts", "a second", true),
    ("lag", "Events that wait", "", true),
];

/// Shows the last hour: a figure of now and a curve for each series.
fn figures(history: &Value) -> Markup {
    let samples = history.list("samples");
    let now = history.part("now");
    html! {
        section aria-labelledby="hour" {
            div.line { h2 id="hour" { "The last hour" } span.quiet.small { "of this router" } }
            div.figures { @for (member, name, unit, is_bad) in SERIES {
                @let values: Vec<f64> = samples.iter().map(|one| one.decimal(member).unwrap_or_default()).collect();
                @let current = now.decimal(member).or(values.last().copied()).unwrap_or_default();
                @let highest = values.iter().copied().fold(0.0_f64, f64::max);
                div.figure {
                    span.name { (name) }
                    span.value { (short(current)) @if !unit.is_empty() { " " small { (unit) } } }
                    (curve(&format!("{name} in the last hour: now {}, highest {}", short(current), short(highest)), &values, is_bad && highest > 0.0))
                }
            } }
        }
    }
}

/// Returns a number with the digits a reader needs.
fn short(number: f64) -> String {
    if number >= 100.0 || number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.1}")
    }
}

/// Shows an app developer what their installation needs.
async fn of_installation(console: &Console, visitor: &Visitor) -> Response {
    let id = visitor.caller.installation.as_ref().map(ToString::to_string).unwrap_or_default();
    let path = ApiPath::of("subscriptions").with("limit", "50");
    let page = Page::new("Overview", Part::Overview).from(&path, "switchyard subscriptions ls");
    let failing = console.get(visitor, &path.clone().with("failing", "true")).await;
    let all = match console.get(visitor, &path).await {
        Ok(all) => all,
        Err(refused) => return shown(visitor, page, Err(refused)),
    };
    let failing = match &failing {
        Ok(failing) => failing.list("items"),
        Err(refused) => return refused_page(visitor, page, refused),
    };
    let items = all.list("items");
    let content = html! {
        p.quiet { "You see what belongs to the installation " code { (id) } "." }
        section aria-labelledby="problems" {
            h2 id="problems" { "Problems" }
            @if failing.is_empty() { (notice(Shape::Good, &html! { p { strong { "Nothing needs you." } " None of your subscriptions fails." } })) }
            ul.problems { @for one in failing { li.bad {
                @let stats = one.part("stats");
                p { strong { a href={ "/subscriptions/" (encoded(one.text("id"))) } { (one.text("id")) } } ": " (one.text("failing")) }
                @if !stats.text("lastFailure").is_empty() { p { (stats.text("lastFailure")) " " (ago(stats.text("lastFailureAt"))) } }
                @if !stats.text("lastError").is_empty() { p { (stats.text("lastError")) " " (ago(stats.text("lastErrorAt"))) } }
            } } }
        }
        section aria-labelledby="own" {
            h2 id="own" { "Your subscriptions" }
            @if items.is_empty() { (empty("No subscriptions yet.", &html! { p { "Register a trigger with the token of the installation; it appears here. " a href="/try" { "Try a filter first" } } })) }
            @else { ul.problems { @for one in items { li {
                @let stats = one.part("stats");
                p { strong { a href={ "/subscriptions/" (encoded(one.text("id"))) } { (one.text("id")) } } " " (subscription_state(one.text("state"), one.text("failing"))) }
                p.small.quiet { (count(stats.number("matched"))) " matched, " (count(stats.number("delivered"))) " delivered, last match " (ago(stats.text("lastMatch"))) }
            } } } }
        }
        p { a.button.main href="/explain" { "Why did nothing arrive?" } }
    };
    shown(visitor, page, Ok(content))
}
