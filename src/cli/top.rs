//! `switchyard top`: the busiest subscriptions of a router, on a full screen or once.

use std::process::ExitCode;

use clap::Args;

use super::client::{ApiClient, block_on};
use super::exit::UsageError;
use super::io::print_line;
use super::server_args::ServerArgs;
use super::table::{ColorWhen, ListFlags, ListOf, ListOutput, print_list};
use super::top_sample::{COLUMNS, REFRESH, Rank, Sample, fetch};
use super::top_screen;

const LIST: ListOf<'static> = ListOf {
    id: "id",
    if_empty: "no subscription was active in the last five minutes; `switchyard subscriptions ls` lists all",
};

/// Shows the busiest, costliest and failing subscriptions, with rates, refreshed each second
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: s sorts by cost, failures, volume or backlog; Enter shows details, / filters, p pauses, q quits.\n\n\
    Figures are those of the replica that answers; parked deliveries are those of all replicas. Without a terminal, or with \
    --once, two samples are taken one second apart and printed.\n\n\
    Examples:\n  \
    switchyard top\n  \
    switchyard top --by failures\n  \
    switchyard top --once -o json | jq '.items[0].id'"
)]
pub struct TopArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// What subscriptions are sorted by at first
    #[arg(long, value_enum, default_value_t)]
    by: Rank,
    /// Prints one sample and ends
    #[arg(long)]
    once: bool,
    /// Most subscriptions, up to 500
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Output format of --once: table, wide, json, jsonl or name
    #[arg(short, long, value_enum)]
    output: Option<ListOutput>,
    /// Colours in tables
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: ColorWhen,
}

/// Shows the screen until the user quits, or one sample.
///
/// # Errors
/// The router does not answer, or there is no terminal.
pub fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    if args.once {
        block_on(print_once(args, &client))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.output.is_some() {
        anyhow::bail!(UsageError("-o is for `switchyard top --once`".into()));
    }
    if !top_screen::is_possible() {
        let error = "this is no terminal: use `switchyard top --once`, with -o json for scripts";
        anyhow::bail!(UsageError(error.into()));
    }
    block_on(top_screen::run(&client, args.by, args.limit, args.color.is_on()))?;
    Ok(ExitCode::SUCCESS)
}

async fn print_once(args: &TopArgs, client: &ApiClient) -> anyhow::Result<()> {
    let mut sample = Sample::default();
    sample.update(fetch(client, args.by, args.limit).await?);
    tokio::time::sleep(REFRESH).await;
    sample.update(fetch(client, args.by, args.limit).await?);
    let flags = ListFlags { output: args.output.unwrap_or_default(), color: args.color };
    let items = sample.items(args.by, "");
    match flags.output {
        ListOutput::Json => print_line(&sample.document(&items).to_string()),
        ListOutput::Table | ListOutput::Wide => {
            sample.header().iter().try_for_each(|line| print_line(line))?;
            print_list(flags, LIST, &items, &COLUMNS, Sample::cells)
        }
        ListOutput::Jsonl | ListOutput::Name => {
            print_list(flags, LIST, &items, &COLUMNS, Sample::cells)
        }
    }
}
