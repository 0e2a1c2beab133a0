//! `switchyard modules revisions`: what a module was, and how a revision differs from the one before it.

use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{ApiClient, path_segment};
use super::exit::UsageError;
use super::io::{Output, print_error, print_line, print_row};
use super::table::{Column, ListFlags, ListOf, Toned, plain, print_list};
use crate::clock::{self, relative};

const LIST: ListOf<'static> = ListOf {
    id: "id",
    if_empty: "no revision is stored yet; one is stored soon after each change",
};
const COLUMNS: [Column; 6] = [
    Column::text("ID", 0),
    Column::text("SINCE", 1),
    Column::text("STATE", 0),
    Column::text("CHANGE", 2),
    Column::text("EVENTS", 3),
    Column::text("TIME", 4).wide(),
];

/// Returns the id of the newest revision of those at `path`.
///
/// # Errors
/// There is none, or the router does not answer.
pub(super) async fn newest(client: &ApiClient, path: &str) -> anyhow::Result<String> {
    let found = client.send(Method::GET, path, &[], &Value::Null).await?;
    let newest = found.pointer("/items/0/id").map(|id| match id.as_str() {
        Some(id) => id.to_owned(),
        None => id.to_string(),
    });
    newest.ok_or_else(|| UsageError("no revision is stored yet".into()).into())
}

/// Prints how the revision `id` of those at `path` differs from the one before it.
pub(super) async fn show_diff(
    output: Output,
    client: &ApiClient,
    path: &str,
    id: &str,
) -> anyhow::Result<()> {
    let path = format!("{path}/{}/diff", path_segment(id));
    let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
    print_diff(output, &found)
}

/// Prints the revisions at `path`, or the one in force at a time.
pub(super) async fn list(
    flags: ListFlags,
    client: &ApiClient,
    path: &str,
    at: Option<&str>,
) -> anyhow::Result<()> {
    let query = at.map(|time| format!("?at={}", path_segment(time))).unwrap_or_default();
    let found = client.send(Method::GET, &format!("{path}{query}"), &[], &Value::Null).await?;
    let items = found.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let now = clock::now();
    print_list(flags, LIST, items, &COLUMNS, |item| row(item, now))?;
    match text(&found, "keptSince") {
        since if flags.output.plain() == Output::Text && !since.is_empty() => {
            print_error(&format!("revisions of before {since} are not kept"));
        }
        _ => {}
    }
    Ok(())
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let since = text(item, "since");
    vec![
        plain(text(item, "id")),
        plain(relative(Some(since), now)),
        plain(text(item, "state")),
        plain(text(item, "change")),
        plain(events(item.get("events")).join("; ")),
        plain(since),
    ]
}

fn print_diff(output: Output, diff: &Value) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&diff.to_string());
    }
    let state = |name| diff.get("state").map(|states| text(states, name)).unwrap_or_default();
    if state("before") != state("after") {
        print_row(&format!("state  {} -> {}", state("before"), state("after")))?;
    }
    for (sign, member) in [("-", "removed"), ("+", "added")] {
        for event in events(diff.get(member)) {
            print_row(&format!("{sign} {event}"))?;
        }
    }
    for pair in diff.get("changed").and_then(Value::as_array).into_iter().flatten() {
        for (sign, member) in [("-", "before"), ("+", "after")] {
            let event = pair.get(member).map(event_line).unwrap_or_default();
            print_row(&format!("{sign} {event}"))?;
        }
    }
    Ok(())
}

fn events(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array).into_iter().flatten().map(event_line).collect()
}

/// One event with its filter and conditions.
fn event_line(event: &Value) -> String {
    let mut line = text(event, "eventType").to_owned();
    let filter = text(event, "filter");
    if !filter.is_empty() {
        line = format!("{line} if {filter}");
    }
    match event.get("conditions") {
        Some(conditions) => format!("{line} {conditions}"),
        None => line,
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
