//! `/jobs`: redrives and replays with their progress, and buttons that pause, resume and cancel them.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::Value;

use super::posted::posted;
use crate::console::answer::{Members as _, plain};
use crate::console::asked::Asked;
use crate::console::components::{Action, State as Shape, ago, count, done, empty, facts};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::{Console, shown};
use crate::console::visitor::Visitor;
use crate::domain::Scope;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/jobs", get(list)).route("/jobs/{kind}/{id}/{action}", post(act))
}

/// The lists of the API by their name in a path of this page.
const KINDS: [(&str, &str, &str); 2] = [
    ("redrives", "dlq/redrives", "Redrives of dead letters"),
    ("replays", "replays", "Replays of stored events"),
];

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let page =
        Page::new("Jobs", Part::Jobs).from(&ApiPath::of("dlq/redrives"), "switchyard dlq jobs");
    let mut content = html! { (done(asked.get("done"))) };
    for (kind, path, title) in KINDS {
        let answer = match console.get(&visitor, &ApiPath::of(path)).await {
            Ok(answer) => answer,
            Err(refused) => return shown(&visitor, page, Err(refused)),
        };
        content.0.push_str(&section(&visitor, kind, title, answer.list("items")).0);
    }
    shown(&visitor, page, Ok(content))
}

fn section(visitor: &Visitor, kind: &str, title: &str, jobs: &[Value]) -> Markup {
    html! {
        section aria-labelledby=(kind) {
            h2 id=(kind) { (title) }
            @if jobs.is_empty() { (empty("None yet.", &match kind {
                "redrives" => html! { p { "Start one from the " a href="/dead-letters" { "dead letters" } "." } },
                _ => html! { p { "Start one with a command; see what it would do first:" } pre { code { "switchyard replay start --subscription INSTALLATION/KEY --mode missing --from 1h --dry-run" } } },
            })) }
            @for job in jobs { (card(visitor, kind, job)) }
        }
    }
}

fn card(visitor: &Visitor, kind: &str, job: &Value) -> Markup {
    let state = match job.text("state") {
        "done" => Shape::Good,
        "failed" => Shape::Bad,
        "paused" => Shape::Warn,
        "running" | "planned" => Shape::Info,
        _ => Shape::Quiet,
    };
    let progress = job.decimal("progress").unwrap_or_default();
    let button = |action: &str, label, effect, is_dangerous| {
        let path = format!("/jobs/{kind}/{}/{action}", encoded(job.text("id")));
        Action { path, label, effect, is_dangerous, values: Vec::new() }.show(visitor)
    };
    html! {
        div.card id=(job.text("id")) {
            div.line { h3 { (job.text("id")) } (state.word(job.text("state"))) (ago(job.text("createdAt"))) }
            label for={ "progress-" (job.text("id")) } { (format!("{:.0} % of {}", progress * 100.0, job.text("id"))) }
            progress id={ "progress-" (job.text("id")) } max="1" value=(progress) {}
            @if !job.text("reason").is_empty() { p { (job.text("reason")) } }
            (facts(vec![
                ("Selects", html! { code { (job.part("request").to_string()) } }),
                ("Counts", html! { (counted(job.entries("counts"))) }),
                ("Outcomes", html! { (counted(job.entries("outcomes"))) }),
                ("Waiting", html! { (count(job.number("pending"))) }),
                ("Rate", html! { (job.number("rate")) " a second" }),
            ]))
            @if visitor.may(Scope::Operate) { div.actions { @match job.text("state") {
                "running" | "planned" => {
                    (button("pause", "Pause", "", false)) (button("cancel", "Cancel", "What was handed over stays handed over.", true))
                }
                "paused" => {
                    (button("resume", "Resume", "", false)) (button("cancel", "Cancel", "What was handed over stays handed over.", true))
                }
                _ => {}
            } } }
        }
    }
}

/// Returns names with their numbers, as a list in a sentence.
fn counted(counts: Vec<(&str, &Value)>) -> String {
    let texts: Vec<String> =
        counts.into_iter().map(|(name, number)| format!("{name} {}", plain(number))).collect();
    texts.join(", ")
}

async fn act(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path((kind, id, action)): Path<(String, String, String)>,
) -> Response {
    let page = Page::new("Jobs", Part::Jobs);
    let (_, path, _) = KINDS.into_iter().find(|(known, ..)| *known == kind).unwrap_or(KINDS[1]);
    let (action, done) = match action.as_str() {
        "pause" => ("pause", "job-paused"),
        "resume" => ("resume", "job-resumed"),
        _ => ("cancel", "job-cancelled"),
    };
    let answer = console.post(&visitor, &ApiPath::of(path).id(&id).part(action), None).await;
    posted(&visitor, page, answer, &format!("/jobs?done={done}"))
}
