//! Live events as lines for people: an event with what it matched, a filter that failed with its deciding
//! part, an attempt with its outcome.

use serde_json::Value;

/// Returns a live event as lines that begin with `time`; none for what is only for programs.
pub(super) fn lines(time: &str, event: &Value) -> Vec<String> {
    match text(event, "notice") {
        "routed" => routed(time, event),
        "delivery" => vec![delivery(time, event)],
        "missed" => {
            let missed = event.get("events").and_then(Value::as_u64);
            let missed = missed.map_or_else(|| "some".to_owned(), |count| count.to_string());
            vec![format!("{time}  ({missed} lines skipped: more came than this terminal took)")]
        }
        _ => Vec::new(),
    }
}

fn routed(time: &str, event: &Value) -> Vec<String> {
    let what = named(event, "entity").unwrap_or_else(|| text(event, "eventId"));
    let mut line = format!("{time}  {}  {what}", text(event, "eventType"));
    if let Some(why) = named(event, "unmatched") {
        line.push_str("  ");
        line.push_str(why);
    }
    let matches = event.get("matches").and_then(Value::as_array).into_iter().flatten();
    let matches: Vec<_> = matches.filter_map(Value::as_str).collect();
    if !matches.is_empty() {
        line.push_str("  -> ");
        line.push_str(&matches.join(", "));
    }
    let failures = event.get("failures").and_then(Value::as_array).into_iter().flatten();
    let failed = failures.map(|failure| {
        let is_delivered = failure.get("delivered") == Some(&Value::Bool(true));
        let anyway = if is_delivered { " (delivered nevertheless)" } else { "" };
        let (id, because) = (text(failure, "subscription"), text(failure, "because"));
        format!("{time}    {id}  {what}  filter failed{anyway}: {because}")
    });
    std::iter::once(line).chain(failed).collect()
}

fn delivery(time: &str, event: &Value) -> String {
    let what = named(event, "entity").unwrap_or("-");
    let took = event.get("ms").and_then(Value::as_u64);
    let took = took.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
    let attempt = event.get("attempt").and_then(Value::as_u64).unwrap_or_default();
    let (id, outcome) = (text(event, "subscription"), text(event, "outcome"));
    format!("{time}    {id}  {what}  attempt {attempt}: {outcome}{took}")
}

fn named<'v>(event: &'v Value, name: &str) -> Option<&'v str> {
    event.get(name).and_then(Value::as_str)
}

fn text<'v>(event: &'v Value, name: &str) -> &'v str {
    named(event, name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::{LiveEvent, LiveFailure};

    #[test]
    fn failed_filter_is_named_with_its_deciding_part() {
        let failure = LiveFailure {
            subscription: "demo/high".into(),
            because: "event.a.b == 1 failed: event.a is null".into(),
            delivered: false,
        };
        let notice = LiveEvent::Routed {
            site: "s".into(),
            event_id: "e".into(),
            event_type: "avi:jira:created:issue".into(),
            entity: Some("XXX-1".into()),
            matches: Vec::new(),
            errors: vec!["demo/high".into()],
            failures: vec![failure],
            ignored: 0,
            unmatched: Some("a filter failed"),
        };
        assert_eq!(
            lines("12:00:00", &json!(notice)),
            [
                "12:00:00  avi:jira:created:issue  XXX-1  a filter failed",
                "12:00:00    demo/high  XXX-1  filter failed: event.a.b == 1 failed: event.a is null"
            ]
        );
    }

    #[test]
    fn attempt_is_one_line_with_its_outcome() {
        let notice = LiveEvent::Delivery {
            delivery_id: "dlv_1".into(),
            subscription: "demo/high".into(),
            site: "s".into(),
            event_type: "avi:jira:created:issue".into(),
            entity: None,
            attempt: 2,
            outcome: "parked: backoff".into(),
            ms: Some(31),
        };
        assert_eq!(
            lines("12:00:00", &json!(notice)),
            ["12:00:00    demo/high  -  attempt 2: parked: backoff in 31 ms"]
        );
        assert_eq!(lines("12:00:00", &json!({"notice": "idle"})), Vec::<String>::new());
        let missed = lines("12:00:00", &json!({"notice": "missed", "events": 7}));
        assert!(missed[0].contains("7 lines skipped"), "{missed:?}");
    }
}
