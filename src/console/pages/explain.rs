//! `/explain`: why stored events reached subscriptions, or not, by issue or page, or by event.

use std::collections::BTreeSet;

use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::decision_view::decision_list;
use crate::console::answer::{Members as _, plain};
use crate::console::asked::Asked;
use crate::console::components::{PERIODS, ago, empty, field, search_form, select};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, ApiRefusal, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

/// Events on a page.
const EVENTS_MAX: u32 = 20;
const ASKED: [&str; 6] = ["entity", "event", "site", "installation", "subscription", "since"];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/explain", get(show))
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let asked = searched(asked);
    let content = if is_asked(&asked) {
        explained(&console, &visitor, &asked).await
    } else {
        Ok((asked.clone(), teach()))
    };
    let (explained, content) = content
        .unwrap_or_else(|refused| (asked.clone(), crate::console::components::refusal(&refused)));
    let path = explained.ask(ApiPath::of("explain"), &ASKED);
    let command = format!("switchyard explain{}", explained.flags(&ASKED));
    let mut page = Page::new("Why did nothing arrive?", Part::Explain).from(&path, command);
    // The API answers a question that names something.
    page.source = page.source.filter(|_| is_asked(&explained));
    shown(&visitor, page, Ok(html! { (form(&visitor, &asked)) (content) }))
}

/// Whether something is named: subscriptions or events.
fn is_asked(asked: &Asked) -> bool {
    ASKED.iter().any(|name| *name != "since" && !asked.get(name).is_empty())
}

/// Explains what is asked, with the parameters of the last question. The API answers about one site; who names only an
/// issue is answered about every site that had one of its events.
async fn explained(
    console: &Console,
    visitor: &Visitor,
    asked: &Asked,
) -> Result<(Asked, Markup), ApiRefusal> {
    let is_scoped =
        ["site", "installation", "subscription"].iter().any(|name| !asked.get(name).is_empty());
    let mut questions = vec![asked.clone()];
    if !is_scoped && visitor.is_operator() && !asked.get("entity").is_empty() {
        let path = asked.ask(ApiPath::of("events"), &["entity", "since"]);
        let found = console.get(visitor, &path.with("limit", EVENTS_MAX.to_string())).await?;
        let sites: BTreeSet<&str> =
            found.list("items").iter().map(|event| event.text("site")).collect();
        questions = sites.iter().map(|site| asked.clone().with("site", site)).collect();
        if questions.is_empty() {
            return Ok((asked.clone(), events(&found)));
        }
    }
    let mut content = html! {};
    for asked in &questions {
        let path = ApiPath::of("explain");
        let answer = console.post(visitor, &path, Some(&question(asked))).await?;
        content.0.push_str(&events(&answer).0);
    }
    let last = questions.pop().unwrap_or_else(|| asked.clone());
    Ok((last, content))
}

/// Reads what the search in the bar asks for: an id of an event has no `-` after letters, as `OPS-42` has.
fn searched(asked: Asked) -> Asked {
    let find = asked.get("find").to_owned();
    if find.is_empty() {
        return asked;
    }
    let is_key = find.split_once('-').is_some_and(|(project, number)| {
        project.starts_with(|first: char| first.is_ascii_alphabetic())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    let name =
        if is_key || find.bytes().all(|byte| byte.is_ascii_digit()) { "entity" } else { "event" };
    Asked::of([(name.to_owned(), find), ("since".to_owned(), "24h".to_owned())])
}

/// Returns the question in the form of the API.
pub(super) fn question(asked: &Asked) -> Value {
    let given =
        ASKED.iter().map(|name| (*name, asked.get(name))).filter(|(_, value)| !value.is_empty());
    let mut question: Map<String, Value> =
        given.map(|(name, value)| (name.to_owned(), value.into())).collect();
    question.entry("since").or_insert_with(|| "24h".into());
    question.insert("limit".to_owned(), EVENTS_MAX.into());
    json!(question)
}

fn form(visitor: &Visitor, asked: &Asked) -> Markup {
    let since = match asked.get("since") {
        "" => "24h",
        since => since,
    };
    let mut fields = vec![field("entity", "Issue or page", asked.get("entity"), "OPS-42")];
    if visitor.is_operator() {
        fields.push(field(
            "installation",
            "Installation",
            asked.get("installation"),
            "whose subscriptions",
        ));
    }
    fields.extend([
        field("subscription", "Subscription", asked.get("subscription"), "installation/key"),
        field("event", "Event id", asked.get("event"), ""),
        select("since", "Within", since, &PERIODS),
    ]);
    search_form("/explain", &fields)
}

fn teach() -> Markup {
    empty(
        "Name an issue, and see for each subscription whether its events were delivered, and what decided.",
        &html! {
            p.quiet { "The events of the last days are stored and decided again with the filters of their time. Typical causes: the filter \
                asks for another project, the subscription has another event type or site, the app made the change itself, \
                a field was null, or the handler does not answer." }
        },
    )
}

fn events(answer: &Value) -> Markup {
    let found = answer.list("events");
    let retained = answer.part("retained");
    html! {
        @if found.is_empty() { (empty("No stored event is like this.", &html! {
            @if !retained.text("since").is_empty() { p { "Stored events begin " (ago(retained.text("since"))) "." } }
            @for hint in answer.list("hints") { p { (plain(hint)) } }
        })) }
        @for event in found { section aria-label=(event.text("event")) {
            div.line {
                h2 { (event.text("entity")) " " (event.text("type")) }
                (ago(event.text("time")))
                span.quiet { "site " (event.text("site")) }
                a href={ "/events/" (encoded(&format!("{}/{}", event.text("site"), event.text("event")))) } { "The event" }
            }
            @let decisions = event.list("decisions");
            @if decisions.is_empty() { p { "No subscription of the site " code { (event.text("site")) } " was looked at for it. Is the app installed at another site?" } }
            (decision_list(decisions))
            @if event.number("leftOut") > 0 { p.quiet { (event.number("leftOut")) " more subscriptions were not looked at; name one." } }
        } }
        @if !found.is_empty() { @for hint in answer.list("hints") { p.quiet { (plain(hint)) } } }
    }
}
