//! `switchyard dlq redrive`: starts redrives, shows them and their progress.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::answer::{job_path, text};
use super::filter::FilterArgs;
use crate::cli::client::ApiClient;
use crate::cli::exit::{EXIT_NEGATIVE, UsageError};
use crate::cli::io::{Output, print_error, print_line, print_row};

/// Interval at which a job is asked for its progress.
const POLL: Duration = Duration::from_secs(1);

/// What to redrive
#[derive(Debug, Args)]
#[command(
    after_help = "A letter stays until its delivery is delivered, or is dead-lettered again \
    as a new letter. What a dry run printed starts with `switchyard dlq resume JOB`.\n\n\
    Examples:\n  \
    switchyard dlq redrive 42-1764489000123\n  \
    switchyard dlq redrive --subscription acme/assign --since 7d --dry-run\n  \
    switchyard dlq redrive --all --rate 10 --detach"
)]
pub(super) struct RedriveArgs {
    /// Ids of dead letters
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// All dead letters
    #[arg(long)]
    all: bool,
    /// Letters per second, 1 to 1000 [default: 50]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Counts only what would be done
    #[arg(long)]
    dry_run: bool,
    /// Returns at once, without progress
    #[arg(long)]
    detach: bool,
}

impl RedriveArgs {
    fn body(&self) -> anyhow::Result<Value> {
        let (member, selected) = match (self.ids.is_empty(), self.filter.is_empty(), self.all) {
            (false, true, false) => ("ids", json!(self.ids)),
            (true, false, false) => ("query", json!(self.filter.query())),
            (true, true, true) => ("query", json!({})),
            _ => {
                let error = "name dead letters by their ids, or by flags such as --installation, \
                    or all with --all";
                anyhow::bail!(UsageError(error.into()));
            }
        };
        let mut body = Map::new();
        body.insert(member.to_owned(), selected);
        body.insert("dryRun".to_owned(), self.dry_run.into());
        if let Some(rate) = self.rate {
            body.insert("rate".to_owned(), rate.into());
        }
        Ok(Value::Object(body))
    }
}

/// Starts a redrive and shows its progress until all letters are handed over.
pub(super) async fn run(
    output: Output,
    client: &ApiClient,
    args: &RedriveArgs,
) -> anyhow::Result<ExitCode> {
    let path = "/admin/v1/dlq/redrive";
    let mut job = client.send(Method::POST, path, &[], &args.body()?).await?;
    if !args.dry_run && !args.detach {
        job = follow(client, job).await?;
    }
    print_job(output, &job)?;
    if args.dry_run && output == Output::Text {
        print_row(&format!("nothing was redriven; start it: switchyard dlq resume {}", id(&job)))?;
    }
    let is_negative = matches!(text(&job, "state"), "failed" | "cancelled");
    Ok(if is_negative { EXIT_NEGATIVE.into() } else { ExitCode::SUCCESS })
}

/// Waits until a job ends or is paused; prints each change of its progress to stderr.
async fn follow(client: &ApiClient, mut job: Value) -> anyhow::Result<Value> {
    let (path, mut printed) = (job_path(id(&job), ""), String::new());
    loop {
        let line = summary(&job);
        if line != printed {
            print_error(&line);
            printed = line;
        }
        if text(&job, "state") != "running" {
            return Ok(job);
        }
        tokio::time::sleep(POLL).await;
        job = client.send(Method::GET, &path, &[], &Value::Null).await?;
    }
}

/// Lists all redrives.
pub(super) async fn list(output: Output, client: &ApiClient) -> anyhow::Result<()> {
    let path = "/admin/v1/dlq/redrives";
    let found = client.send(Method::GET, path, &[], &Value::Null).await?;
    let items = found.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    match output {
        Output::Json => print_line(&json!(items).to_string()),
        Output::Jsonl | Output::Text => items.iter().try_for_each(|job| print_job(output, job)),
    }
}

/// Prints a job.
pub(super) fn print_job(output: Output, job: &Value) -> anyhow::Result<()> {
    match output {
        Output::Json | Output::Jsonl => print_line(&job.to_string()),
        Output::Text => print_row(&summary(job)),
    }
}

fn id(job: &Value) -> &str {
    text(job, "id")
}

/// Returns a job in one line.
fn summary(job: &Value) -> String {
    let percent = job.get("progress").and_then(Value::as_f64).unwrap_or(0.0) * 100.0;
    let mut line = format!("{}  {}  {percent:.0} %", id(job), text(job, "state"));
    for group in ["counts", "outcomes"] {
        for (name, number) in job.get(group).and_then(Value::as_object).into_iter().flatten() {
            line.push_str(&format!("  {name} {number}"));
        }
    }
    for (name, unit) in [("pending", ""), ("etaSeconds", " s")] {
        if let Some(number) = job.get(name) {
            line.push_str(&format!("  {name} {number}{unit}"));
        }
    }
    if let Some(reason) = job.get("reason").and_then(Value::as_str) {
        line.push_str(&format!("  ({reason})"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_is_one_line_with_its_counts() {
        let job = json!({"id": "job_1", "state": "running", "progress": 0.5, "pending": 2,
            "counts": {"matched": 5, "parked": 5}, "outcomes": {"delivered": 3},
            "etaSeconds": 9, "reason": "the event stream is full"});
        assert_eq!(
            summary(&job),
            "job_1  running  50 %  matched 5  parked 5  delivered 3  pending 2  etaSeconds 9 s  \
             (the event stream is full)"
        );
    }
}
