//! `switchyard modules revisions`: what a module was, and how a revision differs from the one before it.

use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, path_segment};
use super::exit::UsageError;
use super::io::{Output, print_line, print_row};

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
    output: Output,
    client: &ApiClient,
    path: &str,
    at: Option<&str>,
) -> anyhow::Result<()> {
    let query = at.map(|time| format!("?at={}", path_segment(time))).unwrap_or_default();
    let found = client.send(Method::GET, &format!("{path}{query}"), &[], &Value::Null).await?;
    let items: Vec<&Value> =
        found.get("items").and_then(Value::as_array).into_iter().flatten().collect();
    match output {
        Output::Json => print_line(&json!(items).to_string()),
        Output::Jsonl => items.iter().try_for_each(|item| print_line(&item.to_string())),
        Output::Text => {
            print_line(&format!(
                "{:16}  {:24}  {:11}  {:11}  EVENTS",
                "ID", "SINCE", "STATE", "CHANGE"
            ))?;
            items.iter().try_for_each(|item| {
                let [id, since, state, change] =
                    ["id", "since", "state", "change"].map(|name| text(item, name));
                let events = events(item.get("events")).join("; ");
                print_row(&format!("{id:16}  {since:24}  {state:11}  {change:11}  {events}"))
            })?;
            match text(&found, "keptSince") {
                "" => Ok(()),
                since => print_row(&format!("revisions of before {since} are not kept")),
            }
        }
    }
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
