//! `switchyard account`: what became of every delivery of a window, as numbers that must close.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::{ApiClient, block_on};
use super::deliveries::read_time;
use super::exit::EXIT_NEGATIVE;
use super::io::{Output, print_hints, print_line, print_row};
use super::ledger::{self, LedgerScope};
use super::pages::query;
use super::progress_lines;
use super::server_args::ServerArgs;
use super::table::{Column, Tone, Toned, plain, print_rows};

/// Names of the counts and their columns, in the order of the equation.
const COUNTS: [(&str, &str); 8] = [
    ("matched", "MATCHED"),
    ("replayed", "REPLAYED"),
    ("delivered", "DELIVERED"),
    ("dead", "DEAD"),
    ("droppedByPolicy", "DROPPED"),
    ("removed", "REMOVED"),
    ("pending", "PENDING"),
    ("gap", "GAP"),
];

/// Accounts for every delivery: matched + replayed = delivered + dead + dropped + removed + pending
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1: the account has a gap, deliveries or records that nothing explains.\n\n\
    Examples:\n  switchyard account\n  \
    switchyard account --since 24h --site 1e2d...\n  \
    switchyard account --from 2026-11-30T08:00:00Z --to 2026-11-30T09:00:00Z -o json\n  \
    switchyard account --subscription acme/trigger-1 --since 2h\n  \
    switchyard account --check ledger --since 24h"
)]
pub struct AccountArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Events stored since then: an age such as 30m, 2h or 1d, or a time in RFC 3339 [default: 1h]
    #[arg(long, value_name = "TIME", alias = "from")]
    since: Option<String>,
    /// Events stored before then [default: now]
    #[arg(long, value_name = "TIME", alias = "until")]
    to: Option<String>,
    /// Of this site
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// To this installation
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// To this subscription, `<installation>/<key>`
    #[arg(long, value_name = "ID")]
    subscription: Option<String>,
    /// What to check instead of adding up the log
    #[arg(long, value_enum, conflicts_with_all = ["subscription", "limit"])]
    check: Option<CheckTarget>,
    /// Most subscriptions that are listed
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CheckTarget {
    /// Matches the stored events again, and lists deliveries that the log does not know
    Ledger,
}

/// Executes the command.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &AccountArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    if let Some(CheckTarget::Ledger) = args.check {
        return block_on(ledger::check(&client, args.ledger_scope()?, args.output));
    }
    let account = block_on(fetch(args, &client))?;
    print_hints(&account);
    match args.output {
        Output::Text => print_account(&account)?,
        Output::Json | Output::Jsonl => print_line(&account.to_string())?,
    }
    let has_gap = account.get("gap").and_then(Value::as_u64) != Some(0);
    Ok(if has_gap { ExitCode::from(EXIT_NEGATIVE) } else { ExitCode::SUCCESS })
}

impl AccountArgs {
    fn ledger_scope(&self) -> anyhow::Result<LedgerScope> {
        Ok(LedgerScope {
            from: self.since.as_deref().map(read_time).transpose()?,
            to: self.to.as_deref().map(read_time).transpose()?,
            site: self.site.clone(),
            installation: self.installation.clone(),
        })
    }
}

async fn fetch(args: &AccountArgs, client: &ApiClient) -> anyhow::Result<Value> {
    let parameters = [
        ("from", args.since.as_deref().map(read_time).transpose()?),
        ("to", args.to.as_deref().map(read_time).transpose()?),
        ("site", args.site.clone()),
        ("installation", args.installation.clone()),
        ("subscription", args.subscription.clone()),
        ("limit", Some(args.limit.to_string())),
    ];
    let path = format!("/admin/v1/account{}", query(&parameters));
    progress_lines::fetch(client, (&path, None), "account", progress_line).await
}

fn progress_line(progress: &Value) -> String {
    let number = |name: &str| progress.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (records, left, suspects) = (number("records"), number("left"), number("suspects"));
    match (left, suspects) {
        (0, 1..) => format!("{records} records read, looking at {suspects} deliveries again"),
        (left, _) => format!("{records} records read, at most {left} left"),
    }
}

fn print_account(account: &Value) -> anyhow::Result<()> {
    let text = |name: &str| account.get(name).and_then(Value::as_str).unwrap_or_default();
    print_row(&format!("events from {} to {}", text("since"), text("to")))?;
    if account.get("complete") == Some(&Value::Bool(false)) {
        print_row(&format!("the delivery log does not reach back to {}", text("from")))?;
    }
    let mut rows = Vec::new();
    for (list, name) in [("subscriptions", "subscription"), ("sites", "site")] {
        let items = account.get(list).and_then(Value::as_array);
        rows.extend(items.into_iter().flatten().map(|item| {
            let id = item.get(name).and_then(Value::as_str).unwrap_or_default();
            let id = if name == "site" { format!("site {id}") } else { id.to_owned() };
            counts_row(&id, item.get("counts"))
        }));
    }
    rows.push(counts_row("all", account.get("total")));
    let mut columns = vec![Column::text("SUBSCRIPTION", 0)];
    columns.extend(COUNTS.map(|(_, column)| Column::number(column, 0)));
    print_rows(&columns, &rows)?;
    if let Some(omitted) = account.get("omittedSubscriptions").and_then(Value::as_u64) {
        print_row(&format!("{omitted} more subscriptions (--limit)"))?;
    }
    for (name, text) in [
        ("inFlight", "events are not acknowledged yet; their deliveries are not counted"),
        (
            "undetermined",
            "of the pending deliveries are due, or lost: too many are due to read each",
        ),
        ("unreadable", "records cannot be read by this release"),
        ("missingRecords", "records of the delivery log are missing"),
    ] {
        let number = account.get(name).and_then(Value::as_u64).unwrap_or(0);
        if number > 0 {
            print_row(&format!("{number} {text}"))?;
        }
    }
    if account.get("missingUnknown") == Some(&Value::Bool(true)) {
        print_row("records that are missing are not known: erasures deleted too many records")?;
    }
    let list =
        |name: &str| account.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for gap in list("gaps") {
        print_row(&gap_line(&gap))?;
    }
    for missing in list("missing") {
        let number = |name: &str| missing.get(name).and_then(Value::as_u64).unwrap_or(0);
        let process = missing.get("process").and_then(Value::as_str).unwrap_or_default();
        let (first, last) = (number("first"), number("last"));
        print_row(&format!("missing record: process {process}, numbers {first} to {last}"))?;
    }
    match account.get("gap").and_then(Value::as_u64) {
        Some(0) => print_row("gap 0: every delivery is accounted for"),
        gap => print_row(&format!("gap {}", gap.unwrap_or_default())),
    }
}

fn gap_line(gap: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let event = gap.get("event");
    let of_event = |name: &str| text(event.and_then(|event| event.get(name)));
    let subscriptions = gap.get("subscriptions").and_then(Value::as_array);
    let subscriptions: Vec<String> =
        subscriptions.into_iter().flatten().map(|one| text(Some(one))).collect();
    format!(
        "unaccounted: {} of event {}/{} to {}, last {}",
        text(gap.get("deliveryId")),
        of_event("site"),
        of_event("id"),
        subscriptions.join(", "),
        text(gap.get("last")),
    )
}

fn counts_row(id: &str, counts: Option<&Value>) -> Vec<Toned> {
    let count = |name: &str| counts.and_then(|all| all.get(name)).map(Value::to_string);
    let cell = |(name, _): (&str, &str)| {
        let count = count(name).unwrap_or_default();
        let is_bad = ["dead", "gap"].contains(&name) && count != "0";
        (count, if is_bad { Tone::Bad } else { Tone::Plain })
    };
    std::iter::once(plain(id)).chain(COUNTS.map(cell)).collect()
}
