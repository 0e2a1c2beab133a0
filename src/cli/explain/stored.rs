//! Explanations of stored events, by a router.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::client::block_on;
use crate::cli::exit::EXIT_NEGATIVE;
use crate::cli::io::{Output, print_error, print_line, print_row};
use crate::cli::progress_lines;
use crate::cli::server_args::ServerArgs;
use crate::cli::table::{Column, Tone, Toned, plain, print_rows};

const PATH: &str = "/admin/v1/explain";
const COLUMNS: [Column; 4] = [
    Column::text("SUBSCRIPTION", 0),
    Column::text("DECISION", 0),
    Column::text("STAGE", 0),
    Column::text("BECAUSE", 0),
];

/// Which events, and for which subscriptions.
#[derive(Debug, Args)]
pub(super) struct StoredArgs {
    /// For this subscription
    #[arg(long, value_name = "INSTALLATION/KEY", conflicts_with = "installation")]
    subscription: Option<String>,
    /// For all subscriptions of this installation
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// For all subscriptions at this site; or, with the above, events of this site
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// Events about this entity, such as an issue key
    #[arg(long, value_name = "KEY", conflicts_with_all = ["event", "sequence"])]
    entity: Option<String>,
    /// The event with this id, or `<cloudId>/<event id>`
    #[arg(long, value_name = "ID", conflicts_with = "sequence")]
    event: Option<String>,
    /// The event with this sequence of the event stream
    #[arg(long, value_name = "N", conflicts_with = "since")]
    sequence: Option<u64>,
    /// Events stored since then: an age such as 15m or 2h, or RFC 3339 [default: 24h; all for --event]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Most events, the newest ones, up to 50 [default: 20]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl StoredArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.body().is_empty()
    }

    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        for (name, value) in [
            ("subscription", &self.subscription),
            ("installation", &self.installation),
            ("site", &self.site),
            ("entity", &self.entity),
            ("event", &self.event),
            ("since", &self.since),
        ] {
            body.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
        }
        body.extend(self.sequence.map(|value| ("sequence".to_owned(), json!(value))));
        body.extend(self.limit.map(|value| ("limit".to_owned(), json!(value))));
        body
    }
}

/// Has the router explain events, and prints the answer.
pub(super) fn run(
    server: &ServerArgs,
    args: &StoredArgs,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let (client, body) = (server.client()?, Value::Object(args.body()));
    let fetched = progress_lines::fetch(&client, (PATH, Some(&body)), "explanation", progress_line);
    let explanation = block_on(fetched)?;
    match output {
        Output::Text => print(&explanation)?,
        Output::Json => print_line(&explanation.to_string())?,
        Output::Jsonl => {
            list(&explanation, "events").iter().try_for_each(|one| print_line(&one.to_string()))?;
            hints(&explanation).for_each(|hint| print_error(&hint));
        }
    }
    let has_none = list(&explanation, "events").is_empty();
    Ok(if has_none { ExitCode::from(EXIT_NEGATIVE) } else { ExitCode::SUCCESS })
}

fn progress_line(progress: &Value) -> String {
    let number = |name: &str| progress.get(name).and_then(Value::as_u64).unwrap_or(0);
    format!("{} events read, {} found", number("events"), number("found"))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn print(explanation: &Value) -> anyhow::Result<()> {
    for event in list(explanation, "events") {
        let sequence = event.get("sequence").and_then(Value::as_u64).unwrap_or(0);
        print_row(&format!(
            "event {}/{}  {}  {}  stored {}  sequence {sequence}",
            text(event, "site"),
            text(event, "event"),
            text(event, "type"),
            text(event, "entity"),
            text(event, "time"),
        ))?;
        let decisions = list(event, "decisions");
        if !decisions.is_empty() {
            print_rows(&COLUMNS, &decisions.iter().map(row).collect::<Vec<_>>())?;
            decisions.iter().try_for_each(print_revisions)?;
        }
        not_decided(event).map_or(Ok(()), |text| print_row(&format!("  {text}")))?;
    }
    hints(explanation).try_for_each(|hint| print_row(&hint))
}

fn hints(explanation: &Value) -> impl Iterator<Item = String> {
    let hints = list(explanation, "hints").iter().filter_map(Value::as_str);
    hints.map(|hint| format!("note: {hint}"))
}

/// Says what an event has no decisions on.
fn not_decided(event: &Value) -> Option<String> {
    match event.get("leftOut").and_then(Value::as_u64) {
        Some(1) => Some("1 subscription is left out".to_owned()),
        Some(left_out) => Some(format!("{left_out} subscriptions are left out")),
        None if list(event, "decisions").is_empty() => Some("no subscription".to_owned()),
        None => None,
    }
}

fn row(decision: &Value) -> Vec<Toned> {
    let cell = |name: &str| text(decision, name).to_owned();
    let tone = if cell("decision") == "delivered" { Tone::Good } else { Tone::Warning };
    let decided = (cell("decision"), tone);
    vec![plain(cell("subscription")), decided, plain(cell("stage")), plain(cell("because"))]
}

/// Says by which revision a decision was made, and what the current one decides.
fn print_revisions(decision: &Value) -> anyhow::Result<()> {
    let id = text(decision, "subscription");
    if let Some(revision) = decision.get("revision") {
        match (revision.get("then"), revision.get("unknown")) {
            (Some(then), _) => {
                let now = revision.get("now").map_or("-", |now| text(now, "since"));
                let (number, since) = (text(then, "id"), text(then, "since"));
                print_row(&format!(
                    "  {id} was changed since: revision {number} of {since}, now the one of {now}"
                ))?;
            }
            (None, Some(reason)) => {
                let reason = reason.as_str().unwrap_or("-");
                print_row(&format!("  {id} may have been changed since: {reason}"))?;
            }
            (None, None) => {}
        }
    }
    if let Some(now) = decision.get("now") {
        print_row(&format!("  {id} now: {}, {}", text(now, "decision"), text(now, "because")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_that_were_not_looked_at_are_counted() {
        let said = |event: Value| not_decided(&event);
        assert_eq!(said(json!({"decisions": []})).as_deref(), Some("no subscription"));
        assert_eq!(said(json!({"decisions": [{}]})), None);
        let said = said(json!({"decisions": [{}], "leftOut": 3}));
        assert_eq!(said.as_deref(), Some("3 subscriptions are left out"));
        let one = not_decided(&json!({"decisions": [], "leftOut": 1}));
        assert_eq!(one.as_deref(), Some("1 subscription is left out"));
    }

    #[test]
    fn decisions_are_a_table_with_a_dash_for_no_stage() {
        let decisions = [
            json!({"subscription": "a/high", "decision": "not delivered", "stage": "filter",
                "because": "event.n == 1 is false"}),
            json!({"subscription": "a/any", "decision": "delivered", "because": "attempt 1 answered 204"}),
        ];
        let texts = |decision| row(decision).into_iter().map(|(text, _)| text).collect::<Vec<_>>();
        assert_eq!(
            texts(&decisions[0]),
            ["a/high", "not delivered", "filter", "event.n == 1 is false"]
        );
        assert_eq!(texts(&decisions[1])[2], "-");
    }
}
