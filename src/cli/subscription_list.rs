//! `switchyard subscriptions ls` and `show`: what state subscriptions are in, and what they did last.

use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{ApiClient, path_segment};
use super::io::{Output, print_line, print_row};
use super::pages::{PAGE_MAX, read_pages};
use super::table::{Column, ListFlags, ListOf, Tone, Toned, bad_unless_zero, plain, print_list};
use crate::clock::{self, relative};

/// Characters of the last failure in a table.
const FAILURE_CHARS_MAX: usize = 50;

const COLUMNS: [Column; 13] = [
    Column::text("SUBSCRIPTION", 0),
    Column::text("STATE", 0),
    Column::number("MATCHED", 5),
    Column::number("DELIVERED", 6),
    Column::number("SUCCESS", 7),
    Column::number("ERRORS", 1),
    Column::number("FAILED", 2),
    Column::number("PARKED", 3),
    Column::number("DEAD", 1),
    Column::text("LAST MATCH", 8),
    Column::text("LAST FAILURE", 4),
    Column::text("APP", 9).wide(),
    Column::text("EVENTS", 9).wide(),
];

/// Which subscriptions
#[derive(Debug, Args)]
pub(super) struct SubscriptionFilter {
    /// Of this site
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// Of this installation
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// Of this app
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// To events of this type
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,
    /// In this state: active, paused, inactive, shadowed, expired or undelivered
    #[arg(long)]
    state: Option<String>,
    /// Only those whose filter or handler fails now, or that are never delivered
    #[arg(long)]
    failing: bool,
    /// Only those whose id or filter has this text
    #[arg(long, short, value_name = "TEXT")]
    query: Option<String>,
    /// Most subscriptions
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

impl SubscriptionFilter {
    /// Whether a flag leaves subscriptions out.
    fn is_any(&self) -> bool {
        let texts =
            [&self.site, &self.installation, &self.app, &self.event, &self.state, &self.query];
        self.failing || texts.into_iter().any(Option::is_some)
    }
}

/// Lists subscriptions.
///
/// # Errors
/// The router does not answer or rejects the request.
pub(super) async fn list(
    flags: ListFlags,
    client: &ApiClient,
    filter: &SubscriptionFilter,
) -> anyhow::Result<()> {
    let parameters = [
        ("site", filter.site.clone()),
        ("installation", filter.installation.clone()),
        ("app", filter.app.clone()),
        ("event", filter.event.clone()),
        ("state", filter.state.clone()),
        ("failing", filter.failing.then(|| "true".to_owned())),
        ("q", filter.query.clone()),
    ];
    let limit = |found: usize| filter.limit.saturating_sub(found).min(PAGE_MAX);
    let items = read_pages(client, "/admin/v1/subscriptions", &parameters, limit).await?;
    let now = clock::now();
    let if_empty = if filter.is_any() {
        "no subscription has all that the flags name; `switchyard subscriptions ls` lists all"
    } else {
        "no app has registered a trigger; `switchyard listen --filter EXPR` is the quickest first one"
    };
    let of = ListOf { id: "id", if_empty };
    print_list(flags, of, &items, &COLUMNS, |item| row(item, now))
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let stats = |name: &str| item.pointer(&format!("/stats/{name}"));
    let count = |name: &str| stats(name).and_then(Value::as_u64).unwrap_or_default();
    let time = |name: &str| stats(name).and_then(Value::as_str);
    let events = item.get("events").and_then(Value::as_array).into_iter().flatten();
    let events: Vec<_> = events.filter_map(|event| event.get("eventType")?.as_str()).collect();
    vec![
        plain(text(item, "id")),
        state(item),
        plain(count("matched").to_string()),
        plain(count("delivered").to_string()),
        plain(success(count("delivered"), count("dead"))),
        bad_unless_zero(count("errors")),
        bad_unless_zero(count("failedAttempts")),
        (count("parked").to_string(), if count("parked") > 0 { Tone::Warning } else { Tone::Dim }),
        bad_unless_zero(count("dead")),
        plain(relative(time("lastMatch"), now)),
        last_failure(item, now),
        plain(text(item, "app")),
        plain(events.join(" ")),
    ]
}

/// Returns the state of a subscription, which says whether it fails.
pub(super) fn state(item: &Value) -> Toned {
    let state = text(item, "state");
    match (text(item, "failing"), state) {
        ("", "active") => (state.to_owned(), Tone::Good),
        ("", "paused") => (state.to_owned(), Tone::Warning),
        ("", _) => (state.to_owned(), Tone::Dim),
        (_, "active") => ("failing".to_owned(), Tone::Bad),
        _ => (format!("{state}, failing"), Tone::Bad),
    }
}

/// Deliveries that the handler accepted among those that ended.
fn success(delivered: u64, dead: u64) -> String {
    match delivered.saturating_add(dead) {
        0 => "-".to_owned(),
        ended => format!("{} %", delivered.saturating_mul(100) / ended),
    }
}

/// The later one of the last failed attempt and the last failed evaluation, in words.
fn last_failure(item: &Value, now: Timestamp) -> Toned {
    let stats = item.get("stats").unwrap_or(&Value::Null);
    let of = |time: &str, cause: &str| {
        let at = text(stats, time);
        (!at.is_empty()).then(|| (at.to_owned(), text(stats, cause).to_owned()))
    };
    let [error, failure] = [of("lastErrorAt", "lastError"), of("lastFailureAt", "lastFailure")];
    let Some((at, cause)) = error.max(failure) else { return (String::new(), Tone::Dim) };
    let cause: String = cause.chars().take(FAILURE_CHARS_MAX).collect();
    let tone = if text(item, "failing").is_empty() { Tone::Dim } else { Tone::Bad };
    (format!("{}: {cause}", relative(Some(&at), now)), tone)
}

/// Shows one subscription.
///
/// # Errors
/// The router does not answer, or there is no such subscription.
pub(super) async fn show(
    output: Output,
    client: &ApiClient,
    subscription: &str,
) -> anyhow::Result<()> {
    let path = format!("/admin/v1/subscriptions/{}", path_segment(subscription));
    let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
    if output != Output::Text {
        return print_line(&found.to_string());
    }
    describe(&found, clock::now()).iter().try_for_each(|line| print_row(line))
}

/// Returns a subscription as lines for people.
fn describe(found: &Value, now: Timestamp) -> Vec<String> {
    let (state, _) = state(found);
    let mut lines = vec![format!("{}  {state}", text(found, "id"))];
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{name:13}{value}"));
        }
    };
    line("because", [text(found, "failing"), text(found, "reason")].join(" ").trim());
    line("app", text(found, "app"));
    line("site", text(found, "cloudId"));
    line("type", text(found, "type"));
    line("handler", &handler(found));
    for event in found.get("events").and_then(Value::as_array).into_iter().flatten() {
        let expression = text(event, "expression");
        let filter =
            if expression.is_empty() { String::new() } else { format!(" if {expression}") };
        line("on", &format!("{}{filter}", text(event, "eventType")));
    }
    let stats = found.get("stats").unwrap_or(&Value::Null);
    for (name, label) in [
        ("matched", "matched"),
        ("notMatched", "not matched"),
        ("ignored", "ignored"),
        ("errors", "errors"),
        ("delivered", "delivered"),
        ("failedAttempts", "failed"),
        ("parked", "parked"),
        ("dead", "dead"),
    ] {
        if let Some(count) = stats.get(name).and_then(Value::as_u64) {
            line(label, &count.to_string());
        }
    }
    for (label, at, cause) in [
        ("last match", "lastMatch", ""),
        ("last success", "lastDelivered", ""),
        ("last error", "lastErrorAt", "lastError"),
        ("last failure", "lastFailureAt", "lastFailure"),
    ] {
        let at = text(stats, at);
        if !at.is_empty() {
            let cause = text(stats, cause);
            let cause = if cause.is_empty() { String::new() } else { format!(": {cause}") };
            line(label, &format!("{}{cause}", relative(Some(at), now)));
        }
    }
    if let Some(revision) = found.get("revision") {
        line(
            "revision",
            &format!("{revision}, {}", relative(text(found, "updatedAt").into(), now)),
        );
    }
    if found.get("shadow").is_some() {
        let id = text(found, "id");
        line("shadow", &format!("`switchyard subscriptions shadow show {id}` has its counts"));
    }
    for warning in found.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        line("warning", &format!("[{}] {}", text(warning, "code"), text(warning, "message")));
    }
    lines
}

fn handler(found: &Value) -> String {
    let Some(members) = found.get("handler").and_then(Value::as_object) else {
        return String::new();
    };
    let member = |name: &str| members.get(name).and_then(Value::as_str);
    let name = member("endpoint").or(member("function")).unwrap_or_default();
    let address = member("url").or(member("subject")).unwrap_or_default();
    format!("{name} {address}").trim().to_owned()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-12-01T12:00:00Z".parse().unwrap()
    }

    fn failing() -> Value {
        json!({
            "id": "first/a", "state": "active", "failing": "its handler fails", "app": "x",
            "handler": {"endpoint": "hook", "url": "https://a.example/"},
            "events": [{"eventType": "avi:jira:created:issue", "expression": "true"}],
            "stats": {"matched": 5, "delivered": 3, "dead": 1, "errors": 0, "failedAttempts": 7,
                "parked": 2, "lastMatch": "2026-12-01T11:59:57Z",
                "lastErrorAt": "2026-12-01T11:00:00Z", "lastError": "event.a is null",
                "lastFailureAt": "2026-12-01T11:59:00Z", "lastFailure": "timeout: no answer"},
        })
    }

    #[test]
    fn row_says_state_success_and_the_later_failure_in_words() {
        let row: Vec<_> = row(&failing(), now()).into_iter().map(|(text, _)| text).collect();
        assert_eq!(
            row[..11],
            [
                "first/a",
                "failing",
                "5",
                "3",
                "75 %",
                "0",
                "7",
                "2",
                "1",
                "3 s ago",
                "1 min ago: timeout: no answer"
            ]
        );
    }

    #[test]
    fn paused_and_idle_subscriptions_are_not_failing() {
        let idle = json!({"id": "a/b", "state": "paused", "stats": {}});
        let row = row(&idle, now());
        assert_eq!(row[1], ("paused".to_owned(), Tone::Warning));
        assert_eq!((row[4].0.as_str(), row[9].0.as_str(), row[10].0.as_str()), ("-", "never", ""));
    }

    #[test]
    fn subscription_is_described_with_its_filter_and_causes() {
        let lines = describe(&failing(), now());
        assert_eq!(lines[0], "first/a  failing");
        for line in [
            "because      its handler fails",
            "handler      hook https://a.example/",
            "on           avi:jira:created:issue if true",
            "failed       7",
            "last error   1 h ago: event.a is null",
        ] {
            assert!(lines.iter().any(|one| one == line), "{line}: {lines:#?}");
        }
    }
}
