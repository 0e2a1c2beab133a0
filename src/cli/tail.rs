//! `switchyard tail`: decisions on events and attempts of deliveries, as they happen.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;

use super::client::{ApiClient, ErrorStatus, block_on};
use super::io::{print_error, print_line, print_row};
use super::live_lines;
use super::pages::query;
use super::server_args::ServerArgs;
use crate::clock;

/// Shortest pause before the feed is opened again.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Shows events as they are routed, and deliveries as they are attempted
#[derive(Debug, Args)]
#[command(
    after_help = "Shows what the replica that answers does: with several, run one `tail` for each. When the router \
    restarts, the feed is opened again, and what happened between is not shown.\n\n\
    Examples:\n  \
    switchyard tail\n  \
    switchyard tail --subscription first/urgent\n  \
    switchyard tail --app my-app --decision failed\n  \
    switchyard tail -o jsonl | jq .outcome"
)]
pub struct TailArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only matches and deliveries of this app
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events of this site
    #[arg(long, value_name = "CLOUDID")]
    site: Option<String>,
    /// Only this subscription, or those of this installation
    #[arg(long, value_name = "INSTALLATION[/KEY]")]
    subscription: Option<String>,
    /// Only these decisions: matched, unmatched or failed of events; delivered, parked, dead, dropped or removed
    /// of deliveries
    #[arg(long)]
    decision: Option<String>,
    /// Ends after so many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: TailOutput,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum TailOutput {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    #[value(alias = "json")]
    Jsonl,
}

/// Shows live events until it is interrupted.
///
/// # Errors
/// The router rejects the request, or cannot be reached at first.
pub fn run(args: &TailArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(follow(args, &client))?;
    Ok(ExitCode::SUCCESS)
}

/// Opens the feed, again when it ends, until enough events were shown.
async fn follow(args: &TailArgs, client: &ApiClient) -> anyhow::Result<()> {
    let path = format!(
        "/admin/v1/live{}",
        query(&[
            ("app", args.app.clone()),
            ("type", args.event_type.clone()),
            ("site", args.site.clone()),
            ("subscription", args.subscription.clone()),
            ("decision", args.decision.clone()),
        ])
    );
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut pause = PAUSE_MIN;
    let mut was_open = false;
    loop {
        let ended = match client.follow(&path, None).await {
            Ok(mut lines) => {
                if was_open {
                    print_error("connected again; what happened between is not shown");
                }
                (was_open, pause) = (true, PAUSE_MIN);
                loop {
                    match lines.next().await {
                        Ok(Some(event)) => {
                            left = left.saturating_sub(u64::from(print(args.output, &event)?));
                            if left == 0 {
                                return Ok(());
                            }
                        }
                        Ok(None) => break "the router ended the feed".to_owned(),
                        Err(error) => break format!("{error:#}"),
                    }
                }
            }
            // The first failure, and what the router refuses, ends the command.
            Err(error) if !was_open || error.is::<ErrorStatus>() => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        print_error(&format!("{ended}; connecting again"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Prints one event; returns whether it was one.
fn print(output: TailOutput, event: &Value) -> anyhow::Result<bool> {
    if event.get("notice").and_then(Value::as_str) == Some("idle") {
        return Ok(false);
    }
    match output {
        TailOutput::Jsonl => print_line(&event.to_string())?,
        TailOutput::Text => {
            let time = event.get("time").and_then(Value::as_str);
            let time: Timestamp =
                time.and_then(|text| text.parse().ok()).unwrap_or_else(clock::now);
            let time = time.strftime("%H:%M:%S").to_string();
            let lines = live_lines::lines(&time, event);
            lines.iter().try_for_each(|line| print_row(line))?;
        }
    }
    Ok(true)
}
