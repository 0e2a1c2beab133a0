//! `switchyard backtest`: what a filter would have done on the events that a router has stored.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use switchyard_expr::{CheckProfile, compile, render};

use super::client::block_on;
use super::exit::EXIT_NEGATIVE;
use super::io::{Output, print_line, print_row};
use super::progress_lines;
use super::server_args::ServerArgs;
use super::table::{Column, Toned, plain, print_rows};

const PATH: &str = "/admin/v1/filters:backtest";
/// Stages that leave events out, as the answer names them, and what is said of them.
const LEFT_OUT: [(&str, &str); 5] = [
    ("event", "of other event types"),
    ("appIsLicensed", "without a licence"),
    ("ignoreSelf", "of the app itself"),
    ("site", "of another site"),
    ("unreadable", "not readable"),
];

/// Shows what a filter would have done on the events that are stored
#[derive(Debug, Args)]
#[command(
    after_help = "With --subscription the filter is tried with the event types and conditions of that \
    subscription, and compared with its current filter: which events it gains and loses. Nothing is \
    delivered and nothing is changed. Exit code 1 for an invalid filter.\n\n\
    Examples:\n  \
    switchyard backtest -e \"event.issue.fields.priority.name == 'High'\" --site 1e2d... --since 24h\n  \
    switchyard backtest -e \"event.issue?.fields.priority?.name == 'High'\" --subscription acme/assign\n  \
    switchyard backtest --subscription acme/assign --since 7d --max-events 5000000 -o json\n  \
    switchyard backtest -e \"true\" --installation acme --event avi:jira:created:issue"
)]
pub struct BacktestArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The filter; without it, the current one of the subscription
    #[arg(short, long, value_name = "EXPR", required_unless_present = "subscription")]
    expression: Option<String>,
    /// In place of the filter of this subscription
    #[arg(long, value_name = "INSTALLATION/KEY", conflicts_with = "installation")]
    subscription: Option<String>,
    /// As a new trigger of this installation
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// On the events of this site, for no app [default: that of the installation, else all sites]
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// On events of these types [default: those of the subscription, else all]
    #[arg(long, value_name = "TYPE", num_args = 1..)]
    event: Vec<String>,
    /// What happens to events on which the filter ends in an error
    #[arg(long, value_enum, value_name = "ACTION")]
    on_error: Option<OnErrorArg>,
    /// Whether events that the app itself caused are left out
    #[arg(long, value_name = "BOOL")]
    ignore_self: Option<bool>,
    /// Events stored since then: an age such as 24h or 7d, or RFC 3339 [default: 24h]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Events stored before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Events from this sequence of the event stream on, to go on after a bound
    #[arg(long, value_name = "N", conflicts_with = "since")]
    from_sequence: Option<u64>,
    /// Most events that are read [default: 1000000]
    #[arg(long, value_name = "N")]
    max_events: Option<u64>,
    /// Most seconds that it takes [default: 60]
    #[arg(long, value_name = "N")]
    max_seconds: Option<u64>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What an error of a filter means.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnErrorArg {
    /// The event is not delivered
    Ignore,
    /// It is delivered
    Receive,
}

impl BacktestArgs {
    fn body(&self) -> Map<String, Value> {
        let on_error = self.on_error.map(|action| match action {
            OnErrorArg::Ignore => "IGNORE",
            OnErrorArg::Receive => "RECEIVE",
        });
        let members = [
            ("expression", json!(self.expression)),
            ("subscription", json!(self.subscription)),
            ("installation", json!(self.installation)),
            ("site", json!(self.site)),
            ("events", json!(Some(&self.event).filter(|types| !types.is_empty()))),
            ("onError", json!(on_error)),
            ("ignoreSelf", json!(self.ignore_self)),
            ("since", json!(self.since)),
            ("until", json!(self.until)),
            ("fromSequence", json!(self.from_sequence)),
            ("maxEvents", json!(self.max_events)),
            ("maxSeconds", json!(self.max_seconds)),
        ];
        let given = members.into_iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Has the router try the filter, and prints the answer.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    if args.output == Output::Text
        && let Some(source) = &args.expression
        && let Err(rejected) = compile(source, CheckProfile::Filter)
    {
        print_line(&render::render(&rejected.diagnostics, source, "<arg>"))?;
        return Ok(ExitCode::from(EXIT_NEGATIVE));
    }
    let (client, body) = (args.server.client()?, Value::Object(args.body()));
    let fetched = progress_lines::fetch(&client, (PATH, Some(&body)), "backtest", progress_line);
    let found = block_on(fetched)?;
    let is_valid = found.get("valid").and_then(Value::as_bool).unwrap_or(true);
    if args.output == Output::Text {
        print(&found, is_valid)?;
    } else {
        print_line(&found.to_string())?;
    }
    Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) })
}

fn progress_line(progress: &Value) -> String {
    let number = |name: &str| progress.get(name).and_then(Value::as_u64);
    let count = |name: &str| number(name).unwrap_or(0);
    let of = number("of").map(|of| format!(" of {of}")).unwrap_or_default();
    format!("{}{of} events read, {} would be delivered", count("events"), count("delivered"))
}

fn print(found: &Value, is_valid: bool) -> anyhow::Result<()> {
    for diagnostic in list(found, "/diagnostics") {
        print_row(&format!(
            "{}[{}]: {}",
            text(diagnostic, "severity"),
            text(diagnostic, "code"),
            text(diagnostic, "message"),
        ))?;
    }
    if !is_valid {
        return Ok(());
    }
    let count = |path: &str| found.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let float = |path: &str| found.pointer(path).and_then(Value::as_f64);
    let seconds = float("/read/seconds").unwrap_or(0.0);
    print_row(&format!("{} events read in {seconds:.1} s", count("/read/events")))?;
    let rows: Vec<Vec<Toned>> =
        counts(found).into_iter().map(|row| row.into_iter().map(plain).collect()).collect();
    print_rows(&[Column::text("", 0); 3], &rows)?;
    let steps = |name: &str| count(&format!("/cost/steps/{name}"));
    let (p50, p99, max) = (steps("p50"), steps("p99"), steps("max"));
    print_row(&format!(
        "cost: {} evaluations, steps p50 {p50}, p99 {p99}, max {max}",
        count("/cost/evaluations")
    ))?;
    if found.get("difference").is_some() {
        print_row(&format!(
            "compared with the current filter of {}: {} events gained, {} lost, {} kept",
            text(found, "subscription"),
            count("/difference/gained"),
            count("/difference/lost"),
            count("/difference/kept"),
        ))?;
    }
    for (title, path) in [
        ("gained", "/difference/samples/gained"),
        ("lost", "/difference/samples/lost"),
        ("errors", "/samples/failed"),
        ("matched", "/samples/matched"),
    ] {
        print_samples(title, list(found, path))?;
    }
    print_notes(found)
}

/// The counts as rows of a table.
fn counts(found: &Value) -> Vec<Vec<String>> {
    let count = |path: &str| found.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let row = |name: &str, count: u64, note: String| vec![name.to_owned(), count.to_string(), note];
    let rate =
        found.get("rate").and_then(Value::as_f64).map(|rate| format!("{:.2} %", rate * 100.0));
    let hourly = found.get("perHour").and_then(Value::as_f64);
    let hourly = hourly.map(|hourly| format!("{hourly:.1} an hour"));
    let notes: Vec<String> = rate.into_iter().chain(hourly).collect();
    let kinds = found.get("errors").and_then(Value::as_object).into_iter().flatten();
    let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{kind} {count}")).collect();
    let mut failed = kinds.join(", ");
    if count("/deliveredOnError") > 0 {
        failed.push_str(&format!("; {} delivered by onError", count("/deliveredOnError")));
    }
    let mut rows = vec![
        row("would be delivered", count("/delivered"), notes.join(", ")),
        row("filter true", count("/matched"), String::new()),
        row("filter false", count("/notMatched"), String::new()),
        row("filter failed", count("/failed"), failed),
    ];
    for (member, name) in LEFT_OUT {
        let left_out = count(&format!("/leftOut/{member}"));
        if left_out > 0 {
            rows.push(row(name, left_out, String::new()));
        }
    }
    rows
}

fn print_samples(title: &str, samples: &[Value]) -> anyhow::Result<()> {
    if samples.is_empty() {
        return Ok(());
    }
    print_row(&format!("{title}, the newest {}:", samples.len()))?;
    let names = ["time", "event", "type", "entity", "because"];
    let columns = ["TIME", "EVENT", "TYPE", "ENTITY", "BECAUSE"].map(|name| Column::text(name, 0));
    let row = |sample: &Value| {
        // An event that was deleted since has its sequence only.
        let sequence = sample.get("sequence").and_then(Value::as_u64).unwrap_or(0);
        let is_known = sample.get("event").is_some();
        let cell = |name: &str| match name {
            "event" if !is_known => format!("sequence {sequence}"),
            _ => text(sample, name).to_owned(),
        };
        names.map(|name| plain(cell(name))).to_vec()
    };
    print_rows(&columns, &samples.iter().map(row).collect::<Vec<_>>())
}

/// Says what was not read.
fn print_notes(found: &Value) -> anyhow::Result<()> {
    let read = |name: &str| found.pointer(&format!("/read/{name}"));
    if let Some(next) = read("nextSequence").and_then(Value::as_u64) {
        let last = read("lastTime").and_then(Value::as_str).unwrap_or("the begin");
        print_row(&format!(
            "note: events stored after {last} were not read; go on with --from-sequence {next}, or raise \
             --max-events or --max-seconds"
        ))?;
    }
    if let Some(deleted) = read("deleted").and_then(Value::as_u64) {
        print_row(&format!(
            "note: {deleted} events of all sites were deleted before they were read; the figures lack those of \
             this site"
        ))?;
    }
    let begins = found.pointer("/retained/since").and_then(Value::as_str);
    let since = read("since").and_then(Value::as_str);
    if let Some((begins, _)) = begins.zip(since).filter(|(begins, since)| begins > since) {
        print_row(&format!("note: the stored events begin at {begins}"))?;
    }
    Ok(())
}

fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_a_table_without_what_is_zero() {
        let found = json!({
            "delivered": 12, "matched": 10, "notMatched": 5, "failed": 3, "deliveredOnError": 2,
            "errors": {"runtime": 3}, "rate": 0.5, "perHour": 1.25, "leftOut": {"event": 6, "site": 0},
        });
        let rows = counts(&found);
        assert_eq!(rows[0], ["would be delivered", "12", "50.00 %, 1.2 an hour"]);
        assert_eq!(rows[3], ["filter failed", "3", "runtime 3; 2 delivered by onError"]);
        assert_eq!(rows[4], ["of other event types", "6", ""]);
        assert_eq!(rows.len(), 5);
    }

    #[test]
    fn progress_says_how_much_was_read() {
        let progress = json!({"events": 5, "of": 10, "delivered": 2, "remainingSeconds": 3.4});
        assert_eq!(progress_line(&progress), "5 of 10 events read, 2 would be delivered");
        assert_eq!(progress_line(&json!({"events": 5})), "5 events read, 0 would be delivered");
    }
}
