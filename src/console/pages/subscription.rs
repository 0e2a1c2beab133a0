//! `/subscriptions/{id}`: one subscription, with its filter, what it did, its revisions and its shadow.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::decision_view::{decision, decision_word};
use super::deliveries::delivery_table;
use super::subscription_actions::{actions, shadow_actions};
use super::subscriptions::target;
use crate::console::answer::{Members as _, plain};
use crate::console::asked::{Asked, shell_word};
use crate::console::components::{
    PERIODS, State as Shape, ago, ago_if_known, bars, count, diagnostics, done, empty, facts,
    figure, filter, milliseconds, notice, pretty_sample, refusal, subscription_state, success,
    values, warnings,
};
use crate::console::layout::{Page, Part, copied_command};
use crate::console::operator_api::{ApiPath, ApiRefusal, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;

/// The parts of the page with their names; the first is shown without one.
const TABS: [(&str, &str); 7] = [
    ("", "Now"),
    ("decisions", "Last decisions"),
    ("deliveries", "Deliveries"),
    ("revisions", "Revisions"),
    ("try", "Try an event"),
    ("backtest", "Backtest"),
    ("shadow", "Shadow filter"),
];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/subscriptions/{id}", get(show))
}

async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = ApiPath::of("subscriptions").id(&id);
    let command = match asked.get("tab") {
        "decisions" => format!("switchyard explain --subscription {} --since 15m", shell_word(&id)),
        "deliveries" => format!("switchyard deliveries ls --subscription {}", shell_word(&id)),
        "revisions" => format!("switchyard modules revisions {}", shell_word(&id)),
        "backtest" => format!("switchyard backtest --subscription {}", shell_word(&id)),
        "shadow" => format!("switchyard subscriptions shadow show {}", shell_word(&id)),
        _ => format!("switchyard subscriptions show {}", shell_word(&id)),
    };
    let page = Page::new(&id, Part::Subscriptions)
        .below("Subscriptions", "/subscriptions")
        .from(&path, command);
    let answer = match console.get(&visitor, &path).await {
        Ok(answer) => answer,
        Err(refused) => return shown(&visitor, page, Err(refused)),
    };
    let tab = match asked.get("tab") {
        "decisions" => decisions(&console, &visitor, &id, &asked).await,
        "deliveries" => deliveries(&console, &visitor, &id).await,
        "revisions" => revisions(&console, &visitor, &id, &asked).await,
        "try" => Ok(try_event(&console, &visitor, &id, &answer, &asked).await),
        "backtest" => backtest(&console, &visitor, &id, &answer, &asked).await,
        "shadow" => shadow(&console, &visitor, &id, &answer).await,
        _ => now(&console, &visitor, &id, &answer).await,
    };
    let page = page.with_state(subscription_state(answer.text("state"), answer.text("failing")));
    let content = html! {
        (done(asked.get("done")))
        (actions(&visitor, &id, &answer))
        (tabs(&id, asked.get("tab")))
        @match &tab { Ok(tab) => (tab), Err(refused) => (refusal(refused)) }
    };
    page.show(&visitor, &content).into_response()
}

fn tabs(id: &str, current: &str) -> Markup {
    let path = format!("/subscriptions/{}", encoded(id));
    html! {
        nav aria-label="About this subscription" { ul.tabs { @for (tab, name) in TABS {
            li { a href=[Some(if tab.is_empty() { path.clone() } else { format!("{path}?tab={tab}") })]
                aria-current=[(tab == current).then_some("page")] { (name) } }
        } } }
    }
}

async fn now(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    answer: &Value,
) -> Result<Markup, ApiRefusal> {
    let stats = answer.part("stats");
    let (delivered, failed) = (stats.number("delivered"), stats.number("failedAttempts"));
    let activity = ApiPath::of("subscriptions").id(id).part("activity").with("since", "1h");
    let activity = console.get(visitor, &activity).await.ok();
    Ok(html! {
        @if !answer.text("failing").is_empty() {
            (notice(Shape::Bad, &html! {
                p { strong { (answer.text("failing")) } }
                @if !stats.text("lastFailure").is_empty() { p { "The handler: " (stats.text("lastFailure")) " " (ago(stats.text("lastFailureAt"))) } }
                @if !stats.text("lastError").is_empty() { p { "The filter: " (stats.text("lastError")) " " (ago(stats.text("lastErrorAt"))) } }
            }))
        }
        @if !answer.text("reason").is_empty() { (notice(Shape::Warn, &html! { p { (answer.text("reason")) } })) }
        div.figures {
            (figure("Matched", &count(stats.number("matched")), "since this router started"))
            (figure("Success", &success(delivered, failed), &format!("{} delivered, {} failed attempts", count(delivered), count(failed))))
            (figure("Parked", &count(stats.number("parked")), "wait to be attempted again"))
            (figure("Dead", &count(stats.number("dead")), "dead-lettered, as dead letters"))
        }
        @if let Some(activity) = &activity { (activity_chart(activity)) }
        section aria-labelledby="filters" {
            h2 id="filters" { "Events and filter" }
            @for event in answer.list("events") { div.card {
                div.line { strong { (event.text("eventType")) }
                    @if event.flag("ignoreSelf") { " " span.quiet { "ignores what the app did itself" } }
                }
                @match event.text("expression") {
                    "" => p.quiet { "No filter: every event of this type." },
                    text => {
                        (filter(text))
                        p.small.quiet { "When the filter fails: " (on_error(event.text("onError"))) }
                    }
                }
            } }
            @let found = answer.list("warnings");
            @if !found.is_empty() { h3 { "What the checker says" } (warnings(found)) }
        }
        section aria-labelledby="record" {
            h2 id="record" { "Record" }
            (facts(vec![
                ("App", html! { (answer.text("app")) }),
                ("Installation", html! { a href={ "/installations/" (encoded(answer.text("installation"))) } { (answer.text("installation")) } }),
                ("Site", html! { (answer.text("cloudId")) }),
                ("Handler", html! { (target(answer)) }),
                ("Registered", ago_if_known(answer.text("createdAt"))),
                ("Changed", ago_if_known(answer.text("updatedAt"))),
                ("Last match", ago(stats.text("lastMatch"))),
                ("Last delivered", ago(stats.text("lastDelivered"))),
                ("Evaluation", html! { (count(stats.number("steps"))) " steps" }),
            ]))
        }
    })
}

fn on_error(policy: &str) -> &'static str {
    match policy {
        "RECEIVE" => "the event is delivered nevertheless",
        "RECEIVE_AND_LOG" => "the event is delivered nevertheless, and a line is logged",
        "IGNORE_AND_LOG" => "the event is not delivered, and a line is logged",
        _ => "the event is not delivered",
    }
}

fn activity_chart(activity: &Value) -> Markup {
    let buckets = activity.list("buckets");
    let values: Vec<(u64, u64)> = buckets
        .iter()
        .map(|one| (one.number("delivered"), one.number("failed") + one.number("dead")))
        .collect();
    let (good, bad) = values.iter().fold((0, 0), |(good, bad), one| (good + one.0, bad + one.1));
    let label = format!("Deliveries of the last hour: {good} delivered, {bad} failed");
    html! {
        section aria-labelledby="activity" {
            h2 id="activity" { "The last hour" }
            div.figure {
                (bars(&label, &values))
                small.quiet { (label)
                    @if activity.decimal("medianMs").is_some() {
                        "; the handler answers in " (milliseconds(activity.decimal("medianMs"))) " (median), "
                        (milliseconds(activity.decimal("p95Ms"))) " (95 of 100)"
                    }
                    @if activity.get("complete") == Some(&Value::Bool(false)) { "; only the newest records were read" }
                }
            }
        }
    }
}

async fn decisions(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    asked: &Asked,
) -> Result<Markup, ApiRefusal> {
    let since = match asked.get("since") {
        "" => "15m",
        since => since,
    };
    let entity = Some(asked.get("entity")).filter(|entity| !entity.is_empty());
    let question = json!({"subscription": id, "since": since, "limit": 20, "entity": entity});
    let answer = console.post(visitor, &ApiPath::of("explain"), Some(&question)).await?;
    let events = answer.list("events");
    Ok(html! {
        form.filters method="get" {
            input type="hidden" name="tab" value="decisions";
            (crate::console::components::field("entity", "Issue or page", asked.get("entity"), "OPS-42"))
            (crate::console::components::select("since", "Within", since, &PERIODS))
            div.field { button.main { "Show" } }
        }
        @if events.is_empty() {
            (empty("No event of its site within this time.", &html! { p { "Choose a longer time, or "
                a href="?tab=try" { "try an event" } "." } }))
        }
        ul.problems { @for event in events { @for one in event.list("decisions") {
            li .(decision_word(one).0.class()) { (decision(event, one)) }
        } } }
        @for hint in answer.list("hints") { p.quiet { (plain(hint)) } }
    })
}

async fn deliveries(console: &Console, visitor: &Visitor, id: &str) -> Result<Markup, ApiRefusal> {
    let path = ApiPath::of("deliveries").with("subscription", id).with("limit", "50");
    let answer = console.get(visitor, &path).await?;
    let items = answer.list("items");
    Ok(html! {
        @if items.is_empty() { (empty("No deliveries in the log.", &html! { p { "The log has the deliveries of the last days. "
            a href="?tab=decisions" { "See why its last events were not delivered" } "." } })) }
        @else { (delivery_table(items)) }
        p { a href={ "/deliveries?subscription=" (encoded(id)) } { "Search the deliveries of this subscription" } }
    })
}

async fn revisions(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    asked: &Asked,
) -> Result<Markup, ApiRefusal> {
    let path = ApiPath::of("subscriptions").id(id).part("revisions");
    let answer = console.get(visitor, &path).await?;
    let diff = match asked.get("revision") {
        "" => None,
        revision => Some(console.get(visitor, &path.clone().id(revision).part("diff")).await?),
    };
    Ok(html! {
        @if let Some(diff) = &diff { (diff_view(diff)) }
        ul.problems { @for one in answer.list("items") { li.info {
            p {
                strong { (one.text("change")) } " " (ago(one.text("since")))
                " " small.quiet { "revision " (one.number("revision")) ", " (one.text("state")) @if one.flag("uncertain") { ", time is uncertain" } }
            }
            @if !one.text("reason").is_empty() { p.quiet { (one.text("reason")) } }
            @for event in one.list("events") {
                p { (event.text("eventType")) }
                @match event.text("filter") { "" => {}, text => (filter(text)) }
            }
            p { a href={ "?tab=revisions&revision=" (encoded(one.text("id"))) } { "What changed" } }
        } } }
        @if answer.list("items").is_empty() { (empty("No revisions are kept.", &html! { p { "A static module has the revisions of its app." } })) }
    })
}

/// Shows what a revision changed.
fn diff_view(diff: &Value) -> Markup {
    let states = diff.part("state");
    let line = |one: &Value| match one.text("filter") {
        "" => format!("{}: every event", one.text("eventType")),
        text => format!("{}: {text}", one.text("eventType")),
    };
    html! {
        section.card aria-labelledby="diff" {
            h2 id="diff" { "What revision " (diff.text("id")) " changed" }
            @if states.text("before") != states.text("after") {
                p { "State: " (states.text("before")) " → " (states.text("after")) }
            }
            div.diff {
                @for one in diff.list("removed") { del { (line(one)) } }
                @for one in diff.list("added") { ins { (line(one)) } }
                @for one in diff.list("changed") { del { (line(one.part("before"))) } ins { (line(one.part("after"))) } }
            }
            @if ["removed", "added", "changed"].iter().all(|name| diff.list(name).is_empty()) {
                p.quiet { "Its events and filters are the same." }
            }
        }
    }
}

async fn try_event(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    answer: &Value,
    asked: &Asked,
) -> Markup {
    let event = asked.raw("event");
    let shown = if event.is_empty() { sample(answer) } else { event.to_owned() };
    let result = match serde_json::from_str::<Value>(event) {
        _ if event.is_empty() => None,
        Err(error) => Some(Err(format!("This is not JSON: {error}"))),
        Ok(body) => {
            let path = ApiPath::of("subscriptions").id(id).part("test");
            let tried = console.post(visitor, &path, Some(&json!({"event": body}))).await;
            Some(tried.map_err(|refused| refused.message))
        }
    };
    html! {
        div.two {
            form.card method="get" {
                input type="hidden" name="tab" value="try";
                div.field {
                    label for="event" { "Event" }
                    textarea id="event" name="event" rows="18" maxlength="30000" spellcheck="false" { (shown) }
                    span.hint { "The body of an event, as Jira sends it. Nothing is stored or delivered." }
                }
                div { button.main { "Try" } }
            }
            div { @match &result {
                None => (empty("Not tried yet.", &html! { p { "Change the event and press Try." } })),
                Some(Err(message)) => (notice(Shape::Bad, &html! { p { (message) } })),
                Some(Ok(tried)) => (dry_run(tried)),
            } }
        }
    }
}

fn sample(answer: &Value) -> String {
    let event_type = answer.list("events").first().map_or("", |event| event.text("eventType"));
    pretty_sample(event_type)
}

fn dry_run(tried: &Value) -> Markup {
    let state = if tried.flag("delivered") { Shape::Good } else { Shape::Quiet };
    let word =
        if tried.flag("delivered") { "would be delivered" } else { "would not be delivered" };
    let explanation = tried.part("explanation");
    html! {
        div.card {
            p { (state.word(word)) }
            @if !tried.text("reason").is_empty() { p { (tried.text("reason")) } }
            (values(tried.part("values")))
            @if !explanation.text("because").is_empty() { p.quiet { (explanation.text("because")) } }
            @if let Some(span) = tried.get("span") { @if !span.text("source").is_empty() { p { "Decided by" } (filter(span.text("source"))) } }
        }
    }
}

async fn backtest(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    answer: &Value,
    asked: &Asked,
) -> Result<Markup, ApiRefusal> {
    let events = answer.list("events");
    let present = events.iter().map(|event| event.text("expression")).find(|text| !text.is_empty());
    let expression = match asked.raw("expression") {
        "" => present.unwrap_or("true").to_owned(),
        asked => asked.to_owned(),
    };
    let result = match asked.raw("expression") {
        "" => None,
        expression => {
            let body = json!({"subscription": id, "expression": expression, "since": "24h", "maxEvents": 20_000, "maxSeconds": 10});
            Some(console.post(visitor, &ApiPath::of("filters:backtest"), Some(&body)).await?)
        }
    };
    Ok(html! {
        form.card method="get" {
            input type="hidden" name="tab" value="backtest";
            div.field {
                label for="expression" { "Filter" }
                textarea id="expression" name="expression" rows="6" spellcheck="false" { (expression) }
                span.hint { "What it would have delivered of the stored events of the last day, at most 20 000. Nothing is delivered." }
            }
            div { button.main { "Backtest" } }
        }
        @if let Some(result) = &result { (backtest_result(&expression, result)) }
    })
}

fn backtest_result(expression: &str, result: &Value) -> Markup {
    if result.get("valid") == Some(&Value::Bool(false)) {
        return html! { h2 { "The filter has mistakes" } (diagnostics(expression, result.list("diagnostics"))) };
    }
    let (read, difference) = (result.part("read"), result.part("difference"));
    let samples = difference.part("samples");
    html! {
        div.figures {
            (figure("Would be delivered", &count(result.number("delivered")), &format!("of {} events", count(read.number("events")))))
            (figure("Gained", &count(difference.number("gained")), "delivered by it and not by the present filter"))
            (figure("Lost", &count(difference.number("lost")), "delivered by the present filter and not by it"))
            (figure("Failed", &count(result.number("failed")), "evaluations that failed"))
        }
        @for (name, found) in [("Gained", samples.list("gained")), ("Lost", samples.list("lost")), ("Failed", result.part("samples").list("failed"))] {
            @if !found.is_empty() { section {
                h2 { (name) }
                ul.problems { @for one in found { li.info {
                    p { a href={ "/events/" (encoded(&format!("{}/{}", one.text("site"), one.text("event")))) } { (one.text("entity")) " " (one.text("type")) } " " (ago(one.text("time"))) }
                    p.quiet { (one.text("because")) }
                    (values(one.part("values")))
                } } }
            } }
        }
    }
}

async fn shadow(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    answer: &Value,
) -> Result<Markup, ApiRefusal> {
    let command = format!("switchyard subscriptions shadow set {} --filter 'EXPR'", shell_word(id));
    if answer.get("shadow").is_none() {
        return Ok(html! {
            (empty("No shadow filter.", &html! {
                p { "A shadow filter is evaluated together with the present one and delivers nothing: see what it would change, then promote it." }
                (copied_command(&command))
            }))
            (shadow_actions(visitor, id, answer, None))
        });
    }
    let shadow = console.get(visitor, &ApiPath::of("subscriptions").id(id).part("shadow")).await?;
    let differences = shadow.part("differences");
    Ok(html! {
        div.figures {
            (figure("Events compared", &count(shadow.number("events")), if shadow.flag("upToDate") { "up to date" } else { "still counting" }))
            (figure("Both deliver", &count(shadow.number("both")), "no difference"))
            (figure("Gained", &count(shadow.number("gained")), "only the shadow filter delivers"))
            (figure("Lost", &count(shadow.number("lost")), "only the present filter delivers"))
        }
        @if !shadow.text("problem").is_empty() { (notice(Shape::Warn, &html! { p { (shadow.text("problem")) } })) }
        @for (name, found) in [("Gained", differences.list("gained")), ("Lost", differences.list("lost"))] {
            @if !found.is_empty() { section { h2 { (name) }
                ul { @for one in found { li { a href={ "/events/" (one.number("sequence")) } { (one.text("type")) } " " (ago(one.text("time"))) } } }
            } }
        }
        section { h2 { "The shadow filter" } pre { code { (format!("{:#}", shadow.part("members"))) } } }
        (shadow_actions(visitor, id, answer, Some(&shadow)))
    })
}
