//! What `switchyard listen` prints: how it began, and a line for each delivery.

use serde_json::{Value, json};
use url::Url;

use super::forward::{Forwarded, Received};
use crate::cli::io::{Output, print_line, print_row};
use crate::clock;

/// Event types that are listed; of more their number is shown.
const EVENTS_SHOWN_MAX: usize = 3;

/// Prints what the listener receives.
pub(super) fn begun(
    output: Output,
    listener: &Value,
    to: Option<&Url>,
    context: Option<&str>,
) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&json!({ "listener": listener }).to_string());
    }
    let text = |name: &str| listener.get(name).and_then(Value::as_str).unwrap_or_default();
    let events = listener.get("events").and_then(Value::as_array);
    let events: Vec<&str> = events.into_iter().flatten().filter_map(event_type).collect();
    let shown = match events.len() {
        count if count > EVENTS_SHOWN_MAX => format!("{count} event types"),
        _ => events.join(", "),
    };
    let to = to.map_or_else(|| "this terminal".to_owned(), Url::to_string);
    print_row(&format!("listening to {shown} at the site {}, forwarding to {to}", text("site")))?;
    if let Some(filter) = listener.pointer("/filter/expression").and_then(Value::as_str) {
        print_row(&format!("filter  {filter}"))?;
    }
    match text("secret") {
        "" => print_row("signed with the secret of the app")?,
        secret => print_row(&format!("signing secret  {secret}"))?,
    }
    let example = events.iter().find(|name| **name == EXAMPLE).or(events.first());
    if let Some(example) = example {
        let context = context.map(|name| format!(" --context {name}")).unwrap_or_default();
        print_row(&format!(
            "to publish a sample event, in another terminal: switchyard trigger{context} {example}"
        ))?;
    }
    Ok(())
}

/// The event that is shown as an example, if the listener receives it.
const EXAMPLE: &str = "avi:jira:created:issue";

fn event_type(event: &Value) -> Option<&str> {
    event.as_str().or_else(|| event.get("eventType")?.as_str())
}

/// Prints a delivery and what became of it. `is_late` if the router did not wait for the answer.
pub(super) fn forwarded(
    output: Output,
    received: &Received,
    forwarded: &Forwarded,
    is_late: bool,
) -> anyhow::Result<()> {
    let took_ms = u64::try_from(forwarded.took.as_millis()).unwrap_or(u64::MAX);
    if output != Output::Text {
        let mut line = json!({
            "delivery": received.header("webhook-id"),
            "headers": received.headers,
            "body": serde_json::from_str::<Value>(&received.body).unwrap_or(Value::Null),
            "answer": forwarded.answer(),
            "ms": took_ms,
        });
        if let (true, Some(line)) = (is_late, line.as_object_mut()) {
            line.insert("late".to_owned(), true.into());
        }
        return print_line(&line.to_string());
    }
    let time = clock::now().strftime("%H:%M:%S");
    let event_type = received.header("switchyard-event-type");
    let entity = entity(&received.body);
    let result = match &forwarded.result {
        Ok((status, _)) => format!("{status} in {took_ms} ms"),
        Err(error) => format!("no response after {took_ms} ms: {error}"),
    };
    let late = if is_late { "  (too late for the router)" } else { "" };
    print_row(&format!("{time}  {event_type}  {entity}  -> {result}{late}"))
}

/// Returns what an event is about, for people: the key of an issue or project, else an id.
fn entity(body: &str) -> String {
    let event: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let found = ["/issue/key", "/project/key", "/content/title", "/content/id", "/space/key"];
    let found = found.into_iter().find_map(|path| event.pointer(path)?.as_str());
    found.unwrap_or("-").to_owned()
}
