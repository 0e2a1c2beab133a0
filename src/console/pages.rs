//! The overview page: subscriptions and the live feed.

use axum::extract::State;
use maud::{DOCTYPE, Markup, html};

use super::rows::{TableRow, rows};
use super::state::Console;

/// Maximum number of rows shown; the API lists all.
const ROWS_MAX: usize = 200;

pub(super) async fn overview(State(console): State<Console>) -> Markup {
    let (rows, total) = rows(&console.registry, &console.matcher, ROWS_MAX);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Switchyard" }
                link rel="icon" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/console.css";
                script src="/assets/console.js" defer {}
            }
            body {
                header {
                    h1 { "Switchyard" }
                    p { "Routes Jira events to the apps that registered triggers for them." }
                }
                main {
                    section aria-labelledby="subscriptions" {
                        h2 id="subscriptions" { "Subscriptions " span.count { (total) } }
                        @if rows.is_empty() { (empty()) } @else { (table(&rows)) }
                        @if total > rows.len() {
                            p.note { "The first " (rows.len()) " of " (total) "; list all with "
                                code { "GET /admin/v1/subscriptions" } }
                        }
                    }
                    section aria-labelledby="live" {
                        h2 id="live" { "Live " span id="live-state" role="status" { "not connected" } }
                        p.note { "Each event as it is routed, newest first. Requires JavaScript." }
                        ol id="notices" {}
                    }
                }
                footer {
                    a href="/docs/api" { "API" } " · "
                    a href="/metrics" { "metrics" } " · "
                    a href="/healthz/ready" { "health" }
                }
            }
        }
    }
}

fn empty() -> Markup {
    html! {
        p { "No subscriptions yet. Register a trigger:" }
        pre { code {
    "curl -X POST \"$BASE/forge/installation/v2/dynamic/module\" \\
    -H \"authorization: Bearer $INSTALLATION_TOKEN\" -H 'content-type: application/json' \\
  -d '{\"type\":\"trigger\",\"data\":{\"endpoint\":\"hook\",\"events\":[\"avi:jira:created:issue\"],
       \"filter\":{\"expression\":\"event.issue.fields.project.key == \\'OPS\\'\"}}}'"
        } }
    }
}

fn table(rows: &[TableRow]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-labelledby="subscriptions" {
            table {
                thead { tr {
                    th scope="col" { "Subscription" }
                    th scope="col" { "Events and filter" }
                    th scope="col" { "State" }
                    th.number scope="col" { "Matched" }
                    th.number scope="col" { "Not matched" }
                    th.number scope="col" { "Errors" }
                    th.number scope="col" { "Delivered" }
                    th.number scope="col" { "Failed" }
                    th scope="col" { "Last match" }
                } }
                tbody { @for row in rows { (line(row)) } }
            }
        }
    }
}

fn line(row: &TableRow) -> Markup {
    html! {
        tr data-subscription=(row.id) {
            th scope="row" { span.id { (row.id) } small { (row.app) } small { "→ " (row.handler) } }
            td {
                @for event in &row.events { small { (event) } }
                @for filter in &row.filters { code { (filter) } }
                @if row.filters.is_empty() { small { "every event" } }
            }
            td class={ "state " (row.state) } { (row.state) }
            td.number data-count="matched" { (row.matched) }
            td.number { (row.not_matched) }
            td.number.bad[row.errors > 0] data-count="errors" { (row.errors) }
            td.number data-count="delivered" { (row.delivered) }
            td.number.bad[row.failed > 0] data-count="failed" { (row.failed) }
            td { (row.last_match.as_deref().unwrap_or("never")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_marked_by_the_one_class_attribute_of_their_cell() {
        let row = TableRow {
            id: "i/k".into(),
            app: "app".into(),
            events: Vec::new(),
            filters: Vec::new(),
            handler: "https://h/".into(),
            state: "active",
            matched: 1,
            not_matched: 0,
            errors: 10_219,
            delivered: 1,
            failed: 0,
            last_match: None,
        };
        let text = line(&row).into_string();
        assert!(
            text.contains(r#"<td class="number bad" data-count="errors">10219</td>"#),
            "{text}"
        );
        assert!(text.contains(r#"<td class="number" data-count="failed">0</td>"#), "{text}");
    }
}
