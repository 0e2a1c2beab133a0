//! `switchyard deliveries`: lists deliveries of the delivery log, and shows the attempts of one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::client::{ApiClient, block_on, path_segment};
use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, print_error, print_line, print_row};
use super::pages::{EMPTY_PAGES_MAX, PAGE_MAX, query, read_pages};
use super::server_args::ServerArgs;
use super::table::{Column, ListFlags, ListOf, Tone, Toned, plain, print_list};
use crate::clock::{self, relative};

const LIST: ListOf<'static> = ListOf {
    id: "id",
    if_empty: "no delivery has all that the flags name; `switchyard explain --since 1h` says of each event why it was \
        not delivered",
};
const COLUMNS: [Column; 11] = [
    Column::text("RECORDED", 0),
    Column::text("OUTCOME", 0),
    Column::number("ATTEMPT", 3),
    Column::text("CLASS", 1),
    Column::number("MS", 4),
    Column::text("SUBSCRIPTION", 0),
    Column::text("ENTITY", 2),
    Column::text("DELIVERY", 5),
    Column::text("EVENT", 6).wide(),
    Column::text("TYPE", 6).wide(),
    Column::text("TIME", 6).wide(),
];

/// Lists deliveries and shows what became of them
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  switchyard deliveries ls --installation first --outcome failed --since 2h\n  \
    switchyard deliveries ls --site 1e2d... --entity ABC-1\n  \
    switchyard deliveries ls --event 1e2d.../evt-7 -o json\n  \
    switchyard deliveries show dlv_3xk... --site 1e2d..."
)]
pub struct DeliveriesArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists deliveries, the newest first
    #[command(alias = "list")]
    Ls(ListArgs),
    /// Shows all attempts of one delivery
    #[command(alias = "get")]
    Show {
        /// Its id, `dlv_...`
        id: String,
        #[command(flatten)]
        scope: ScopeArgs,
    },
}

/// Where to look. The log is stored by site: with a site, an installation or an event it is found soon,
/// without any all of it is read.
#[derive(Debug, Args)]
struct ScopeArgs {
    /// Of this site
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// To this installation
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// Of this event: `<cloudId>/<event id>`, or its sequence
    #[arg(long, value_name = "REF")]
    event: Option<String>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// To this subscription, `<installation>/<key>`
    #[arg(long, value_name = "ID")]
    subscription: Option<String>,
    /// About this entity, such as an issue key
    #[arg(long, value_name = "KEY")]
    entity: Option<String>,
    /// Outcome: delivered, parked, dead, dropped, removed, or failed for all but delivered
    #[arg(long)]
    outcome: Option<String>,
    /// Class of the attempt, such as 5xx or timeout
    #[arg(long)]
    class: Option<String>,
    /// Not older than this: a time in RFC 3339, or how long ago, such as 30m, 2h or 1d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Older than this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most deliveries
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &DeliveriesArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    match &args.action {
        Action::Ls(list) => block_on(list_all(args.flags, &client, list)),
        Action::Show { id, scope } => block_on(show(args.flags.output.plain(), &client, id, scope)),
    }
}

async fn list_all(
    flags: ListFlags,
    client: &ApiClient,
    list: &ListArgs,
) -> anyhow::Result<ExitCode> {
    let mut parameters = scope_parameters(&list.scope);
    parameters.extend([
        ("subscription", list.subscription.clone()),
        ("entity", list.entity.clone()),
        ("outcome", list.outcome.clone()),
        ("class", list.class.clone()),
        ("since", list.since.as_deref().map(read_time).transpose()?),
        ("until", list.until.as_deref().map(read_time).transpose()?),
    ]);
    let limit = |found: usize| list.limit.saturating_sub(found).min(PAGE_MAX);
    let items = read_pages(client, "/admin/v1/deliveries", &parameters, limit).await?;
    let now = clock::now();
    print_list(flags, LIST, &items, &COLUMNS, |item| row(item, now))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    output: Output,
    client: &ApiClient,
    id: &str,
    scope: &ScopeArgs,
) -> anyhow::Result<ExitCode> {
    let path = format!("/admin/v1/deliveries/{}", path_segment(id));
    let mut cursor = None;
    for _ in 0..EMPTY_PAGES_MAX {
        let mut parameters = scope_parameters(scope);
        parameters.push(("cursor", cursor.take()));
        let path = format!("{path}{}", query(&parameters));
        let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
        if found.get("attempts").is_some() {
            print_delivery(output, &found)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Some(next) = text(&found, "nextCursor") else { break };
        if let Some(until) = text(&found, "examinedUntil") {
            print_error(&format!("not found back to {until}; reading on"));
        }
        cursor = Some(next.to_owned());
    }
    print_error(&format!("no record of {id}"));
    Ok(ExitCode::from(EXIT_NEGATIVE))
}

fn print_delivery(output: Output, found: &Value) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&found.to_string());
    }
    let event = found.get("event").cloned().unwrap_or_default();
    print_row(&format!("{}  {}", column(found, "id"), column(found, "outcome")))?;
    print_row(&format!("subscription  {}", column(found, "subscription")))?;
    print_row(&format!(
        "event         {}/{}  {}  {}",
        column(&event, "site"),
        column(&event, "id"),
        column(&event, "type"),
        column(&event, "entity")
    ))?;
    let attempts = found.get("attempts").and_then(Value::as_array);
    for attempt in attempts.into_iter().flatten() {
        print_attempt(attempt)?;
    }
    if found.get("complete") == Some(&Value::Bool(false)) {
        print_row("... there may be more: the log was not read to its end in time")?;
    }
    Ok(())
}

fn print_attempt(attempt: &Value) -> anyhow::Result<()> {
    let reason = text(attempt, "reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
    print_row(&format!(
        "{}  attempt {}  {}{reason}  {} {}  {} ms",
        column(attempt, "recordedAt"),
        column(attempt, "attempt"),
        column(attempt, "outcome"),
        column(attempt, "class"),
        column(attempt, "status"),
        column(attempt, "tookMs"),
    ))?;
    for (label, name) in [("detail", "detail"), ("blame", "blame"), ("next", "nextAttemptAt")] {
        if let Some(value) = text(attempt, name) {
            print_row(&format!("    {label}: {value}"))?;
        }
    }
    if let Some(phases) = attempt.get("phasesMs").and_then(Value::as_object) {
        let phases: Vec<_> = phases.iter().map(|(phase, ms)| format!("{phase} {ms}")).collect();
        print_row(&format!("    ms: {}", phases.join(", ")))?;
    }
    if let Some(response) = attempt.get("response") {
        let body = text(response, "body").filter(|body| !body.is_empty());
        body.map_or(Ok(()), |body| print_row(&format!("    response: {body}")))?;
    }
    Ok(())
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let event = item.get("event").unwrap_or(&Value::Null);
    let class = [column(item, "class"), column(item, "status")].join(" ");
    vec![
        plain(relative(text(item, "recordedAt"), now)),
        outcome(item),
        plain(column(item, "attempt")),
        plain(class.trim()),
        plain(column(item, "tookMs")),
        plain(column(item, "subscription")),
        plain(column(event, "entity")),
        plain(column(item, "id")),
        plain(format!("{}/{}", column(event, "site"), column(event, "id"))),
        plain(column(event, "type")),
        plain(column(item, "recordedAt")),
    ]
}

fn outcome(item: &Value) -> Toned {
    let outcome = column(item, "outcome");
    let tone = match outcome.as_str() {
        "delivered" => Tone::Good,
        "parked" => Tone::Warning,
        "removed" => Tone::Dim,
        _ => Tone::Bad,
    };
    let reason = text(item, "reason").map(|reason| format!(" ({reason})"));
    (outcome + &reason.unwrap_or_default(), tone)
}

fn scope_parameters(scope: &ScopeArgs) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("site", scope.site.clone()),
        ("installation", scope.installation.clone()),
        ("event", scope.event.clone()),
    ]
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// Returns a member as text; empty if it is missing.
fn column(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Returns a time as the API takes it: RFC 3339, or that of so long ago.
pub(super) fn read_time(text: &str) -> anyhow::Result<String> {
    if text.parse::<Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    let ago = || {
        let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 24 * 3600)];
        let (number, seconds) = units
            .into_iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
        let seconds = number.parse::<i64>().ok()?.checked_mul(seconds)?;
        clock::now().checked_sub(SignedDuration::from_secs(seconds)).ok()
    };
    let time = ago().ok_or_else(|| {
        UsageError(format!(
            "`{text}` is neither a time in RFC 3339 nor an age such as 30m, 2h or 1d"
        ))
    })?;
    Ok(time.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn row_says_how_long_ago_and_why() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let item = json!({
            "id": "dlv_a", "subscription": "first/a", "outcome": "dead", "reason": "exhausted", "attempt": 9,
            "class": "5xx", "status": 503, "tookMs": 12, "recordedAt": "2026-12-01T11:58:00Z",
            "event": {"site": "s", "id": "e", "type": "t", "entity": "A-1"},
        });
        let row = row(&item, now);
        assert_eq!(row[1], ("dead (exhausted)".to_owned(), Tone::Bad));
        let texts: Vec<_> = row.into_iter().map(|(text, _)| text).collect();
        assert_eq!(texts[0], "2 min ago");
        assert_eq!(
            texts[2..],
            ["9", "5xx 503", "12", "first/a", "A-1", "dlv_a", "s/e", "t", "2026-12-01T11:58:00Z"]
        );
    }

    #[test]
    fn times_are_absolute_or_so_long_ago() {
        assert_eq!(read_time("2026-11-30T08:00:00Z").unwrap(), "2026-11-30T08:00:00Z");
        let hour: Timestamp = read_time("1h").unwrap().parse().unwrap();
        let ago = clock::now().duration_since(hour).as_secs();
        assert!((3590..3700).contains(&ago), "{ago}");
        for wrong in ["", "h", "1w", "soon", "1.5h", "é"] {
            assert!(read_time(wrong).is_err(), "{wrong}");
        }
    }
}
