//! `switchyard erase`: removes what is stored of an account or a site, and reports it.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{ApiClient, block_on};
use super::exit::{EXIT_NEGATIVE, UsageError};
use super::io::{Output, is_confirmed, print_row, read_input};
use super::jobs::{self, Jobs, text};
use super::server_args::ServerArgs;

const JOBS: Jobs = Jobs("/admin/v1/erasures");

/// Removes what is stored of an account or a site from events, parked deliveries, dead letters and log
#[derive(Debug, Args)]
#[command(
    after_help = "The report says for each store what was removed and what was kept, and why. \
    Exit code 1: something was kept, or the erasure failed.\n\n\
    Examples:\n  \
    switchyard erase --account-id 557058:f58131cb-b67d-43c7-b30d-6b58d40bd077 --dry-run\n  \
    switchyard erase --account-id - --yes < id.txt\n  \
    switchyard erase --site 11223344-a1b2-3b33-c444-def123456789\n  \
    switchyard erase --job job_0193a7f1c2d00000"
)]
pub struct EraseArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Output format
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Id of the account; `-` reads it from standard input, so that no list of processes shows it
    #[arg(long, value_name = "ID")]
    account_id: Option<String>,
    /// Id of the site: of an account only what is of this site, or everything of the site
    #[arg(long, value_name = "ID")]
    site: Option<String>,
    /// Counts what would be removed, and removes nothing
    #[arg(long)]
    dry_run: bool,
    /// Does not ask
    #[arg(long)]
    yes: bool,
    /// Removals per second, 1 to 1000 [default: 500]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Returns at once, without progress
    #[arg(long)]
    detach: bool,
    /// Shows an erasure that was started before, until it ends
    #[arg(long, value_name = "JOB", conflicts_with_all = ["account_id", "site", "dry_run", "cancel"])]
    job: Option<String>,
    /// Ends an erasure; what it removed stays removed
    #[arg(long, value_name = "JOB", conflicts_with_all = ["account_id", "site", "dry_run"])]
    cancel: Option<String>,
}

/// Executes the command.
///
/// # Errors
/// Nothing is named, it is not confirmed, or the router does not answer or rejects the request.
pub fn run(args: &EraseArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(execute(args, &client))
}

async fn execute(args: &EraseArgs, client: &ApiClient) -> anyhow::Result<ExitCode> {
    let mut job = match (&args.job, &args.cancel) {
        (Some(id), _) => JOBS.get(client, id).await?,
        (None, Some(id)) => JOBS.act(client, id, "/cancel").await?,
        (None, None) => {
            let body = body(args)?;
            if !args.dry_run && !args.yes {
                confirm(&body)?;
            }
            client.send(Method::POST, JOBS.0, &[], &body).await?
        }
    };
    if !args.detach {
        job = JOBS.follow(client, job).await?;
    }
    print_job(args.output, &job)?;
    let is_kept = job.get("kept").and_then(Value::as_u64).is_some_and(|kept| kept > 0);
    let is_negative = match text(&job, "state") {
        "failed" | "cancelled" => args.cancel.is_none(),
        "done" => is_kept && !args.dry_run,
        _ => false,
    };
    Ok(if is_negative { EXIT_NEGATIVE.into() } else { ExitCode::SUCCESS })
}

/// Returns the body of the request.
fn body(args: &EraseArgs) -> anyhow::Result<Value> {
    let account = match args.account_id.as_deref() {
        Some("-") => Some(read_input("-".as_ref())?.trim().to_owned()),
        account => account.map(str::to_owned),
    };
    if account.is_none() && args.site.is_none() {
        anyhow::bail!(UsageError("name an account with --account-id, a site with --site".into()));
    }
    let mut body = json!({ "dryRun": args.dry_run });
    for (name, value) in [
        ("accountId", account.map(Value::from)),
        ("site", args.site.as_deref().map(Value::from)),
        ("rate", args.rate.map(Value::from)),
    ] {
        if let (Some(value), Some(members)) = (value, body.as_object_mut()) {
            members.insert(name.to_owned(), value);
        }
    }
    Ok(body)
}

/// Asks whether to erase; without a terminal that is an error.
fn confirm(body: &Value) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        let error = "an erasure cannot be undone: --yes confirms it, --dry-run counts only";
        anyhow::bail!(UsageError(error.into()));
    }
    let whose = match (text(body, "accountId"), text(body, "site")) {
        (account, "") => format!("what is stored of account {account}"),
        ("", site) => format!("EVERYTHING that is stored of site {site}"),
        (account, site) => format!("what is stored of account {account} at site {site}"),
    };
    let question = format!("This removes {whose}. It cannot be undone. Continue? [yes/no]");
    if !is_confirmed(&question)? {
        anyhow::bail!(UsageError("nothing was removed: not confirmed with `yes`".into()));
    }
    Ok(())
}

fn print_job(output: Output, job: &Value) -> anyhow::Result<()> {
    jobs::print_job(output, job)?;
    match output {
        Output::Text => report_lines(job).iter().try_for_each(|line| print_row(line)),
        Output::Json | Output::Jsonl => Ok(()),
    }
}

/// Returns the report, a line for each store.
fn report_lines(job: &Value) -> Vec<String> {
    let number = |store: &Value, name: &str| store.get(name).and_then(Value::as_u64).unwrap_or(0);
    let stores = job.get("report").and_then(Value::as_object);
    let mut lines: Vec<String> = stores
        .into_iter()
        .flatten()
        .map(|(name, store)| {
            let counts = ["read", "matched", "removed", "bodyRemoved", "left"];
            let counts = counts.map(|count| format!("{count} {}", number(store, count)));
            let mut line = format!("  {name:12}  {}", counts.join("  "));
            for (reason, kept) in store.get("kept").and_then(Value::as_object).into_iter().flatten()
            {
                line.push_str(&format!("  kept {kept} ({reason})"));
            }
            line
        })
        .collect();
    for one in job.get("notCovered").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("  not covered: {}: {}", text(one, "what"), text(one, "why")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_a_line_for_each_store_and_for_what_it_does_not_cover() {
        let job = json!({"id": "job_1", "state": "done", "progress": 1.0,
            "counts": {"matched": 3, "removed": 2},
            "report": {"events": {"read": 9, "matched": 3, "removed": 2, "bodyRemoved": 0, "left": 0,
                "kept": {"not_acknowledged": 1}}},
            "notCovered": [{"what": "backups", "why": "delete them where they are"}]});
        assert_eq!(
            report_lines(&job),
            [
                "  events        read 9  matched 3  removed 2  bodyRemoved 0  left 0  \
                 kept 1 (not_acknowledged)",
                "  not covered: backups: delete them where they are"
            ]
        );
    }
}
