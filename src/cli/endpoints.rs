//! `switchyard endpoints`: the receivers of deliveries, their breakers, and a test request.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::client::{ApiClient, block_on, path_segment};
use super::exit::EXIT_NEGATIVE;
use super::io::{Output, print_error, print_line, print_row};
use super::pages::{PAGE_MAX, read_pages};
use super::server_args::ServerArgs;
use super::table::{Column, ListFlags, ListOf, Tone, Toned, bad_unless_zero, plain, print_list};
use crate::clock::{self, relative};

const PATH: &str = "/admin/v1/endpoints";
/// Characters of the last failure in a table.
const FAILURE_CHARS_MAX: usize = 60;

const COLUMNS: [Column; 10] = [
    Column::text("ENDPOINT", 0),
    Column::text("STATE", 0),
    Column::number("PARKED", 1),
    Column::text("NEXT PROBE", 2),
    Column::number("LATENCY", 4),
    Column::number("FAILED", 3),
    Column::text("LAST FAILURE", 3),
    Column::text("ADDRESS", 5),
    Column::text("APP", 6).wide(),
    Column::number("SUBSCRIPTIONS", 6).wide(),
];

/// Shows the receivers of deliveries: breakers, latency, the last failure; tests and enables them
#[derive(Debug, Args)]
#[command(
    alias = "endpoint",
    after_help = "Breakers, latency and counts are those of the replica that answers; parked deliveries are those of \
    all replicas.\n\nStates: closed (attempts are made), open (a breaker parks deliveries), half_open (one probe at a \
    time), idle (no delivery in the last minute), paused, disabled (its modules are off after HTTP 410).\n\n\
    Examples:\n  \
    switchyard endpoints ls --failing\n  \
    switchyard endpoints show first/ep_2nq4...\n  \
    switchyard endpoints test first/ep_2nq4...\n\n\
    Exit codes: 1 the endpoint did not accept the test; see `switchyard --help` for the others."
)]
pub struct EndpointsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists endpoints in the order of their installations
    #[command(alias = "list")]
    Ls(EndpointFilter),
    /// Shows one endpoint
    #[command(aliases = ["get", "info"])]
    Show {
        /// Its id, as `ls` prints it
        id: String,
    },
    /// Switches modules on again that were disabled because the endpoint answered HTTP 410
    Enable {
        /// Its id
        id: String,
    },
    /// Admits the next attempt at once although a breaker is open, on the replica that answers
    ResetBreaker {
        /// Its id
        id: String,
    },
    /// Sends one signed test event of the type `switchyard:ping`; nothing else changes
    Test {
        /// Its id
        id: String,
    },
}

/// Which endpoints
#[derive(Debug, Args)]
struct EndpointFilter {
    /// Of this installation
    #[arg(long, short, value_name = "ID")]
    installation: Option<String>,
    /// Of this app
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// In this state
    #[arg(long)]
    state: Option<String>,
    /// Only those that are disabled, whose breaker is not closed, or whose last attempt failed
    #[arg(long)]
    failing: bool,
    /// Most endpoints
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &EndpointsArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(execute(args, &client))
}

async fn execute(args: &EndpointsArgs, client: &ApiClient) -> anyhow::Result<ExitCode> {
    let output = args.flags.output.plain();
    let post = async |id: &str, action: &str| {
        let path = format!("{PATH}/{}/{action}", path_segment(id));
        client.send(Method::POST, &path, &[], &Value::Null).await
    };
    match &args.action {
        Action::Ls(filter) => list(args.flags, client, filter).await?,
        Action::Show { id } => {
            let path = format!("{PATH}/{}", path_segment(id));
            let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
            print_endpoint(output, &found)?;
        }
        Action::Enable { id } => {
            let found = post(id, "enable").await?;
            print_endpoint(output, &found)?;
            if found.get("enabled").and_then(Value::as_u64) == Some(0) {
                print_error("nothing was disabled because of this endpoint");
            }
        }
        Action::ResetBreaker { id } => {
            let found = post(id, "reset-breaker").await?;
            print_endpoint(output, &found)?;
            if found.get("wasOpen") == Some(&Value::Bool(false)) {
                print_error("no breaker was open on this replica");
            }
        }
        Action::Test { id } => {
            let found = post(id, "test").await?;
            return print_test(output, &found);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(flags: ListFlags, client: &ApiClient, filter: &EndpointFilter) -> anyhow::Result<()> {
    let parameters = [
        ("installation", filter.installation.clone()),
        ("app", filter.app.clone()),
        ("state", filter.state.clone()),
        ("failing", filter.failing.then(|| "true".to_owned())),
    ];
    let limit = |found: usize| filter.limit.saturating_sub(found).min(PAGE_MAX);
    let items = read_pages(client, PATH, &parameters, limit).await?;
    let now = clock::now();
    let if_empty = if filter.failing || filter.state.is_some() {
        "no endpoint is in this state; without --failing and --state, all are listed"
    } else {
        "endpoints are known after the first module that names one: `switchyard modules add`"
    };
    let of = ListOf { id: "id", if_empty };
    print_list(flags, of, &items, &COLUMNS, |item| row(item, now))
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let count = |name: &str| item.get(name).and_then(Value::as_u64).unwrap_or_default();
    let next = item.get("nextAttemptAt").and_then(Value::as_str);
    let latency = item.get("averageMs").map(|ms| format!("{ms} ms")).unwrap_or_default();
    vec![
        plain(text(item, "id")),
        state(item),
        (count("parked").to_string(), if count("parked") > 0 { Tone::Warning } else { Tone::Dim }),
        plain(next.map(|at| relative(Some(at), now)).unwrap_or_default()),
        plain(latency),
        bad_unless_zero(count("failedAttempts")),
        plain(last_failure(item, now, FAILURE_CHARS_MAX)),
        plain(text(item, "address")),
        plain(text(item, "app")),
        plain(count("subscriptions").to_string()),
    ]
}

fn state(item: &Value) -> Toned {
    let state = text(item, "state");
    let tone = match state {
        "closed" => Tone::Good,
        "half_open" | "paused" => Tone::Warning,
        "open" | "disabled" => Tone::Bad,
        _ => Tone::Dim,
    };
    (state.to_owned(), tone)
}

fn last_failure(item: &Value, now: Timestamp, chars_max: usize) -> String {
    let Some(last) = item.get("lastFailure") else { return String::new() };
    let detail: String = text(last, "detail").chars().take(chars_max).collect();
    format!(
        "{} {}: {detail}",
        relative(last.get("at").and_then(Value::as_str), now),
        text(last, "class")
    )
}

fn print_endpoint(output: Output, found: &Value) -> anyhow::Result<()> {
    if output != Output::Text {
        return print_line(&found.to_string());
    }
    describe(found, clock::now()).iter().try_for_each(|line| print_row(line))
}

/// Returns an endpoint as lines for people.
fn describe(found: &Value, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("{}  {}", text(found, "id"), text(found, "state"))];
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{name:14}{value}"));
        }
    };
    line("", text(found, "explanation"));
    for (label, name) in [("address", "address"), ("app", "app"), ("site", "cloudId")] {
        line(label, text(found, name));
    }
    let keys = found.get("keys").and_then(Value::as_array).into_iter().flatten();
    line("modules", &keys.filter_map(Value::as_str).collect::<Vec<_>>().join(", "));
    for (label, name, unit) in [
        ("parked", "parked", ""),
        ("attempts", "attempts", ""),
        ("failed", "failedAttempts", ""),
        ("latency", "averageMs", " ms on average"),
        ("shortest", "shortestMs", " ms"),
    ] {
        if let Some(number) = found.get(name) {
            line(label, &format!("{number}{unit}"));
        }
    }
    if let Some(at) = found.get("nextAttemptAt").and_then(Value::as_str) {
        line("next probe", &relative(Some(at), now));
    }
    line("last failure", &last_failure(found, now, usize::MAX));
    if let Some(at) = found.get("lastSuccess").and_then(Value::as_str) {
        line("last success", &relative(Some(at), now));
    }
    let replica = found.get("replica").unwrap_or(&Value::Null);
    line("replica", text(replica, "name"));
    lines
}

/// Prints what became of a test.
fn print_test(output: Output, found: &Value) -> anyhow::Result<ExitCode> {
    let is_accepted = found.get("accepted") == Some(&Value::Bool(true));
    let code = if is_accepted { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NEGATIVE) };
    if output != Output::Text {
        print_line(&found.to_string())?;
        return Ok(code);
    }
    let status = found.get("status").map(|status| format!(" {status}")).unwrap_or_default();
    let took = found.get("tookMs").unwrap_or(&Value::Null);
    let result = if is_accepted { "accepted" } else { "not accepted" };
    print_row(&format!("{result}{status} in {took} ms: {}", text(found, "address")))?;
    for (label, name) in [("because", "detail"), ("blame", "blame")] {
        let value = text(found, name);
        if !value.is_empty() {
            print_row(&format!("{label:9}{value}"))?;
        }
    }
    let body = found.pointer("/response/body").and_then(Value::as_str).unwrap_or_default();
    if !body.is_empty() {
        print_row(&format!("response {body}"))?;
    }
    Ok(code)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn open_breaker_is_shown_with_its_probe_and_cause() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let item = json!({
            "id": "first/ep_a", "state": "open", "parked": 4, "averageMs": 12.5,
            "failedAttempts": 10, "address": "https://a.example/", "subscriptions": 1,
            "explanation": "deliveries to this endpoint are parked without an attempt",
            "nextAttemptAt": "2026-12-01T12:00:12Z", "keys": ["assign"],
            "lastFailure": {"class": "timeout", "detail": "no answer", "at": "2026-12-01T11:59:58Z"},
        });
        let row: Vec<_> = row(&item, now).into_iter().map(|(text, _)| text).collect();
        assert_eq!(
            row[..7],
            ["first/ep_a", "open", "4", "in 12 s", "12.5 ms", "10", "2 s ago timeout: no answer"]
        );
        let lines = describe(&item, now);
        assert_eq!(lines[0], "first/ep_a  open");
        assert!(lines.contains(&"modules       assign".to_owned()), "{lines:#?}");
    }
}
