//! `switchyard replay`: delivers stored events again.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::{ApiClient, block_on};
use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, print_row};
use super::jobs::{Jobs, id, is_negative, print_job};
use super::server_args::ServerArgs;
use super::table::ListFlags;

/// The replays.
const JOBS: Jobs = Jobs("/admin/v1/replays");

/// Delivers stored events again: those that failed, those that are missing, or all
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    switchyard replay start --subscription acme/assign --from 2d --mode missing --dry-run\n  \
    switchyard replay start --installation acme --from 2026-11-29T08:00:00Z --to \
    2026-11-29T12:00:00Z --mode failed --rate 20\n  \
    switchyard replay ls\n  \
    switchyard replay cancel job_019ac8d4e1f5a3b7c")]
pub struct ReplayArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Starts a replay, or counts what it would do
    Start(StartArgs),
    /// Lists the replays, newest first
    #[command(alias = "list")]
    Ls,
    /// Shows one replay: its progress, its counts, and what it leaves out
    #[command(alias = "get")]
    Show {
        /// Its id
        job: String,
    },
    /// Stops a replay until it is resumed
    Pause {
        /// Its id
        job: String,
    },
    /// Continues a paused replay, or starts one that was planned by a dry run
    Resume {
        /// Its id
        job: String,
    },
    /// Ends a replay; what it handed over is attempted nevertheless
    Cancel {
        /// Its id
        job: String,
    },
}

/// What to replay
#[derive(Debug, Args)]
#[command(
    after_help = "Events are matched again by the filters as they are now, or were at --as-of. A delivery that waits \
    for its next attempt is never handed over a second time. What a dry run printed starts with \
    `switchyard replay resume JOB`.\n\n\
    Examples:\n  \
    switchyard replay start --subscription acme/assign --from 7d --mode missing --dry-run\n  \
    switchyard replay start --installation acme --from 6h --mode failed \
    --filter \"event.issue.fields.project.key == 'XXX'\"\n  \
    switchyard replay start --subscription acme/assign --sequences 100..200 --mode all \
    --target https://staging.example.com/hook"
)]
struct StartArgs {
    /// For this subscription
    #[arg(long, value_name = "INSTALLATION/KEY")]
    subscription: Option<String>,
    /// For all subscriptions of this installation
    #[arg(long, short, value_name = "ID", conflicts_with = "subscription")]
    installation: Option<String>,
    /// Events stored since then: an age such as 30m, 2h, 7d, or RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Events stored before then [default: now]
    #[arg(long, value_name = "TIME", requires = "from")]
    to: Option<String>,
    /// Events with these sequences, instead of a time
    #[arg(long, value_name = "FIRST..LAST", conflicts_with = "from")]
    sequences: Option<String>,
    /// Which deliveries
    #[arg(long, value_enum)]
    mode: Mode,
    /// By the filters and events of this time: an age such as 2d, or RFC 3339 [default: those of now]
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,
    /// A further condition on the events, in the language of filters
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Endpoint to send to in place of the handler
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Deliveries per second, 1 to 1000 [default: 50]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Counts only what would be done
    #[arg(long)]
    dry_run: bool,
    /// Returns at once, without progress
    #[arg(long)]
    detach: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Dead-lettered or dropped, and never delivered
    Failed,
    /// Never delivered: failed ones, and those that the delivery log does not know
    Missing,
    /// All that match, delivered ones among them
    All,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missing => "missing",
            Self::All => "all",
        }
    }
}

impl StartArgs {
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = Map::new();
        for (name, value) in [
            ("subscription", &self.subscription),
            ("installation", &self.installation),
            ("from", &self.from),
            ("to", &self.to),
            ("asOf", &self.as_of),
            ("filter", &self.filter),
        ] {
            body.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
        }
        if let Some(text) = &self.sequences {
            let (from, to) = sequences(text)
                .ok_or_else(|| UsageError("--sequences is FIRST..LAST, two numbers".to_owned()))?;
            body.insert("sequences".to_owned(), json!({ "from": from, "to": to }));
        }
        body.insert("mode".to_owned(), self.mode.as_str().into());
        body.extend(self.target.as_ref().map(|url| ("target".to_owned(), json!({ "url": url }))));
        body.extend(self.rate.map(|rate| ("rate".to_owned(), json!(rate))));
        body.insert("dryRun".to_owned(), self.dry_run.into());
        Ok(Value::Object(body))
    }
}

fn sequences(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once("..")?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(execute(args, &client))
}

async fn execute(args: &ReplayArgs, client: &ApiClient) -> anyhow::Result<ExitCode> {
    let output = args.flags.output.plain();
    match &args.action {
        Action::Start(wanted) => return start(output, client, wanted).await,
        Action::Ls => {
            JOBS.list(args.flags, client, "`switchyard replay start` starts a replay").await?
        }
        Action::Show { job } => print_job(output, &JOBS.get(client, job).await?)?,
        Action::Pause { job } => JOBS.change(output, client, job, "/pause").await?,
        Action::Resume { job } => JOBS.change(output, client, job, "/resume").await?,
        Action::Cancel { job } => JOBS.change(output, client, job, "/cancel").await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a replay and shows its progress until all deliveries are handed over.
async fn start(output: Output, client: &ApiClient, args: &StartArgs) -> anyhow::Result<ExitCode> {
    let mut job = client.send(Method::POST, JOBS.0, &[], &args.body()?).await?;
    if !args.dry_run && !args.detach {
        job = JOBS.follow(client, job).await?;
    }
    print_job(output, &job)?;
    if args.dry_run && output == Output::Text {
        let job = id(&job);
        print_row(&format!("nothing was replayed; start it: switchyard replay resume {job}"))?;
    }
    Ok(if is_negative(&job) { EXIT_NEGATIVE.into() } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_two_numbers() {
        assert_eq!(sequences("3..14"), Some((3, 14)));
        for bad in ["3", "3..", "..4", "a..b", "3...4"] {
            assert_eq!(sequences(bad), None, "{bad}");
        }
    }
}
