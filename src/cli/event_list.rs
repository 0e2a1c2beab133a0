//! Lists of stored events, newest first.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::client::ApiClient;
use super::deliveries::read_time;
use super::pages::{PAGE_MAX, read_pages};
use super::table::{Column, ListFlags, ListOf, Tone, Toned, plain, print_list};
use crate::clock::{self, relative};

const LIST: ListOf<'static> = ListOf {
    id: "ref",
    if_empty: "no stored event has all that the flags name; `switchyard trigger TYPE` publishes one",
};
const COLUMNS: [Column; 9] = [
    Column::text("STORED", 0),
    Column::number("SEQUENCE", 2),
    Column::text("TYPE", 0),
    Column::text("ENTITY", 1),
    Column::text("SITE", 3),
    Column::number("BYTES", 4),
    Column::text("REF", 0),
    Column::text("ACTOR", 5).wide(),
    Column::text("TIME", 5).wide(),
];

/// Which events are listed.
#[derive(Debug, Args)]
pub(super) struct EventListArgs {
    /// Of this site
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// About this entity, such as an issue key
    #[arg(long, value_name = "KEY")]
    entity: Option<String>,
    /// Of this event type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Not older than this: a time in RFC 3339, or how long ago, such as 30m, 2h or 1d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Older than this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most events
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Prints stored events, the newest first.
pub(super) async fn list(
    flags: ListFlags,
    client: &ApiClient,
    list: &EventListArgs,
) -> anyhow::Result<()> {
    let parameters = [
        ("site", list.site.clone()),
        ("entity", list.entity.clone()),
        ("type", list.event_type.clone()),
        ("since", list.since.as_deref().map(read_time).transpose()?),
        ("until", list.until.as_deref().map(read_time).transpose()?),
    ];
    let limit = |found: usize| list.limit.saturating_sub(found).min(PAGE_MAX);
    let items = read_pages(client, "/admin/v1/events", &parameters, limit).await?;
    let now = clock::now();
    print_list(flags, LIST, &items, &COLUMNS, |item| row(item, now))
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let text = |name: &str| match item.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let stored = item.get("storedAt").and_then(Value::as_str);
    let kind = match item.get("unreadable").and_then(Value::as_str) {
        Some(reason) => (format!("unreadable: {reason}"), Tone::Bad),
        None => plain(text("type")),
    };
    vec![
        plain(relative(stored, now)),
        plain(text("sequence")),
        kind,
        plain(text("entity")),
        plain(text("site")),
        plain(text("bytes")),
        plain(text("ref")),
        plain(text("actor")),
        plain(text("time")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn row_names_the_event_or_says_why_it_cannot_be_read() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let texts = |item: &Value| -> Vec<String> {
            row(item, now).into_iter().map(|(text, _)| text).collect()
        };
        let item = json!({"ref": "s/e", "sequence": 7, "type": "t", "site": "s", "entity": "A-1", "bytes": 40,
            "storedAt": "2026-12-01T11:58:00Z"});
        assert_eq!(texts(&item), ["2 min ago", "7", "t", "A-1", "s", "40", "s/e", "", ""]);
        let broken = json!({"ref": "7", "sequence": 7, "unreadable": "the body is not JSON"});
        assert_eq!(texts(&broken)[2], "unreadable: the body is not JSON");
    }
}
