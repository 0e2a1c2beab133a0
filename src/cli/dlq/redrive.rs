//! `switchyard dlq redrive`: starts redrives.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::filter::FilterArgs;
use crate::cli::client::ApiClient;
use crate::cli::exit::{EXIT_NEGATIVE, UsageError};
use crate::cli::io::{Output, print_row};
use crate::cli::jobs::{Jobs, id, is_negative, print_job};

/// The redrives.
pub(super) const JOBS: Jobs = Jobs("/admin/v1/dlq/redrives");
/// What to do without one.
pub(super) const NO_JOBS: &str = "`switchyard dlq redrive` starts a redrive";

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
        job = JOBS.follow(client, job).await?;
    }
    print_job(output, &job)?;
    if args.dry_run && output == Output::Text {
        print_row(&format!("nothing was redriven; start it: switchyard dlq resume {}", id(&job)))?;
    }
    Ok(if is_negative(&job) { EXIT_NEGATIVE.into() } else { ExitCode::SUCCESS })
}
