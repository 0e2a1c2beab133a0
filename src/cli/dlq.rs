//! `switchyard dlq`: lists, shows, deletes and redrives dead letters.

mod filter;
mod redrive;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use jiff::Timestamp;
use serde_json::Value;

use self::filter::FilterArgs;
use self::redrive::{JOBS, NO_JOBS, RedriveArgs};
use super::client::{ApiClient, block_on, path_segment};
use super::io::{print_hints, print_line, print_row};
use super::jobs::{print_job, text};
use super::server_args::ServerArgs;
use super::table::{Column, ListFlags, ListOf, Tone, Toned, plain, print_list};
use crate::clock::{self, relative};

/// Letters of one page.
const PAGE: usize = 500;

const LIST: ListOf<'static> = ListOf {
    id: "id",
    if_empty: "no dead letter has all that the flags name; `switchyard deliveries ls --outcome failed` has what failed \
        and is attempted again",
};
const COLUMNS: [Column; 8] = [
    Column::text("ID", 0),
    Column::text("REASON", 0),
    Column::text("SUBSCRIPTION", 0),
    Column::text("STORED", 1),
    Column::text("ERROR", 2),
    Column::text("SITE", 3).wide(),
    Column::text("EVENT", 3).wide(),
    Column::text("TIME", 3).wide(),
];

/// Lists, shows, deletes and redrives dead letters
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    switchyard dlq ls --installation acme --since 2h\n  \
    switchyard dlq show 42-1764489000123\n  \
    switchyard dlq redrive --installation acme --reason exhausted --dry-run\n  \
    switchyard dlq redrive --installation acme --reason exhausted --rate 20\n  \
    switchyard dlq redrive 42-1764489000123 43-1764489000456")]
pub struct DlqArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    flags: ListFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists dead letters, newest first
    #[command(alias = "list")]
    Ls {
        #[command(flatten)]
        filter: FilterArgs,
        /// Maximum number of letters
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Shows one dead letter with its headers and body
    #[command(alias = "get")]
    Show {
        /// Its id
        id: String,
        /// Writes the body alone, byte for byte
        #[arg(long)]
        body: bool,
    },
    /// Deletes dead letters; they are not delivered any more
    #[command(alias = "delete")]
    Rm {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Delivers dead letters again, with fresh attempts under the same delivery id
    Redrive(RedriveArgs),
    /// Lists the redrives, newest first
    Jobs,
    /// Shows one redrive
    Status {
        /// Its id
        job: String,
    },
    /// Stops a redrive until it is resumed
    Pause {
        /// Its id
        job: String,
    },
    /// Continues a paused redrive, or starts one that was planned by a dry run
    Resume {
        /// Its id
        job: String,
    },
    /// Ends a redrive; what it handed over is attempted nevertheless
    Cancel {
        /// Its id
        job: String,
    },
}

/// Executes the action.
///
/// # Errors
/// The router does not answer or rejects the request.
pub fn run(args: &DlqArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    block_on(execute(args, &client))
}

async fn execute(args: &DlqArgs, client: &ApiClient) -> anyhow::Result<ExitCode> {
    let output = args.flags.output.plain();
    match &args.action {
        Action::Ls { filter, limit } => list(args.flags, client, filter, *limit).await?,
        Action::Show { id, body } => show(client, id, *body).await?,
        Action::Rm { ids } => {
            for id in ids {
                let path = format!("/admin/v1/dlq/{}", path_segment(id));
                client.send(Method::DELETE, &path, &[], &Value::Null).await?;
                print_row(&format!("{id} deleted"))?;
            }
        }
        Action::Redrive(wanted) => return redrive::run(output, client, wanted).await,
        Action::Jobs => JOBS.list(args.flags, client, NO_JOBS).await?,
        Action::Status { job } => print_job(output, &JOBS.get(client, job).await?)?,
        Action::Pause { job } => JOBS.change(output, client, job, "/pause").await?,
        Action::Resume { job } => JOBS.change(output, client, job, "/resume").await?,
        Action::Cancel { job } => JOBS.change(output, client, job, "/cancel").await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    flags: ListFlags,
    client: &ApiClient,
    filter: &FilterArgs,
    limit: usize,
) -> anyhow::Result<()> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    while items.len() < limit {
        let page = PAGE.min(limit - items.len());
        let path = format!("/admin/v1/dlq?limit={page}{}{cursor}", filter.query_string());
        let mut page = client.send(Method::GET, &path, &[], &Value::Null).await?;
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            items.extend(found);
        }
        print_hints(&page);
        let Some(next) = page.get("nextCursor").and_then(Value::as_str) else { break };
        cursor = format!("&cursor={next}");
    }
    let now = clock::now();
    print_list(flags, LIST, &items, &COLUMNS, |item| row(item, now))
}

fn row(item: &Value, now: Timestamp) -> Vec<Toned> {
    let stored = text(item, "storedAt");
    let owner = match text(item, "subscription") {
        "" => text(item, "site"),
        subscription => subscription,
    };
    vec![
        plain(text(item, "id")),
        (text(item, "reason").to_owned(), Tone::Bad),
        plain(owner),
        plain(relative(Some(stored), now)),
        plain(text(item, "error")),
        plain(text(item, "site")),
        plain(text(item, "event")),
        plain(stored),
    ]
}

async fn show(client: &ApiClient, id: &str, body_only: bool) -> anyhow::Result<()> {
    let path = format!("/admin/v1/dlq/{}", path_segment(id));
    if !body_only {
        let found = client.send(Method::GET, &path, &[], &Value::Null).await?;
        return print_line(&serde_json::to_string_pretty(&found)?);
    }
    let body = client.fetch(Method::GET, &format!("{path}/body"), &[], &Value::Null).await?;
    let mut out = std::io::stdout().lock();
    // Strangers chose the bytes: they must not control a terminal.
    if out.is_terminal() {
        drop(out);
        return print_line(&String::from_utf8_lossy(&body));
    }
    out.write_all(&body)?;
    Ok(())
}
